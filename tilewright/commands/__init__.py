"""The commands of `tilewright`, and what they print.

This package may import the client, `tilewright.embedded`, and the services whose work a command does itself.
"""
