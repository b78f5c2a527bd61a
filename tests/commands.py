"""The command `ragknn`, run in a process of its own as users do, or in this one where a process adds nothing."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess

from click.testing import CliRunner

from ragknn.cli import cli

# The command as a program that begins with `import remembering`, which `tests/remembering.py` explains.
REMEMBERING = ("-c", "import remembering, runpy; runpy.run_module('ragknn', run_name='__main__', alter_sys=True)")


def run_in_a_process(
    args: list[str], stdin: str, folder: Path, environ: Mapping[str, str], program: Sequence[str] = ("-m", "ragknn")
) -> CompletedProcess[str]:
    """Run the command in the folder, with these variables beside those of this process."""
    return subprocess.run(
        [sys.executable, *program, *args],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **environ},
        timeout=120,
    )


def run_here(args: list[str], stdin: str, folder: Path, environ: Mapping[str, str | None]) -> CompletedProcess[str]:
    """Do the same without a new process; an exception that would be a traceback there is raised."""
    with contextlib.chdir(folder):
        result = CliRunner(env=environ).invoke(cli, args, stdin, prog_name="ragknn", catch_exceptions=False)
    assert "error: unexpected" not in result.stderr
    return CompletedProcess(args, result.exit_code, result.stdout, result.stderr)
