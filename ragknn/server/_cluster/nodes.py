"""Conversations with the nodes of a cluster, sync and async, by the connections and the map of redis-py's clients."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from redis.exceptions import AskError, SlotNotCoveredError

from ragknn._protocol.flows import Command, Pause
from ragknn.server._cluster.conversations import Known, NodeFailed, Renew, Say
from ragknn.server._cluster.lines import ERRORS, asaid, said
from ragknn.server._cluster.talking import Talk
from ragknn.server._exchange import Read, all_read
from ragknn.server._translation import explain

PATIENCE = 10.0  # seconds, where a client has no time limit

_known: WeakKeyDictionary[Any, Known] = WeakKeyDictionary()


class _Map:
    """Where the slots are, as the client knows it."""

    def __init__(self, client: Any) -> None:
        self._manager = client.nodes_manager
        self.patience: float = client.get_connection_kwargs().get("socket_timeout") or PATIENCE

    def owner(self, slot: int) -> str:
        """Return the node that has a slot."""
        try:
            return str(self._manager.get_node_from_slot(slot).name)
        except (KeyError, IndexError, TypeError) as error:
            raise SlotNotCoveredError(f"slot {slot} is on no node") from error

    def primaries(self) -> Sequence[str]:
        """Return all primaries."""
        return [node.name for node in self._manager.get_nodes_by_server_type("primary")]

    def named(self, host: str, port: int) -> str:
        """Return the node that the cluster means by a host and a port."""
        return "{}:{}".format(*_reached(self._manager, host, port))


def _reached(manager: Any, host: str, port: int) -> tuple[str, int]:
    """Return where a node that the cluster names is for this client, as the client has it among its nodes."""
    host, port = manager.remap_host_port(host, port)
    return (socket.gethostbyname(host) if host == "localhost" else host), port


def _known_of(client: Any) -> Known:
    return _known.setdefault(client, Known())


def cluster_exchange(
    client: Any, commands: list[Command], read: Read | None = None, *, once: bool = False
) -> list[Any]:
    """Do on a cluster what `exchange` does on one server."""
    if not commands:
        return []
    known = _known_of(client)
    conversation = Talk(_Map(client), known, once=once).replies(commands)
    answer: Any = None
    try:
        while True:
            match conversation.send(answer):
                case Say() as say:
                    answer = said(client, say)
                    known.take_note(say, answer[0])
                case Renew(moved):
                    _renew(client, moved)
                    answer = None
                case Pause(seconds):
                    time.sleep(seconds)
                    answer = None
    except StopIteration as stop:
        return all_read(stop.value, read)
    except NodeFailed as failed:
        is_new = failed.name not in known.reached
        raise explain(failed.error, client, failed.name, is_new=is_new) from failed.error
    finally:
        conversation.close()


# ---- sync ----------------------------------------------------------------------------------------------------------


def _renew(client: Any, moved: Sequence[AskError]) -> None:
    # While a cluster fails over it may not be known anew; what is sent then will tell.
    with suppress(*ERRORS):
        client.nodes_manager.initialize(disconnect_startup_nodes_pools=False)
    for error in _left(client, moved):
        client.nodes_manager.move_slot(error)


def _left(client: Any, moved: Sequence[AskError]) -> list[AskError]:
    """Return those redirections that the map does not show: the node that it was read from did not know them yet."""
    slots, left = _Map(client), []
    for error in moved:
        if not error.host:
            continue
        error.host, error.port = _reached(client.nodes_manager, error.host, int(error.port))
        with suppress(SlotNotCoveredError):
            if slots.owner(error.slot_id) == f"{error.host}:{error.port}":
                continue
        if error.slot_id in client.nodes_manager.slots_cache:
            left.append(error)
    return left


# ---- async ---------------------------------------------------------------------------------------------------------


async def acluster_exchange(
    client: Any, commands: list[Command], read: Read | None = None, *, once: bool = False
) -> list[Any]:
    """Async twin of `cluster_exchange`."""
    if not commands:
        return []
    await client.initialize()
    known = _known_of(client)
    conversation = Talk(_Map(client), known, once=once).replies(commands)
    answer: Any = None
    try:
        while True:
            match conversation.send(answer):
                case Say() as say:
                    answer = await asaid(client, say)
                    known.take_note(say, answer[0])
                case Renew(moved):
                    await _arenew(client, moved)
                    answer = None
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                    answer = None
    except StopIteration as stop:
        return all_read(stop.value, read)
    except NodeFailed as failed:
        is_new = failed.name not in known.reached
        raise explain(failed.error, client, failed.name, is_new=is_new) from failed.error
    finally:
        conversation.close()


async def _arenew(client: Any, moved: Sequence[AskError]) -> None:
    with suppress(*ERRORS):
        await client.nodes_manager.initialize()
    for error in _left(client, moved):
        await client.nodes_manager.move_slot(error)
