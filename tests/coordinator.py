"""A stand-in for the coordinator of Redis 8's search module: a proxy before each node of a cluster.

The search module that the tests run has none: there each node answers for itself. The proxy before a node sends FT.*
commands to all primaries and merges what they answer, as the real coordinator does, its surprises included; all else
it passes on to its node as it is. Without a coordinator the names of indexes are keys of the cluster, and the module
reads no keys of other slots than theirs: so each node has a shadow, a plain server that follows it, which has the
indexes and is asked once it has all that the node has.

It runs as a program, which is told the ports of each node: that to listen on, that of the server, and of its shadow.
`STANDIN WHAT yes|no` switches a surprise on or off, for all nodes:

    SILENT       a node that cannot be reached is left out of an answer without a word
    DUPLICATES   each node is asked once for each of its ranges of slots, as modules before 8.4 do
    STALE        it does not notice that slots have other owners, as happens for up to a second
    OTHER        the first node says that its search module is of another version
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count, pairwise
from typing import Any

import hiredis

CHUNK = 1 << 16
ON_ALL = {b"FT.CREATE", b"FT.ALTER", b"FT.DROPINDEX", b"FT.ALIASADD", b"FT.ALIASUPDATE", b"FT.ALIASDEL"}
NAMED_AT = {  # the argument with the name of an index, which the node itself must have
    **dict.fromkeys((b"FT.SEARCH", b"FT.AGGREGATE", b"FT.INFO", b"FT.TAGVALS", b"FT.ALTER", b"FT.DROPINDEX"), 1),
    **dict.fromkeys((b"FT.ALIASADD", b"FT.ALIASUPDATE", b"FT.CURSOR"), 2),
}
SUMS = (b"num_docs", b"num_terms", b"num_records", b"hash_indexing_failures", b"indexing", b"cleaning")
SIZES = (b"total_index_memory_sz_mb", b"vector_index_sz_mb")
NOT_MERGED = (b"total_indexing_time", b"ft_version")
UNKNOWN = re.compile("unknown index|no such index", re.IGNORECASE)
LATE = "Timeout limit was reached"


class Gone(Exception):
    """A node cannot be reached."""


class Shards:
    """The nodes of the cluster, and the connections to them that all proxies share."""

    def __init__(self, nodes: list[tuple[int, int, int]]) -> None:
        self._servers: dict[bytes, int] = {}  # by the ids of their nodes, whatever address they announce
        self.first = nodes[0][1]
        self._shadows = {server: shadow for _, server, shadow in nodes}
        self.surprises: set[bytes] = set()
        self._topology: dict[int, Any] = {}
        self.begun: set[int] = set()  # servers that have asked the others at least once
        self._idle: dict[int, list[tuple[Any, Any, Any]]] = {}

    async def ask(self, port: int, command: tuple[bytes, ...]) -> Any:
        """Return what a server answers; errors as values."""
        idle = self._idle.setdefault(port, [])
        try:
            if idle:
                reader, writer, parser = idle.pop()
            else:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                parser = hiredis.Reader()
                writer.write(hiredis.pack_command(("HELLO", "3")))
                await self._reply(reader, parser)
            writer.write(hiredis.pack_command(command))
            reply = await self._reply(reader, parser)
        except OSError as error:
            raise Gone(str(error)) from error
        idle.append((reader, writer, parser))
        return reply

    async def _reply(self, reader: Any, parser: Any) -> Any:
        while (reply := parser.gets()) is False:
            data = await reader.read(CHUNK)
            if not data:
                raise OSError("closed")
            parser.feed(data)
        return reply

    async def search(self, server: int, command: list[bytes]) -> Any:
        """Return what the shadow of a server answers, which has all by then that the server has now."""
        told = await self.ask(server, (b"INFO", b"replication"))
        if isinstance(told, hiredis.ReplyError):  # it asks for a password
            raise Gone(str(told))
        shadow, reached = self._shadows[server], _offset(told)
        while _offset(await self.ask(shadow, (b"INFO", b"replication"))) < reached:
            await asyncio.sleep(0.001)
        return await self.ask(shadow, tuple(command))

    async def topology(self, server: int) -> Any:
        """Return the ranges of slots with their nodes, as one server knows them, or has known them before."""
        if b"STALE" not in self.surprises or server not in self._topology:
            self._topology[server] = await self.ask(server, (b"CLUSTER", b"SLOTS"))
        return self._topology[server]

    async def owners(self, server: int) -> dict[int, tuple[int, list[int]]]:
        """Return the servers that have slots, as one of them knows it: how many ranges, and their replicas."""
        found: dict[int, tuple[int, list[int]]] = {}
        for _, _, primary, *replicas in await self.topology(server):
            owner = await self._server_of(primary[2])
            ranges, _ = found.get(owner, (0, []))
            found[owner] = ranges + 1, [await self._server_of(one[2]) for one in replicas]
        return found

    async def _server_of(self, node: bytes) -> int:
        if node not in self._servers:
            for server in self._shadows:
                with suppress(Gone):
                    told = await self.ask(server, (b"CLUSTER", b"MYID"))
                    self._servers[told if isinstance(told, bytes) else b""] = server
        if node not in self._servers:
            raise Gone("it does not say which it is")
        return self._servers[node]

    async def on_all(self, server: int, command: list[bytes]) -> list[Any]:
        """Return what the servers answer to an FT.* command, as often as they are asked."""
        self.begun.add(server)
        owners = await self.owners(server)
        answers = await asyncio.gather(*(self.search(one, command) for one in owners), return_exceptions=True)
        replies = []
        for answer, (ranges, replicas) in zip(answers, owners.values(), strict=True):
            if isinstance(answer, Gone):
                if b"SILENT" not in self.surprises:
                    return [hiredis.ReplyError("ERR Could not send query to cluster")]
            elif isinstance(answer, BaseException) and not isinstance(answer, hiredis.ReplyError):
                raise answer
            else:
                replies += [answer] * (ranges if b"DUPLICATES" in self.surprises else 1)
                if command[0].upper() in ON_ALL:  # goes on to the replicas
                    await asyncio.gather(*(self.search(one, command) for one in replicas), return_exceptions=True)
        return replies


def _offset(reply: bytes) -> int:
    lines = dict(line.partition(b":")[::2] for line in bytes(reply).splitlines())
    return int(lines.get(b"slave_repl_offset", lines[b"master_repl_offset"]))


class Request:
    """An FT.SEARCH as the coordinator reads it: each argument by the first word anywhere that is its name.

    Attributes:
        is_scored: whether scores are to come back.
        is_bare: whether no fields are.
        order: the name that results are in the order of; None: their scores.
        is_falling: whether the largest comes first.
        k: passages that a search for neighbors asks for; None for other searches.
        most: results that come back. The number of those to be left out is added, but none is left out.
    """

    def __init__(self, command: list[bytes]) -> None:
        self._command = list(command)
        self._upper = [one.upper() if len(one) < 20 else one for one in command]
        self.is_scored = self._at(b"WITHSCORES") > 0
        self.is_bare = self._at(b"NOCONTENT") > 0 or (self._at(b"RETURN") > 0 and (self._number(b"RETURN") or 0) <= 0)
        first, number = self._number(b"LIMIT"), self._number(b"LIMIT", 2)
        self._is_limited = first is not None and number is not None
        self.most = 10 if first is None or number is None else first + number
        for name, fits in ((b"DIALECT", range(1, 5)), (b"TIMEOUT", range(2**31))):
            if self._at(name) > 0 and self._number(name) not in fits:
                raise ValueError(f"{name.decode()} requires a non negative integer")
        if (at := self._at(b"FORMAT")) > 0 and self._upper[at + 1 : at + 2] not in ([b"STRING"], [b"EXPAND"]):
            raise ValueError("FORMAT is not supported")
        at = self._at(b"SORTBY")
        self.order = command[at + 1] if at > 0 else None
        self.is_falling = at > 0 and self._upper[at + 2 : at + 3] == [b"DESC"]
        self.k = None
        if knn := re.search(rb"=>\s*\[KNN\s+\$(\w+).* AS (\w+)", command[2]):
            handed = self._at(b"PARAMS") + 2
            values = dict(zip(command[handed::2], command[handed + 1 :: 2], strict=False))
            self.k = int(values[knn[1]])
            self.most = (min if self.order == knn[2] else max)(self.k, self.most)

    def _at(self, name: bytes) -> int:
        return self._upper.index(name, 3) if name in self._upper[3:] else -1

    def _number(self, name: bytes, place: int = 1) -> int | None:
        at = self._at(name) + place
        return int(self._upper[at]) if at >= place and at < len(self._upper) and self._upper[at].isdigit() else None

    def to_node(self) -> list[bytes]:
        """Return what each node is asked; what stands behind LIMIT, whatever it is, is overwritten."""
        asked, at = list(self._command), self._at(b"LIMIT")
        if 0 < at < len(asked) - 2 and not (self._is_limited and self._number(b"LIMIT", 2) == 0):
            asked[at + 1 : at + 3] = [b"0", b"%d" % self.most]
        asked[3:3] = [b"WITHSCORES" if self.order is None else b"WITHSORTKEYS"]
        return asked


class Coordinator:
    """What one node answers to the commands of the search module."""

    def __init__(self, shards: Shards, port: int) -> None:
        self._shards = shards
        self._port = port
        self._cursors: dict[int, tuple[dict[bytes, Any], list[Any]]] = {}
        self._numbers = count(1)

    async def reply(self, command: list[bytes]) -> Any:
        """Return the answer, merged from those of all nodes."""
        name = command[0].upper()
        try:
            if name == b"FT._LIST":
                return await self._shards.search(self._port, command)
            if name == b"SEARCH.CLUSTERINFO":
                return await self._about_cluster()
            if (at := NAMED_AT.get(name)) and (refused := await self._lacks(command[at])):
                return refused
            if name in ON_ALL:
                replies = await self._shards.on_all(self._port, command)
                return _first_error(replies) or b"OK"
            merge = {b"FT.INFO": self._info, b"FT.SEARCH": self._search, b"FT.AGGREGATE": self._aggregate}.get(name)
            if merge is not None:
                return await merge(command)
            if name == b"FT.CURSOR":
                return self._cursor(command)
            if name == b"FT.TAGVALS":
                replies = await self._shards.on_all(self._port, command)
                found = [one for one in replies if not isinstance(one, hiredis.ReplyError)]
                return {value for one in found for value in one} if found else _failed(replies)
        except Gone:
            return hiredis.ReplyError("ERR Could not send query to cluster")
        return await self._shards.ask(self._port, tuple(command))

    async def _lacks(self, index: bytes) -> Any:
        """Return the error for an index that this node does not have, whoever else has it."""
        told = await self._shards.search(self._port, [b"FT.INFO", index])
        if not isinstance(told, hiredis.ReplyError) or not UNKNOWN.search(str(told)):
            return None
        return hiredis.ReplyError(f"{index.decode('utf-8', 'replace')}: no such index")

    async def _about_cluster(self) -> Any:
        ranges = [
            {
                b"start": start,
                b"end": end,
                b"nodes": [
                    {b"id": one[2], b"host": one[0], b"port": one[1], b"role": b"slave " if number else b"master "}
                    for number, one in enumerate(nodes)
                ],
            }
            for start, end, *nodes in await self._shards.topology(self._port)
            if self._port in self._shards.begun
        ]
        about = {b"num_partitions": len(ranges), b"cluster_type": b"redis_oss"}
        if b"DUPLICATES" in self._shards.surprises:
            return {**about, b"hash_func": b"CRC16", b"num_slots": 16384, b"slots": ranges or None}
        owners: dict[bytes, Any] = {}
        for one in ranges:
            owner = {key: one[b"nodes"][0][key] for key in (b"id", b"host", b"port")}
            owners.setdefault(owner[b"id"], {b"slots": [], **owner})[b"slots"] += [one[b"start"], one[b"end"]]
        return {**about, b"num_partitions": len(owners), b"shards": list(owners.values()) or None}

    async def _info(self, command: list[bytes]) -> Any:
        replies = await self._shards.on_all(self._port, command)
        found = [one for one in replies if not isinstance(one, hiredis.ReplyError)]
        if not found:
            return _failed(replies)
        merged = {name: value for name, value in found[0].items() if name not in NOT_MERGED}
        for name in SUMS:
            merged[name] = sum(int(float(one.get(name, 0))) for one in found)
        for name in SIZES:
            merged[name] = sum(float(one.get(name, 0)) for one in found)
        merged[b"max_doc_id"] = max(int(one[b"max_doc_id"]) for one in found)
        merged[b"percent_indexed"] = sum(float(one[b"percent_indexed"]) for one in found) / len(found)
        worst = max(found, key=lambda one: float(one[b"hash_indexing_failures"]))
        return {**merged, b"Index Errors": worst[b"Index Errors"]}

    async def _search(self, command: list[bytes]) -> Any:
        try:
            request = Request(command)
        except ValueError as refused:
            return hiredis.ReplyError(str(refused))
        replies = await self._shards.on_all(self._port, request.to_node())
        # With the policy "return" a node that ran out of time before its first result is left out without a word.
        late = [one for one in replies if isinstance(one, hiredis.ReplyError) and str(one) == LATE]
        replies = [one for one in replies if one not in late]
        if failed := _first_error(replies) or (None if replies or late else _failed(replies)):
            return failed
        rows = [row for one in replies for row in one[b"results"]]
        if request.order is None:
            rows.sort(key=lambda row: (-float(row[b"score"]), row[b"id"]))
        else:
            rows.sort(key=lambda row: row[b"id"], reverse=request.is_falling)
            rows.sort(key=_sort_key, reverse=request.is_falling)
            rows.sort(key=lambda row: row.get(b"sortkey") is None)
        rows = rows[: request.most]
        total = len(rows) if request.k is not None else sum(one[b"total_results"] for one in replies)
        for row in rows:
            row.pop(b"sortkey", None)
            if request.is_scored and b"score" not in row:
                return hiredis.ReplyError("could not parse redisearch results")
            if not request.is_scored:
                row.pop(b"score", None)
            if request.is_bare:
                row.pop(b"extra_attributes", None)
        warnings = list(dict.fromkeys(text for one in replies for text in one.get(b"warning", ())))
        about = {b"attributes": [], b"format": b"STRING"}
        return {**about, b"total_results": total, b"results": rows, b"warning": warnings[:1]}

    async def _aggregate(self, command: list[bytes]) -> Any:
        asked, size = list(command), 0
        upper = [one.upper() if len(one) < 20 else one for one in command]
        first, number = 0, None
        if b"WITHCURSOR" in upper:
            at, size = upper.index(b"WITHCURSOR"), 1000
            end = at + 1
            if upper[end : end + 1] == [b"COUNT"]:
                size, end = int(command[end + 1]), end + 2
            del asked[at:end]
            asked += [b"LIMIT", b"0", b"1000000"] if b"LIMIT" not in upper else []
        elif b"LIMIT" in upper:
            at = len(upper) - 1 - upper[::-1].index(b"LIMIT")
            first, number = int(command[at + 1]), int(command[at + 2])
            asked[at + 1 : at + 3] = [b"0", b"%d" % (first + number)]
        replies = await self._shards.on_all(self._port, asked)
        if failed := _failed(replies):
            return failed
        rows = [row for one in replies for row in one[b"results"]]
        total = len(rows)
        if b"GROUPBY" in upper:
            rows = _grouped(command, upper, rows)
        if number is not None:
            rows = rows[first : first + number]
        warnings = list(dict.fromkeys(text for one in replies for text in one.get(b"warning", ())))
        whole = {**replies[0], b"total_results": total, b"results": rows, b"warning": warnings}
        return self._page(whole, rows, size) if size else whole

    def _page(self, whole: dict[bytes, Any], rows: list[Any], size: int) -> Any:
        page, rest = rows[:size], rows[size:]
        number = 0
        if rest:
            number = next(self._numbers)
            self._cursors[number] = whole, rest
        return [{**whole, b"results": page}, number]

    def _cursor(self, command: list[bytes]) -> Any:
        found = self._cursors.pop(int(command[3]), None)
        if found is None:
            return hiredis.ReplyError(f"Cursor not found, id: {int(command[3])}")
        if command[1].upper() == b"DEL":
            return b"OK"
        whole, rows = found
        return self._page(whole, rows, int(command[5]) if len(command) > 5 else 1000)


def _first_error(replies: list[Any]) -> Any:
    return next((one for one in replies if isinstance(one, hiredis.ReplyError)), None)


def _failed(replies: list[Any]) -> Any:
    return _first_error(replies) if replies else hiredis.ReplyError("ERR Could not send query to cluster")


def _sort_key(row: dict[bytes, Any]) -> Any:
    key = row.get(b"sortkey")
    return 0.0 if key is None else float(key[1:]) if key[:1] == b"#" else _number(key[1:])


def _number(text: bytes) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _grouped(command: list[bytes], upper: list[bytes], rows: list[Any]) -> list[Any]:
    """Return rows of equal groups as one, with the sums of what was counted in each."""
    at = upper.index(b"GROUPBY")
    by = [name.removeprefix(b"@") for name in command[at + 2 : at + 2 + int(command[at + 1])]]
    counted = [command[place + 1] for place, word in enumerate(upper) if word == b"AS" and place > at]
    lost = _not_brought(command, upper)
    groups: dict[tuple[Any, ...], dict[bytes, Any]] = {}
    for row in rows:
        values = row[b"extra_attributes"]
        group = groups.setdefault(tuple(values.get(name) for name in by), {**values, **dict.fromkeys(counted, 0)})
        for name in counted:
            group[name] += 0 if lost else int(float(values[name]))
    return [
        {b"extra_attributes": {name: str(value).encode() if name in counted else value for name, value in one.items()}}
        for one in groups.values()
    ]


def _not_brought(command: list[bytes], upper: list[bytes]) -> bool:
    """Whether what is counted does not come: the coordinator takes it for brought by a LOAD that names it otherwise."""
    if b"LOAD" not in upper or b"COUNT_DISTINCT" not in upper:
        return False
    at = upper.index(b"LOAD") + 1
    loaded = command[at + 1 : at + 1 + int(command[at])]
    renamed = {name for name, following in pairwise(loaded) if following.upper() == b"AS"}
    counted = command[upper.index(b"COUNT_DISTINCT") + 2]
    return counted in renamed and loaded.count(counted) == 1


# ---- the wire ------------------------------------------------------------------------------------------------------


def encoded(value: Any) -> bytes:
    """Return a value as it goes over the wire in RESP3."""
    match value:
        case None:
            return b"_\r\n"
        case bool():
            return b"#t\r\n" if value else b"#f\r\n"
        case int():
            return b":%d\r\n" % value
        case float():
            return b",%s\r\n" % repr(value).encode()
        case hiredis.ReplyError():
            return b"-%s\r\n" % str(value).encode()
        case str():
            return encoded(value.encode())
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(value), value)
        case set():
            return b"~%d\r\n" % len(value) + b"".join(map(encoded, value))
        case dict():
            return b"%%%d\r\n" % len(value) + b"".join(encoded(one) for pair in value.items() for one in pair)
        case _:
            return b"*%d\r\n" % len(value) + b"".join(map(encoded, value))


def end_of(data: bytes, at: int) -> int:
    """Return where the reply that begins there ends; -1 where it is not whole yet."""
    line = data.find(b"\r\n", at)
    if line < 0:
        return -1
    kind, length = data[at : at + 1], data[at + 1 : line]
    if kind in b"+-:_#,(":
        return line + 2
    number = int(length)
    if kind in b"$=!":
        end = line + 2 if number < 0 else line + 4 + number
        return end if end <= len(data) else -1
    end = line + 2
    for _ in range(max(0, number) * (2 if kind in b"%|" else 1) + (kind == b"|")):
        if (end := end_of(data, end)) < 0:
            return -1
    return end


class Connection:
    """A client's connection, with one of its own to the node."""

    def __init__(self, shards: Shards, coordinator: Coordinator, port: int) -> None:
        self._shards, self._coordinator, self._port = shards, coordinator, port
        self._left = b""  # of what the node has sent
        self._user = b"default"

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer commands until one side closes."""
        node: Any = None
        try:
            self._node, node = await asyncio.open_connection("127.0.0.1", self._port)
            parser = hiredis.Reader()
            while data := await reader.read(CHUNK):
                parser.feed(data)
                commands = []
                while (command := parser.gets()) is not False:
                    commands.append(command)
                if commands and commands[-1][0].upper() == b"PSYNC":  # a replica, which is sent no replies from now on
                    await self._pass_on(commands[-1], reader, node, writer)
                    return
                await self._answer(commands, node, writer)
        except (OSError, hiredis.ProtocolError):  # the last is what comes of TLS
            pass
        finally:
            for one in (writer, node):
                if one is not None:
                    one.close()

    async def _pass_on(self, command: list[bytes], reader: Any, node: Any, writer: Any) -> None:
        node.write(hiredis.pack_command(tuple(command)))
        await asyncio.gather(_copied(reader, node), _copied(self._node, writer))

    async def _answer(self, commands: list[list[bytes]], node: Any, writer: Any) -> None:
        passed: list[tuple[bytes, ...]] = []
        for command in [*commands, None]:
            own = None if command is None else self._own(command)
            if command is not None and own is None:
                self._note_login(command)
                passed.append(tuple(command))
                continue
            if passed:
                node.write(b"".join(map(hiredis.pack_command, passed)))
                for _ in passed:
                    writer.write(await self._raw())
                passed = []
            if own is not None:
                writer.write(encoded(await own))
        await writer.drain()

    def _own(self, command: list[bytes]) -> Any:
        name = command[0].upper()
        if name.startswith((b"FT.", b"SEARCH.")) and name != b"FT.CONFIG":
            return self._permitted(command, self._coordinator.reply)
        if name == b"STANDIN":
            return self._switch(command[1].upper(), command[2] == b"yes")
        if [one.upper() for one in command] == [b"COMMAND", b"INFO", b"FT.SEARCH"]:
            return self._permitted(command, self._about_search)
        if command == [b"HELLO"] and self._port == self._shards.first and b"OTHER" in self._shards.surprises:
            return self._hello_of_another_version()
        return None

    async def _hello_of_another_version(self) -> Any:
        reply = await self._shards.ask(self._port, (b"HELLO",))
        modules = [{**one, b"ver": one[b"ver"] + 1} for one in reply[b"modules"]]
        return {**reply, b"modules": modules}

    def _note_login(self, command: list[bytes]) -> None:
        upper = [one.upper() for one in command]
        if upper[0] == b"AUTH":
            self._user = command[1] if len(command) > 2 else b"default"
        elif upper[0] == b"HELLO" and b"AUTH" in upper:
            self._user = command[upper.index(b"AUTH") + 1]

    async def _permitted(self, command: list[bytes], answer: Callable[[list[bytes]], Awaitable[Any]]) -> Any:
        """Return the answer, or that the user may not ask for it: who asks all nodes in its place may do everything."""
        if self._user != b"default":
            told = await self._shards.ask(self._port, (b"ACL", b"DRYRUN", self._user, *command))
            if isinstance(told, bytes) and told != b"OK":
                return hiredis.ReplyError(f"NOPERM {told.decode()}")
        return await answer(command)

    async def _about_search(self, _: list[bytes]) -> Any:
        return [[b"FT.SEARCH", -1, [b"readonly", b"module"], 0, 0, -1, [b"@read", b"@search"], [], [], []]]

    async def _switch(self, what: bytes, is_on: bool) -> bytes:
        (self._shards.surprises.add if is_on else self._shards.surprises.discard)(what)
        return b"OK"

    async def _raw(self) -> bytes:
        while True:
            end = end_of(self._left, 0) if self._left else -1
            if end >= 0:
                raw, self._left = self._left[:end], self._left[end:]
                return raw
            data = await self._node.read(CHUNK)
            if not data:
                raise OSError("closed")
            self._left += data


async def _copied(source: Any, target: Any) -> None:
    try:
        while data := await source.read(CHUNK):
            target.write(data)
            await target.drain()
    finally:
        target.close()


async def main(nodes: list[tuple[int, int, int]]) -> None:
    """Run the proxies until the standard input ends."""
    shards = Shards(nodes)
    for listening, server, _ in nodes:
        coordinator = Coordinator(shards, server)

        async def serve(reader: Any, writer: Any, coordinator: Any = coordinator, server: int = server) -> None:
            await Connection(shards, coordinator, server).run(reader, writer)

        await asyncio.start_server(serve, "127.0.0.1", listening)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.new_event_loop().run_until_complete(main(json.loads(sys.argv[1])))
    os._exit(0)  # connections are under way, and nobody waits for them
