"""The tiler: a Dramatiq worker that turns a stored source into a pyramid, in a child process."""
