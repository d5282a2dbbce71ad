"""`python -m tilewright` is the `tilewright` command."""

from tilewright.commands import main

main()
