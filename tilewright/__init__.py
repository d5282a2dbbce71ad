"""The front door: the `tilewright` command, a REST client, and the whole system in one process."""
