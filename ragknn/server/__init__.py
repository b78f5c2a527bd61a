"""The connection to Redis, and the embedded server.

The only files of ragknn that open a socket or start a process, and the place where errors of redis-py become
ragknn's own. Which commands are sent is decided in `ragknn._protocol` and above it.
"""
