"""The contract between the services: errors, messages, a stage's run, settings, logs, the status client.

Every service imports it; it imports no service. Its rooms: `storage`, `pyramids`, `formats` and `sandbox`.
"""
