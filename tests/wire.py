"""Replies in the other shapes in which they come over the wire."""


def decoded(reply):
    """Return the reply as a client with decode_responses gives it."""
    if isinstance(reply, bytes):
        return reply.decode()
    if isinstance(reply, dict):
        return {decoded(key): decoded(value) for key, value in reply.items()}
    return [decoded(part) for part in reply] if isinstance(reply, list) else reply


def flat(mapping):
    """Return a map as RESP2 sends it."""
    return [part for pair in mapping.items() for part in pair]
