"""Sources of bytes, the catalogue of data sets, the user's own arrays, and the batch pipeline."""
