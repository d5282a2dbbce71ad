"""Source servers and proxies that a test tells how to behave."""
