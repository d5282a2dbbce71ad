"""A confined child process and its parent: limits, Landlock, seccomp, and the lines that they exchange.

Imports nothing of this project but errors and kill points. Used by whoever has a stranger's file parsed.
"""
