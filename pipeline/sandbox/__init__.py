"""A confined child process and its parent: limits, Landlock, seccomp, and the lines that they exchange.

Imports only `errors` of this project. Every part that parses untrusted files uses it.
"""
