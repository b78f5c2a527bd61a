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
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from itertools import count
from typing import Any

import hiredis

CHUNK = 1 << 16
ON_ALL = {b"FT.CREATE", b"FT.ALTER", b"FT.DROPINDEX", b"FT.ALIASADD", b"FT.ALIASUPDATE", b"FT.ALIASDEL"}
SUMS = (b"num_docs", b"max_doc_id", b"num_terms", b"num_records", b"hash_indexing_failures", b"total_indexing_time")
SIZES = (b"total_index_memory_sz_mb", b"vector_index_sz_mb")


class Gone(Exception):
    """A node cannot be reached."""


class Shards:
    """The nodes of the cluster, and the connections to them that all proxies share."""

    def __init__(self, nodes: list[tuple[int, int, int]]) -> None:
        self._servers = {proxy: server for proxy, server, _ in nodes}
        self._shadows = {server: shadow for _, server, shadow in nodes}
        self.surprises: set[bytes] = set()
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
        shadow, reached = self._shadows[server], _offset(await self.ask(server, (b"INFO", b"replication")))
        while _offset(await self.ask(shadow, (b"INFO", b"replication"))) < reached:
            await asyncio.sleep(0.001)
        return await self.ask(shadow, tuple(command))

    async def owners(self, server: int) -> dict[int, tuple[int, list[int]]]:
        """Return the servers that have slots, as one of them knows it: how many ranges, and their replicas."""
        found: dict[int, tuple[int, list[int]]] = {}
        for _, _, primary, *replicas in await self.ask(server, (b"CLUSTER", b"SLOTS")):
            ranges, _ = found.get(self._servers[primary[1]], (0, []))
            found[self._servers[primary[1]]] = ranges + 1, [self._servers[port] for _, port, *_ in replicas]
        return found

    async def on_all(self, server: int, command: list[bytes]) -> list[Any]:
        """Return what the servers answer to an FT.* command, as often as they are asked."""
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
            if name in ON_ALL:
                replies = await self._shards.on_all(self._port, command)
                return next((one for one in replies if isinstance(one, hiredis.ReplyError)), b"OK")
            if name == b"FT._LIST":
                return await self._shards.search(self._port, command)
            if name == b"SEARCH.CLUSTERINFO":
                ranges = [number for number, _ in (await self._shards.owners(self._port)).values()]
                parts = sum(ranges) if b"DUPLICATES" in self._shards.surprises else len(ranges)
                return {b"num_partitions": parts, b"cluster_type": b"redis_oss"}
            merge = {b"FT.INFO": self._info, b"FT.SEARCH": self._search, b"FT.AGGREGATE": self._aggregate}.get(name)
            if merge is not None:
                return await merge(command)
            if name == b"FT.CURSOR":
                return self._cursor(command)
            if name == b"FT.TAGVALS":
                replies = await self._shards.on_all(self._port, command)
                return _failed(replies) or sorted({value for one in replies for value in one})
        except Gone:
            return hiredis.ReplyError("ERR Could not send query to cluster")
        return await self._shards.ask(self._port, tuple(command))

    async def _info(self, command: list[bytes]) -> Any:
        replies = await self._shards.on_all(self._port, command)
        if failed := _failed(replies):
            return failed
        merged = dict(max(replies, key=lambda one: float(one[b"hash_indexing_failures"])))
        for name in SUMS:
            merged[name] = sum(int(float(one.get(name, 0))) for one in replies)
        for name in SIZES:
            merged[name] = str(sum(float(one.get(name, 0)) for one in replies)).encode()
        merged[b"indexing"] = max(int(one[b"indexing"]) for one in replies)
        merged[b"percent_indexed"] = min(float(one[b"percent_indexed"]) for one in replies)
        return merged

    async def _search(self, command: list[bytes]) -> Any:
        upper = [one.upper() if len(one) < 20 else one for one in command]
        first, number = 0, 10
        asked = list(command)
        if b"LIMIT" in upper:
            at = len(upper) - 1 - upper[::-1].index(b"LIMIT")
            first, number = int(command[at + 1]), int(command[at + 2])
            asked[at + 1 : at + 3] = [b"0", str(first + number).encode()]
        is_sorted, scored = b"SORTBY" in upper, b"WITHSCORES" in upper
        asked[3:3] = [b"WITHSORTKEYS"] if is_sorted else [] if scored else [b"WITHSCORES"]
        replies = await self._shards.on_all(self._port, asked)
        if failed := _failed(replies):
            return failed
        rows = [row for one in replies for row in one[b"results"]]
        if is_sorted:
            at = upper.index(b"SORTBY")
            rows.sort(key=_sort_key, reverse=upper[at + 2 : at + 3] == [b"DESC"])
        else:
            rows.sort(key=lambda row: -float(row.get(b"score", 0)))
        total = sum(one[b"total_results"] for one in replies)
        if knn := re.search(rb"=>\s*\[KNN\s+(\d+)", command[2]):
            total = min(total, int(knn[1]))
            rows = rows[: int(knn[1])]
        for row in rows:
            row.pop(b"sortkey", None)
            if not scored:
                row.pop(b"score", None)
        warnings = list(dict.fromkeys(text for one in replies for text in one.get(b"warning", ())))
        return {**replies[0], b"total_results": total, b"results": rows[first : first + number], b"warning": warnings}

    async def _aggregate(self, command: list[bytes]) -> Any:
        asked, size = list(command), 0
        upper = [one.upper() if len(one) < 20 else one for one in command]
        if b"WITHCURSOR" in upper:
            at, size = upper.index(b"WITHCURSOR"), 1000
            end = at + 1
            if upper[end : end + 1] == [b"COUNT"]:
                size, end = int(command[end + 1]), end + 2
            del asked[at:end]
            asked += [b"LIMIT", b"0", b"1000000"] if b"LIMIT" not in upper else []
        replies = await self._shards.on_all(self._port, asked)
        if failed := _failed(replies):
            return failed
        rows = [row for one in replies for row in one[b"results"]]
        if b"GROUPBY" in upper:
            rows = _grouped(command, upper, rows)
        warnings = list(dict.fromkeys(text for one in replies for text in one.get(b"warning", ())))
        whole = {**replies[0], b"total_results": len(rows), b"results": rows, b"warning": warnings}
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


