"""The command line. `main` is the entry point; each command has a file of its own, and torch is loaded only by those that need it."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and end the process with its exit code: 0 well, 1 failed, 2 usage, 3 some failed, 130 interrupted."""
    from objremove.cli.app import run

    sys.exit(run(sys.argv[1:]))
