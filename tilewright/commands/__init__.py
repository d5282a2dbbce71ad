"""The commands of `tilewright`, one module each, and what they print.

Imports the client, `tilewright.embedded` and the services whose work a command does itself.
"""
