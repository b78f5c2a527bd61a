"""Which rights a user of Redis needs for what it does with an index, and no others.

A flow that sends another command, or touches another key, adds it here; a test runs the calls of each role as a user
who has these rights, and again with each right taken away.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ragknn._protocol.keys import Keys

Role: TypeAlias = Literal["reader", "writer", "admin"]


@dataclass(frozen=True, slots=True)
class Rights:
    """What a user may do.

    Attributes:
        commands: in the lower case of Redis's rules.
        patterns: the keys that they may touch; `{name}` stands for the name of the index.
    """

    commands: tuple[str, ...]
    patterns: tuple[str, ...]

    def rules(self, name: str) -> list[str]:
        """Return the rules of Redis that give these rights for an index."""
        keys = Keys(name)  # which refuses names with wildcards in them
        return [*(f"+{one}" for one in self.commands), *(one.format(name=keys.name) for one in self.patterns)]


# To the search module the name under which an index is searched is a key that is read and written, whatever is asked.
# The search index has a version in its name.
_ALIAS, _VERSIONS, _READ, _WRITE = (
    "%RW~ragknn:{name}",
    "%RW~ragknn:{name}:v*",
    "%R~ragknn:{name}:*",
    "%RW~ragknn:{name}:*",
)

RIGHTS: Mapping[Role, Rights] = {
    "reader": Rights(
        (
            *("ft._list", "ft.info", "ft.search", "ft.aggregate", "ft.tagvals", "ft.cursor"),
            *("hget", "hmget", "hgetall", "hexists", "exists", "scan", "multi", "exec", "eval_ro"),
        ),
        (_ALIAS, _VERSIONS, _READ),
    ),
    "writer": Rights(
        (
            *("ft._list", "ft.info", "ft.search", "ft.aggregate", "ft.cursor"),
            *("hget", "hmget", "hset", "hsetnx", "hsetex", "hdel", "exists", "unlink", "scan", "eval", "eval_ro"),
        ),
        (_ALIAS, _WRITE),
    ),
    "admin": Rights(
        (
            *("ft._list", "ft.info", "ft.search", "ft.aggregate", "ft.cursor", "ft.create", "ft.alter", "ft.dropindex"),
            *(
                "ft.aliasadd",
                "ft.aliasupdate",
                "hget",
                "hmget",
                "hgetall",
                "hkeys",
                "hexists",
                "hstrlen",
                "hlen",
            ),
            *("hset", "hsetnx", "hsetex", "hdel", "exists", "unlink", "scan", "eval", "eval_ro"),
            *("get", "set", "pexpire", "pttl", "multi", "exec"),
        ),
        (_ALIAS, _WRITE),
    ),
}


# What every user of a cluster needs beside these: to find the nodes that have the keys, to know that an answer is
# whole, and to remove keys from several nodes.
ON_A_CLUSTER = (
    *("cluster|slots", "cluster|nodes", "cluster|countkeysinslot", "command", "search.clusterinfo", "asking"),
    *("pexpireat", "pexpiretime", "persist"),
)


def rules_of(roles: Collection[Role], name: str, *, cluster: bool = False) -> list[str]:
    """Return the rules of Redis that give the rights of all of the roles for an index, each rule once."""
    rules = [rule for role in RIGHTS if role in roles for rule in RIGHTS[role].rules(name)]
    return list(dict.fromkeys([*rules, *(f"+{one}" for one in ON_A_CLUSTER if cluster)]))
