"""Where documents with ready vectors can be stored and searched: ragknn, and those beside it.

Each has a module, which imports its library when it is used; `those_installed` tells which can take part. All keep the
same fields, search with the same effort, and give back ids, texts and metadata. Those on Redis share one server, each
in an index of its own, used as its documentation advises.
"""
