"""Scripts of Python, each run in a process of its own, where every warning is an error."""

import os
import subprocess
import sys


def run_python(script, *arguments, **environ):
    """Run a script with these arguments and variables beside those of this process; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
