"""The loggers, one for each stage of the work, so that each can be turned up or off on its own.

On debug: each round trip and step, with its time; on info: what a call did, in one line; on warning: what somebody
should look at. Texts, vectors, metadata and passwords are in none. Nothing is written until a program sets logging up.
"""

from __future__ import annotations

import logging

logging.getLogger("ragknn").addHandler(logging.NullHandler())

READING = logging.getLogger("ragknn.reading")
SPLITTING = logging.getLogger("ragknn.splitting")
EMBEDDING = logging.getLogger("ragknn.embedding")
WRITING = logging.getLogger("ragknn.writing")
SEARCHING = logging.getLogger("ragknn.searching")
SERVER = logging.getLogger("ragknn.server")
COMMAND = logging.getLogger("ragknn.command")
