"""The HTTP side: REST, tiles, the page, and the relay that publishes wake-ups."""
