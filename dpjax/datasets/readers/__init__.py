"""One module a data set: from the file that its source ships to a ``Dataset``."""
