"""Write images by every option of several writers, post them, and compare their tiles with another decoder.

`file` says what a file is. `tiffs`, `photographs` and `drawings` list files by format, `shown` computes what a TIFF's
samples have to become, and `posting` posts the files to a stack and compares. `python -m bench.writers` runs it all.
"""
