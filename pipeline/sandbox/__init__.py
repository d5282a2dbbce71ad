"""A confined child process and its parent: limits, Landlock, seccomp, and the lines that they exchange.

Others use four modules: `parent` (start a child and talk with it), `child` (the other side, which loads little, so that
it starts quickly), `confine` (what a child may do) and `lines`. Imports only `errors` of this project. Every part that
parses untrusted files uses it.
"""
