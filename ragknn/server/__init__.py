"""The connection to Redis, and the embedded server.

Only this package connects to Redis or starts a process. It translates the errors that redis-py raises. Other packages
decide which commands to send: `ragknn._protocol` and those that use it.
"""

import lazy_loader

# The names are in `__init__.pyi`, for type checkers too; each is imported when it is first asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
