"""The connection to Redis, and the embedded server.

Only this package connects to Redis or starts a process. It translates the errors that redis-py raises. Other packages
decide which commands to send: `ragknn._protocol` and those that use it.
"""
