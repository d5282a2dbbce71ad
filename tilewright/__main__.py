"""`python -m tilewright` is the `tilewright` command."""

from tilewright.commands.cli import main

main()
