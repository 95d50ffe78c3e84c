"""Data sets (one TFDS builder per file) and, in `loading`, the way from their bytes to batches of arrays.

Nothing is imported here: a builder's module is loaded when its data set is asked for by name (`loading.catalogue`).
"""
