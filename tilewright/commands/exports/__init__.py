"""The layouts of `tilewright export`, one module each, and the tiles that they are made of.

Every tile is copied as it is stored; none is decoded.
"""
