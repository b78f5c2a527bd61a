"""What tests of estimators look at: their indexes on the server, and what a process of its own prints."""

import gc
import os
import subprocess
import sys

from ragknn import list_indexes

TEXTS = [
    ("card", "my card was charged twice"),
    ("card", "the card payment was declined"),
    ("card", "a new card has not arrived"),
    ("transfer", "the transfer to my bank is pending"),
    ("transfer", "a transfer went to the wrong account"),
    ("transfer", "how long does a bank transfer take"),
]


def own_indexes():
    """Return the names of the indexes that estimators have made for themselves."""
    gc.collect()
    return {name for name in list_indexes() if name.startswith("sklearn-")}


def run_python(code, *warnings, **environ):
    done = subprocess.run(
        [sys.executable, "-W", "error", *warnings, "-c", code],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
