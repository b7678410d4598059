"""The command line, `bpjs-sms`: a thin rim that says what happened and ends with a documented exit status."""

from __future__ import annotations

import sys


def main() -> None:
    """The console script: run the command line of this process, then exit with its status."""
    from app.faces.cli.commands import run

    sys.exit(run(sys.argv[1:]))
