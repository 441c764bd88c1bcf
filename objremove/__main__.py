"""`python -m objremove` is the command line."""

from objremove.cli import main

main()
