"""Commands that differ in one argument, such as searches in their vectors: all else is packed once."""

from __future__ import annotations

from dataclasses import dataclass

from ragknn._protocol.flows import Command


class Packed(tuple[str | bytes, ...]):
    """A command, with the bytes that go to the server for it."""

    wire: bytes


@dataclass(frozen=True, slots=True)
class Template:
    """A command without one of its arguments.

    Attributes:
        before: what stands before that argument.
        after: what stands behind it.
        head: what stands before, as it goes to the server.
        tail: what stands behind, as it goes to the server.
    """

    before: Command
    after: Command
    head: bytes
    tail: bytes

    @classmethod
    def of(cls, before: Command, after: Command) -> Template:
        """Return the template of a command of which one argument is missing."""
        return cls(before, after, b"*%d\r\n" % (len(before) + 1 + len(after)) + _packed(before), _packed(after))

    def filled(self, value: bytes) -> Packed:
        """Return the command with the argument."""
        command = Packed((*self.before, value, *self.after))
        command.wire = b"".join((self.head, b"$%d\r\n" % len(value), value, b"\r\n", self.tail))
        return command


def _packed(arguments: Command) -> bytes:
    encoded = [one if isinstance(one, bytes) else one.encode() for one in arguments]
    return b"".join(b"$%d\r\n%b\r\n" % (len(one), one) for one in encoded)
