"""The index, and writing to it: open, create, read, count, add, sync, update, delete.

Here documents become stored passages, and are read back. Searching is in `ragknn.retrieval`.
"""
