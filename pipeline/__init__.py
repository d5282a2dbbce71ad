"""The contract between the services: errors, messages, the run of a stage, settings, logs, the status client.

Every service imports this package; it imports no service. Its subpackages: `run`, `storage`, `pyramids`, `formats` and
`sandbox`.
"""
