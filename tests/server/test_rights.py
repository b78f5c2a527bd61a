"""Each role does all that it does with the rights that `ragknn acl` prints, and misses each of them by its name."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import earlier
import pytest
import redis
import roles
from commands import run_here
from servers import private_server

from ragknn import Index, Indexer, LabelVoter, Retriever
from ragknn._protocol.keys import Keys
from ragknn._protocol.rights import RIGHTS, rules_of

NAME, PASSWORD = "guarded", "pass"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    with private_server(tmp_path_factory.mktemp("rights")) as url:
        yield url


@pytest.fixture
def admin(server) -> Iterator[redis.Redis]:
    """The user who may do everything, on a server with nothing but one index in it."""
    with redis.Redis.from_url(server) as client:
        client.flushall()
        roles.make(server, NAME)
        yield client


def as_user(server: str, admin: redis.Redis, rules: list[str]) -> str:
    """Return a URL with the login of a user who has just these rights."""
    admin.execute_command("ACL", "SETUSER", "someone", "reset", "on", f">{PASSWORD}", *rules)
    return server.replace("unix://", f"unix://someone:{PASSWORD}@")


def weaker(rules: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each right, and the rules without it; a key that is read and written, also without either."""
    for rule in rules:
        others = [one for one in rules if one != rule]
        yield rule, others
        if rule.startswith("%RW"):
            yield f"%W of {rule}", [*others, rule.replace("%RW", "%R")]
            yield f"%R of {rule}", [*others, rule.replace("%RW", "%W")]


@pytest.mark.parametrize("role", RIGHTS)
def test_the_rights_of_a_role_are_enough(server, admin, role):
    roles.make(server, NAME, large=True)
    calls = roles.Calls(as_user(server, admin, RIGHTS[role].rules(NAME)), NAME)
    assert list(roles.refusals(getattr(calls, role)())) == []


def calls_of(server: str, admin: redis.Redis, role: str, right: str, url: str) -> Mapping[str, Callable[[], object]]:
    """Bring the server to where the role misses a right, and return its calls."""
    if role != "reader" or right == "+ft.cursor":  # the others change nothing
        admin.flushall()
        roles.make(server, NAME, large=right == "+ft.cursor")
    calls = roles.Calls(url, NAME)
    if right in ("+set", "+pexpire", "+hgetall", "+ft.aliasupdate") and role == "admin":
        earlier.part_records(admin, Keys(NAME))
        earlier.set_manifest(admin, Keys(NAME), format=3)
        return calls.first_writer()
    return getattr(calls, role)()


@pytest.mark.parametrize("role", RIGHTS)
def test_each_right_that_is_taken_away_is_missed_by_its_name(server, admin, role):
    missed = {}
    for right, rules in sorted(weaker(RIGHTS[role].rules(NAME)), key=lambda pair: pair[0] == "+ft.cursor"):
        calls = calls_of(server, admin, role, right, as_user(server, admin, rules))
        name = r"access a key|keys" if "~" in right else rf"'{re.escape(right[1:])}' command"
        missed[right] = next((said for said in roles.refusals(calls) if re.search(name, said, re.IGNORECASE)), None)
    assert [right for right, said in missed.items() if said is None] == []
    assert all("`ragknn acl`" in said for said in missed.values())


def test_nobody_reaches_another_index(server, admin):
    roles.make(server, f"{NAME}2")
    url = as_user(server, admin, rules_of(list(RIGHTS), NAME))
    for calls in (roles.Calls(url, f"{NAME}2").reader(), roles.Calls(url, f"{NAME}2").writer()):
        free = {"list_indexes", "estimators"}
        assert len(list(roles.refusals(calls))) >= len(calls) - len(free)


def test_no_role_may_do_what_is_dangerous(server, admin):
    as_user(server, admin, rules_of(list(RIGHTS), NAME))
    for command in (["FLUSHALL"], ["CONFIG", "GET", "*"], ["KEYS", "*"], ["ACL", "LIST"], ["SHUTDOWN"], ["MONITOR"]):
        assert b"no permissions" in admin.execute_command("ACL", "DRYRUN", "someone", *command)


@pytest.mark.parametrize("face", [Index, Indexer, Retriever, LabelVoter])
def test_each_public_method_is_called_by_some_role(face):
    calls = roles.Calls("redis://nowhere", NAME)
    called = " ".join(name for role in RIGHTS for name in getattr(calls, role)())
    asks_nothing = {"close", "vote_on"}
    methods = {name for name, value in vars(face).items() if not name.startswith("_") and callable(value)}
    assert {name for name in methods - asks_nothing if not re.search(rf"\b{face.__name__}\.{name}\b", called)} == set()


@pytest.mark.parametrize("chosen", [["reader"], ["writer", "reader"], ["reader", "writer", "admin"]])
def test_the_command_prints_what_the_roles_need(tmp_path: Path, chosen):
    options = [word for role in chosen for word in ("--role", role)]
    printed = run_here(["acl", NAME, *options, "--user", "ann"], "", tmp_path, {})
    rules = rules_of(chosen, NAME)
    assert printed.stdout == f"ACL SETUSER ann reset on >PASSWORD {' '.join(rules)}\n"
    as_json = run_here(["acl", NAME, *options, "--json"], "", tmp_path, {})
    assert json.loads(as_json.stdout)["rules"] == rules
    assert set(rules) == {rule for role in chosen for rule in RIGHTS[role].rules(NAME)}


@pytest.mark.parametrize("args", [["a*"], ["", "--role", "admin"], ["a", "--role", "king"], ["a", "--user", "a b"]])
def test_the_command_prints_nothing_of_what_would_mean_more(tmp_path: Path, args):
    done = run_here(["acl", *args], "", tmp_path, {})
    assert (done.returncode, done.stdout) == (2, "")
    assert "xpected" in done.stderr or "not one of" in done.stderr


def test_the_page_shows_what_the_command_prints(server, admin, tmp_path: Path):
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```redis\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    printed = [run_here(["acl", "handbook", "--role", one, "--user", one], "", tmp_path, {}).stdout for one in RIGHTS]
    assert block == "".join(printed)
    for line in block.splitlines():
        admin.execute_command(*line.split())
