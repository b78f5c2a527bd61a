"""The exact nearest rows of a matrix in memory, for many queries at once: pure NumPy.

Here are the matrix, the products of queries and rows, and the search that needs few of the products' digits. Where the
rows come from, and when they are worth bringing, is in `_protocol` and `retrieval`.
"""
