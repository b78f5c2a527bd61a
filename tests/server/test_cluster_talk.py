"""What is said to the nodes of a cluster, step by step: redirections, failures, and answers that may not be whole."""

import pytest
import redis
from redis.exceptions import AskError, MovedError, TryAgainError

from ragknn._protocol.flows import Pause, SentAgain
from ragknn.errors import UnsupportedServer
from ragknn.server._cluster.conversations import Known, NodeFailed, Renew, Say
from ragknn.server._cluster.routing import slot_of
from ragknn.server._cluster.talking import Talk
from ragknn.server._cluster.views import ASK_PARTITIONS, ASK_VIEW

NODES = ["a:1", "b:2", "c:3"]
SEARCH = ("FT.SEARCH", "ragknn:doc:v1", "*")
MANIFEST = ("HGET", "ragknn:doc:manifest", "schema")
PARTITIONS = {b"num_partitions": 3}


class Slots:
    """A map of slots: a third for each node, but for some that were moved."""

    patience = 0.5

    def __init__(self):
        self.moved = {}

    def owner(self, slot):
        return self.moved.get(slot, NODES[min(2, slot // 5_462)])

    def primaries(self):
        return NODES

    def named(self, host, port):
        return f"{host}:{port}"


def view_of(name, *, leaving="", flags="", ranges=None, epoch="1"):
    """What a node answers when it is asked how it sees the cluster."""
    lines = []
    for one, slots in zip(NODES, ranges or ("0-5461", "5462-10922", "10923-16383"), strict=True):
        mine = one == name
        words = [
            "myself,master" if mine else f"master{flags}",
            "-",
            "0",
            "0",
            epoch if mine else "1",
            "connected",
            slots,
        ]
        lines.append(" ".join([f"id-{one}", f"{one}@9", *words, *([leaving] if mine and leaving else [])]))
    return "\n".join(lines).encode()


def found(*keys):
    return {b"results": [{b"id": key.encode()} for key in keys], b"warning": []}


class Answering:
    """Runs a list of commands, and answers for the nodes."""

    def __init__(self, slots=None, known=None, once=False):
        self.slots = slots or Slots()
        self.known = known or Known(home="a:1")
        self.once = once
        self.said, self.renewed = [], 0
        self.views = view_of
        self.answers = {}
        self.partitions = [PARTITIONS]

    def run(self, commands):
        talk = Talk(self.slots, self.known, once=self.once).replies(commands)
        sent = None
        while True:
            try:
                step = talk.send(sent)
            except StopIteration as stop:
                return stop.value
            sent = None
            if isinstance(step, Say):
                self.said.append(step)
                sent = tuple([self._answer(name, some) for name, some in part] for part in (step.parcels, step.behind))
            elif isinstance(step, Renew):
                self.renewed += 1
                self.slots.moved.update({one.slot_id: f"{one.host}:{one.port}" for one in step.moved})
            else:
                assert isinstance(step, Pause)

    def _answer(self, name, commands):
        replies = [self._reply(name, command) for command in commands]
        return next((one for one in replies if isinstance(one, redis.ConnectionError | redis.TimeoutError)), replies)

    def _reply(self, name, command):
        if command == ASK_VIEW:
            return self.views(name)
        if command == ASK_PARTITIONS:
            return self.partitions.pop(0) if len(self.partitions) > 1 else self.partitions[0]
        if command == ("ASKING",):
            return b"OK"
        answers = self.answers.get(command, [b"done"])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return answer(name) if callable(answer) else answer


def test_what_has_moved_is_sent_again_as_a_whole():
    key = "ragknn:doc:p:{d}:0"
    commands = [("MULTI",), ("HGET", key, "text"), ("EXEC",)]
    talk = Answering()
    moved = MovedError(f"{slot_of(key)} c:3")
    talk.answers = {commands[1]: [moved, b"QUEUED"], commands[2]: [redis.exceptions.ExecAbortError("no"), [b"text"]]}
    replies = talk.run(commands)
    assert replies == [b"done", b"QUEUED", [b"text"]]
    assert not isinstance(replies, SentAgain)
    assert [step.parcels[0][1] for step in talk.said] == [commands, commands]
    assert (talk.said[1].parcels[0][0], talk.renewed) == ("c:3", 1)


def test_a_slot_that_is_being_moved_is_asked_for_at_its_new_node_and_waited_for():
    talk = Answering()
    ask = AskError(f"{slot_of(MANIFEST[1])} b:2")
    talk.answers = {MANIFEST: [ask, TryAgainError("half"), b"schema"]}
    assert talk.run([MANIFEST]) == [b"schema"]
    assert [step.parcels[0][1] for step in talk.said] == [[MANIFEST], [("ASKING",), MANIFEST], [MANIFEST]]
    assert talk.said[1].parcels[0][0] == "b:2"


def test_a_slot_that_does_not_arrive_is_an_error():
    talk = Answering()
    talk.answers = {MANIFEST: [TryAgainError("half")]}
    with pytest.raises(NodeFailed, match="moved"):
        talk.run([MANIFEST])


def test_what_a_broken_connection_carried_is_sent_again_unless_it_must_not():
    talk = Answering()
    talk.answers = {MANIFEST: [redis.ConnectionError("closed"), b"schema"]}
    replies = talk.run([MANIFEST])
    assert (replies, type(replies)) == ([b"schema"], SentAgain)
    talk = Answering(once=True)
    talk.answers = {MANIFEST: [redis.ConnectionError("closed"), b"schema"]}
    with pytest.raises(NodeFailed, match="closed"):
        talk.run([MANIFEST])


def test_a_time_limit_is_not_waited_for_twice():
    talk = Answering()
    talk.answers = {MANIFEST: [redis.TimeoutError("late")]}
    with pytest.raises(NodeFailed, match="late"):
        talk.run([MANIFEST])
    assert len(talk.said) == 1


def test_a_search_is_looked_behind():
    talk = Answering()
    talk.answers = {SEARCH: [found("k1", "k2")]}
    assert talk.run([SEARCH]) == [found("k1", "k2")]
    first, asked = talk.said
    assert [name for name, _ in first.parcels] == NODES  # how the cluster was before
    assert asked.parcels == [("a:1", [ASK_PARTITIONS, SEARCH, ASK_VIEW])]
    assert asked.behind == [("b:2", [ASK_VIEW]), ("c:3", [ASK_VIEW])]
    talk.run([SEARCH])
    assert talk.said[2].parcels == [("a:1", [SEARCH, ASK_VIEW])]
    assert len(talk.said) == 3


def answered_at(number, change):
    """Views that are another from the so manieth on."""
    asked = []

    def view(name):
        asked.append(name)
        return view_of(name, **(change if len(asked) > number else {}))

    return view


def test_a_search_in_which_a_slot_was_moved_is_made_again():
    talk = Answering()
    talk.answers = {SEARCH: [found("k1"), found("k1", "k2")]}
    talk.views = answered_at(3, {"ranges": ("0-5460", "5461-10922", "10923-16383")})
    assert talk.run([SEARCH]) == [found("k1", "k2")]


def test_a_search_in_which_a_slot_was_moved_away_and_back_is_made_again():
    talk = Answering()
    talk.answers = {SEARCH: [found("k1"), found("k1", "k2")]}
    talk.views = answered_at(3, {"epoch": "2"})  # it grows where a slot comes to a node
    assert talk.run([SEARCH]) == [found("k1", "k2")]


def test_a_search_that_found_a_passage_twice_is_made_again():
    talk = Answering()
    talk.answers = {SEARCH: [found("k1", "k1"), found("k1", "k2")]}
    assert talk.run([SEARCH]) == [found("k1", "k2")]


def test_while_keys_leave_a_slot_no_search_counts_as_complete():
    left = iter(range(1_000, 0, -1))
    talk = Answering()
    talk.views = lambda name: view_of(name, leaving="[93->-id-b:2]")
    talk.answers = {SEARCH: [found("k1")], ("CLUSTER", "COUNTKEYSINSLOT", "93"): [lambda name: next(left), b""]}
    talk.answers["CLUSTER", "COUNTKEYSINSLOT", "93"] = [lambda name: next(left)]
    [reply] = talk.run([SEARCH])
    assert "may be missing" in reply[b"warning"][0].decode()
    talk.answers["CLUSTER", "COUNTKEYSINSLOT", "93"] = [7]
    talk.answers[SEARCH] = [found("k1")]
    assert talk.run([SEARCH]) == [found("k1")]


@pytest.mark.parametrize(
    "trouble",
    [
        {"views": lambda name: redis.ConnectionError("closed") if name == "c:3" else view_of(name)},
        {"views": lambda name: view_of(name, flags=",fail?")},
        {"answers": {SEARCH: [redis.ResponseError("Could not send query to cluster")]}},
        {"answers": {SEARCH: [redis.ResponseError("no responses received")]}},
        {"answers": {SEARCH: [redis.ResponseError("Could not perform query")]}},
    ],
    ids=["gone", "failing", "not reached", "none has answered", "none has tags"],
)
def test_a_node_that_is_missing_gives_no_answer(trouble):
    talk = Answering()
    talk.answers = {SEARCH: [found("k1")]}
    vars(talk).update(trouble)
    with pytest.raises(NodeFailed):
        talk.run([SEARCH])


def test_an_index_that_no_node_is_told_of_is_not_made():
    talk = Answering()
    making = ("FT.CREATE", "ragknn:doc:v1")
    talk.answers = {making: [redis.ResponseError("Could not distribute command")]}
    with pytest.raises(NodeFailed):
        talk.run([making])


def test_searches_of_one_moment_are_made_until_nothing_comes_between():
    other = ("FT.SEARCH", "ragknn:doc:v2", "*")
    talk = Answering()
    talk.answers = {SEARCH: [found("k1"), found("k1"), found("k2")], other: [found("k1"), found("k2")]}
    *_, answers = talk.run([("MULTI",), SEARCH, other, ("EXEC",)])
    assert answers == [found("k2"), found("k2")]


def test_a_node_that_was_missing_for_a_moment_is_asked_again():
    talk = Answering()
    talk.answers = {SEARCH: [redis.ResponseError("Could not send query to cluster"), found("k1")]}
    assert talk.run([SEARCH]) == [found("k1")]


def test_a_cursor_is_read_where_it_is_and_only_in_the_view_in_which_it_was_made():
    begin = ("FT.AGGREGATE", "ragknn:doc:v1", "*", "WITHCURSOR", "COUNT", "1")
    read = ("FT.CURSOR", "READ", "ragknn:doc:v1", "17", "COUNT", "1")
    page = {b"results": [{b"extra_attributes": {}}], b"warning": []}
    talk = Answering()
    talk.answers = {begin: [[page, 17]], read: [lambda name: [dict(page), 0]]}
    assert talk.run([begin]) == [[page, 17]]
    talk.known.home = "b:2"  # as when the first one was lost for a moment
    [[rows, _]] = talk.run([read])
    assert (talk.said[-1].parcels[0][0], rows[b"warning"]) == ("a:1", [])
    talk.views = lambda name: view_of(name, ranges=("0-5460", "5461-10922", "10923-16383"))
    [[rows, _]] = talk.run([read])
    assert rows[b"warning"]


def test_a_cluster_that_is_asked_more_often_than_it_has_nodes_is_refused():
    talk = Answering()
    talk.answers = {SEARCH: [found("k1")]}
    talk.partitions = [{b"num_partitions": 4}]
    with pytest.raises(UnsupportedServer, match="asks each of its 3 nodes once, got one that asks 4 times"):
        talk.run([SEARCH])


def shards_of(*names):
    """What a module from 8.4 on says of the nodes that it asks."""
    shards = [{b"slots": [0, 1], b"id": f"id-{name}".encode(), b"host": b"", b"port": 1} for name in names]
    return {b"num_partitions": len(names), b"cluster_type": b"redis_oss", b"shards": shards}


def ranges_of(*names):
    """What an earlier one says, with a replica of each; or where nothing was searched yet."""
    bounds = dict(zip(NODES, ((0, 5_461), (5_462, 10_922), (10_923, 16_383)), strict=True))
    slots = []
    for name in names:
        first, last = bounds.get(name, bounds["c:3"])
        nodes = [{b"id": f"id-{name}".encode(), b"role": b"master self"}, REPLICA]
        slots.append({b"start": first, b"end": last, b"nodes": nodes})
    return {b"num_partitions": len(names), b"hash_func": b"CRC16", b"num_slots": 16384, b"slots": slots or None}


REPLICA = {b"id": b"id-r:4", b"host": b"", b"port": 4, b"role": b"slave "}


@pytest.mark.parametrize("told", [shards_of, ranges_of])
def test_a_search_counts_once_the_module_asks_the_nodes_that_have_the_slots(told):
    for before in ((), ("a:1", "b:2"), ("a:1", "b:2", "gone:9")):
        talk = Answering()
        talk.slots.patience = 60
        talk.partitions = [told(*before), told(*before), told(*NODES)]
        talk.answers = {SEARCH: [found("k1"), found("k1"), found("k1", "k2")]}
        assert talk.run([SEARCH]) == [found("k1", "k2")]
        assert talk.run([SEARCH]) == [found("k1", "k2")]
        assert talk.said[-1].parcels == [("a:1", [SEARCH, ASK_VIEW])]
        talk.known.home = "b:2"
        talk.run([SEARCH])
        assert talk.said[-1].parcels == [("b:2", [ASK_PARTITIONS, SEARCH, ASK_VIEW])]


def test_a_module_that_will_count_twice_once_it_has_noticed_is_refused():
    talk = Answering()
    talk.slots.patience = 60
    talk.views = lambda name: view_of(name, ranges=("0-99 101-5461", "100 5462-10922", "10923-16383"))
    noticed = ranges_of(*NODES)
    noticed[b"slots"][:1] = [
        {**noticed[b"slots"][0], b"start": first, b"end": last} for first, last in ((0, 99), (101, 5461))
    ]
    noticed[b"slots"].append({**noticed[b"slots"][2], b"start": 100, b"end": 100})
    talk.partitions = [ranges_of(*NODES), ranges_of(*NODES), {**noticed, b"num_partitions": 5}]
    talk.answers = {SEARCH: [found("k1")]}
    with pytest.raises(UnsupportedServer, match="asks each of its 3 nodes once, got one that asks 5 times"):
        talk.run([SEARCH])
    assert len(talk.said) == 4


def test_a_node_without_slots_may_be_asked_too():
    talk = Answering()
    talk.slots.patience = 0
    talk.partitions = [shards_of(*NODES, "d:4")]
    talk.answers = {SEARCH: [found("k1")]}
    assert talk.run([SEARCH]) == [found("k1")]


def test_an_index_that_is_not_there_is_none_though_the_module_has_asked_nobody_yet():
    talk = Answering()
    talk.slots.patience = 0
    talk.partitions = [ranges_of(), ranges_of(), ranges_of(*NODES)]
    talk.answers = {SEARCH: [gone := redis.ResponseError("ragknn:doc: no such index"), gone, found("k1")]}
    assert talk.run([SEARCH]) == [gone]
    assert talk.run([SEARCH]) == [gone]
    assert talk.run([SEARCH]) == [found("k1")]


def test_a_module_that_asks_other_nodes_for_long_gives_no_answer():
    talk = Answering()
    talk.slots.patience = 0
    talk.partitions = [shards_of("a:1", "b:2", "gone:9")]
    talk.answers = {SEARCH: [found("k1")]}
    with pytest.raises(NodeFailed, match="does not ask those nodes"):
        talk.run([SEARCH])


def test_a_module_on_the_only_node_with_slots_asks_nobody():
    talk = Answering()
    talk.slots.patience = 0
    talk.views = lambda name: view_of(name, ranges=("0-16383", "", ""))
    talk.partitions = [shards_of()]
    talk.answers = {SEARCH: [found("k1")]}
    assert talk.run([SEARCH]) == [found("k1")]


def test_a_module_that_does_not_tell_whom_it_asks_is_trusted():
    talk = Answering()
    talk.partitions = [redis.ResponseError("no permissions")]
    talk.answers = {SEARCH: [found("k1")]}
    assert talk.run([SEARCH]) == [found("k1")]


@pytest.mark.parametrize("command", [SEARCH, ("FT.CREATE", "ragknn:doc:v1")])
def test_a_module_that_has_just_started_is_waited_for(command):
    talk = Answering()
    talk.slots.patience = 60
    starting = redis.ResponseError("ERRCLUSTER Uninitialized cluster state, could not perform command")
    talk.answers = {command: [*[starting] * 9, found("k1")]}
    assert talk.run([command]) == [found("k1")]


WITHIN = ("FT.SEARCH", "ragknn:doc:v1", "@vector:[VECTOR_RANGE $r $v]", "PARAMS", "2", "r", "timeout", "TIMEOUT")


def test_a_search_within_a_radius_that_took_as_long_as_it_may_is_not_whole():
    slow, quick = (*WITHIN, "0"), (*WITHIN, "60000")
    talk = Answering()
    talk.answers = {one: [lambda name: found("k1")] for one in (SEARCH, slow, quick)}
    whole, cut, other, also = talk.run([quick, slow, SEARCH, slow])
    assert cut[b"warning"] == also[b"warning"] != []
    assert whole[b"warning"] == other[b"warning"] == []
    assert [step.parcels[0][1].count(slow) for step in talk.said[1:]] == [2, 1, 1]  # the late ones again, each alone


def hello(version):
    module = {b"name": b"search", b"ver": version}
    return {b"version": b"8.2.3", b"proto": 3, b"mode": b"cluster", b"modules": [module]}


def test_a_module_that_counts_what_replicas_have_is_refused_where_there_are_some():
    replica = b"id-r r:4@9 slave id-a:1 0 0 1 connected\n"
    for version, is_refused in ((80000, True), (80205, True), (80206, False), (80400, False), (21005, False)):
        talk = Answering()
        talk.answers = {("HELLO",): [lambda name, version=version: hello(version)]}
        assert talk.run([("HELLO",)]) == [{**hello(version), b"primaries": 3}]
        talk.views = lambda name: replica + view_of(name)
        if is_refused:
            with pytest.raises(UnsupportedServer, match=r"search module 8\.2\.6 or later on a cluster with replicas"):
                talk.run([("HELLO",)])
        else:
            assert talk.run([("HELLO",)]) == [{**hello(version), b"primaries": 3}]


def test_all_nodes_are_greeted():
    talk = Answering()
    talk.answers = {("HELLO",): [lambda name: hello(80213)]}
    assert talk.run([("HELLO",)]) == [{**hello(80213), b"primaries": 3}]
    talk.answers = {("HELLO",): [lambda name: hello(80400 if name == "b:2" else 80213)]}
    with pytest.raises(UnsupportedServer, match=r"got 8\.2\.13 at c:3, 8\.4\.0 at b:2: run the same on each node"):
        talk.run([("HELLO",)])
