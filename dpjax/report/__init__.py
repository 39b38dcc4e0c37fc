"""The report: a sweep's results as one HTML file that needs nothing else, or as a page that follows a running sweep.

``gather`` reads a folder, ``pack`` makes it small, ``render`` makes the page of it, ``serve`` keeps a page up to date.
No JAX in here, and no pandas until a folder is read.
"""
