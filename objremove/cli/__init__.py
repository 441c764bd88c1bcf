"""The command line. `main` is the entry point; each command has a file of its own, and torch is loaded only by those that need it."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and end the process with its exit code: 0 well, 1 failed, 2 usage, 3 some failed, 130 interrupted."""
    # OpenMP's threads spin while they wait for one another; on a busy machine that makes two of them five times slower than
    # one. They read this when torch is first loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    _open_closed_streams()

    from objremove.cli.app import run

    sys.exit(run(sys.argv[1:]))


def _open_closed_streams() -> None:
    """Lead standard streams that whoever started this closed to nowhere: Python has None for them, and files would get their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, "w" if number else "r"))  # noqa: SIM115 - for as long as the process lives
