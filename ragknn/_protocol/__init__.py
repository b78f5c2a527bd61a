"""What is kept in Redis, which commands are sent, and what the replies mean.

Here are the manifest, the keys, the hashes, the query language, and the operations on them as generators of commands
(`flows` explains). Nothing here opens a connection: `ragknn.server` does.
"""
