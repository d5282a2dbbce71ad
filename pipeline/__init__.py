"""What the services agree on: settings, messages, storage, pyramids, errors, the status client."""
