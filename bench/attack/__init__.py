"""Attacks on a stack of this machine. Each measures what strangers can cost, and prints its goals."""
