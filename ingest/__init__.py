"""Fetches what strangers name into storage: any URL, and nothing that a URL must not reach."""
