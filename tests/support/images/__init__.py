"""Makers of image files: sound, damaged, hostile, of every format that is read."""