def _failed(replies: list[Any]) -> Any:
    if not replies:
        return hiredis.ReplyError("ERR Could not send query to cluster")
    return next((one for one in replies if isinstance(one, hiredis.ReplyError)), None)


def _sort_key(row: dict[bytes, Any]) -> tuple[bool, Any]:
    key = row.get(b"sortkey")
    if key is None:
        return (True, 0.0)
    return (False, float(key[1:])) if key[:1] == b"#" else (False, _number(key[1:]))


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
    groups: dict[tuple[Any, ...], dict[bytes, Any]] = {}
    for row in rows:
        values = row[b"extra_attributes"]
        group = groups.setdefault(tuple(values.get(name) for name in by), {**values, **dict.fromkeys(counted, 0)})
        for name in counted:
            group[name] += int(float(values[name]))
    return [
        {b"extra_attributes": {name: str(value).encode() if name in counted else value for name, value in one.items()}}
        for one in groups.values()
    ]


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
        except OSError:
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
            return self._coordinator.reply(command)
        if name == b"STANDIN":
            return self._switch(command[1].upper(), command[2] == b"yes")
        if [one.upper() for one in command] == [b"COMMAND", b"INFO", b"FT.SEARCH"]:
            return self._about_search()
        return None

    async def _about_search(self) -> Any:
        return [[b"FT.SEARCH", -1, [b"readonly"], 0, 0, 0, [], [], [], []]]

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
