"""The tools of `ragknn mcp`, by the client of the SDK and without a process between them."""

import asyncio
import json
import os
import signal
import threading
import time

import anyio
import jsonschema
import pytest
from filtering import Meaning, comparisons, conditions, one_of, wheres
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp import Client, MCPError
from proxies import DOWN, proxy_before
from servers import private_server
from serving import EMBEDDER, FIELDS, OWN, SECRET, ask, fill, letters, refusal, talk

from ragknn import Document, HashingEmbedder, Index, Indexer, Retriever, load_settings
from ragknn.integrations.mcp import create_server
from ragknn.server import server_status, stop_server

LONG = "\n\n".join(f"Paragraph {n} of a long report, on the price of pears in the year {n}." for n in range(2_000))


@pytest.fixture(scope="module")
def url(redis_url):
    fill(redis_url, "mcp-letters", [*letters(SECRET), *letters("bolt")])
    fill(
        redis_url, "mcp-reports", [Document("long {report}#1", LONG, metadata={"url": "https://example.org/r", "x": 1})]
    )
    yield redis_url
    for name in ("mcp-letters", "mcp-reports"):
        with Index(name, url=redis_url, create=False) as index:
            index.drop()


@pytest.fixture
def server(url):
    return create_server("mcp-letters", url=url)


# ---- answers ---------------------------------------------------------------------------------------------------


def test_search_answers_what_the_retriever_finds(server, url):
    options = [{"k": 3}, {"mode": "hybrid"}, {"mode": "text", "k": 2}, {"filter": {"year": {"$gte": 2004}}}]

    async def conversation(client):
        return [await ask(client, "search", query="letter 3 about pears", **one) for one in options]

    answers = talk(server, conversation)
    with Index("mcp-letters", url=url, create=False) as index:
        for answer, one in zip(answers, options, strict=True):
            where = one.get("filter")
            found = Retriever(index).retrieve(
                "letter 3 about pears", one.get("k", 5), mode=one.get("mode", "vector"), where=where
            )
            assert [result["id"] for result in answer["results"]] == [each.passage.id for each in found]
            assert [result["text"] for result in answer["results"]] == [each.passage.text for each in found]
            assert answer["complete"]
            assert answer["warnings"] == []
    best = answers[0]["results"][0]
    assert best["title"] == best["metadata"]["title"]
    assert best["url"] == f"ragknn://mcp-letters/{best['document_id'].replace(' ', '%20')}"
    assert 0 <= best["similarity"] <= 1
    assert answers[2]["results"][0]["similarity"] is None


def test_what_search_finds_can_be_fetched_by_its_id_and_by_that_of_its_document(server):
    async def conversation(client):
        [best] = (await ask(client, "search", query="letter 2", k=1))["results"]
        return best, await ask(client, "fetch", id=best["id"]), await ask(client, "fetch", id=best["document_id"])

    best, by_passage, by_document = talk(server, conversation)
    assert {**by_passage, "id": ""} == {**by_document, "id": ""}
    assert by_passage["text"] == best["text"]
    assert (by_passage["metadata"], by_passage["label"]) == (best["metadata"], best["label"])
    assert (by_passage["start"], by_passage["next_start"]) == (0, None)


def test_a_long_document_comes_in_parts_from_the_beginning_or_around_a_passage(url):
    async def conversation(client):
        parts, start = [], 0
        while start is not None:
            part = await ask(client, "fetch", id="long {report}#1", start=start)
            parts.append(part["text"])
            start = part["next_start"]
        [hit, *_] = (await ask(client, "search", query="Paragraph 1700 price year 1700", mode="text"))["results"]
        around = await ask(client, "fetch", id=hit["id"])
        return parts, hit, around, await refusal(client, "fetch", id="long {report}#1", start=10**7)

    parts, hit, around, refused = talk(create_server("mcp-reports", url=url), conversation)
    assert "".join(parts) == LONG
    assert hit["text"] in around["text"]
    assert 0 < around["start"] < around["length"] == len(LONG)
    assert hit["url"] == around["url"] == "https://example.org/r"
    assert f"the document has {len(LONG)} characters" in refused


def test_classify_lets_the_neighbors_vote(server):
    async def conversation(client):
        answer = await ask(client, "classify", text="bolt writes letter 3", k=1)
        among = await ask(client, "classify", text="bolt writes letter 3", k=2, filter={"label": "bolt-even"})
        return answer, among, await refusal(client, "classify", text="x", k=9, filter={"year": 2001})

    answer, among, refused = talk(server, conversation)
    assert (answer["label"], answer["shares"], answer["abstained"]) == ("bolt-odd", {"bolt-odd": 1.0}, False)
    assert answer["neighbors"][0]["id"] == "bolt/letter 3#0"
    assert among["label"] == "bolt-even"
    assert "expected" in refused


def test_several_indexes_take_turns_and_say_which_an_id_is_of(url):
    server = create_server(["mcp-letters", "mcp-reports", "mcp-missing"], url=url)

    async def conversation(client):
        every = await ask(client, "search", query="pears", k=4)
        fetched = [await ask(client, "fetch", id=one["id"]) for one in every["results"]]
        one = await ask(client, "search", query="pears", index="mcp-reports")
        known = await ask(client, "list_indexes")
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        refused = [
            await refusal(client, "search", query="pears", index="handbook"),
            await refusal(client, "search", query="pears", index="mcp-missing"),
            await refusal(client, "search", query="pears", filter={"nothing": 1}),
            await refusal(client, "classify", text="pears"),
            await refusal(client, "fetch", id="bolt/letter 1"),
        ]
        return every, fetched, one, known, tools, refused

    every, fetched, one, known, tools, refused = talk(server, conversation)
    assert [hit["index"] for hit in every["results"]] == ["mcp-letters", "mcp-reports"] * 2
    assert [document["index"] for document in fetched] == [hit["index"] for hit in every["results"]]
    assert not every["complete"]
    assert "There is no index mcp-missing" in every["warnings"][0]
    assert {hit["index"] for hit in one["results"]} == {"mcp-reports"}
    assert [(index["name"], index["documents"]) for index in known["indexes"]] == [
        ("mcp-letters", 12),
        ("mcp-reports", 1),
        ("mcp-missing", None),
    ]
    assert "ragknn index mcp-missing FOLDER" in known["indexes"][2]["problem"]
    assert tools["search"].input_schema["properties"]["index"]["enum"] == ["mcp-letters", "mcp-reports", "mcp-missing"]
    assert tools["classify"].input_schema["required"] == ["text", "index"]
    assert "Fields of index mcp-letters:" in tools["search"].input_schema["properties"]["filter"]["description"]
    assert "there are mcp-letters, mcp-reports, mcp-missing" in refused[0]
    assert "There is no index mcp-missing on the server" in refused[1]
    assert "got 'nothing'" in refused[2]
    assert "name one with index" in refused[3]
    assert "must begin with the name of its index" in refused[4]


# ---- what is told of the tools ---------------------------------------------------------------------------------


def test_the_tools_say_what_they_take_and_answer_and_that_they_change_nothing(server):
    calls = {
        "search": {"query": "pears"},
        "fetch": {"id": "bolt/letter 1"},
        "classify": {"text": "pears"},
        "list_indexes": {},
    }

    async def conversation(client):
        answers = {tool: await ask(client, tool, **arguments) for tool, arguments in calls.items()}
        return (await client.list_tools()).tools, answers

    tools, answers = talk(server, conversation)
    assert [tool.name for tool in tools] == list(calls)
    for tool in tools:
        hints = tool.annotations
        assert (hints.read_only_hint, hints.destructive_hint, hints.open_world_hint) == (True, False, False)
        jsonschema.validate(calls[tool.name], tool.input_schema)
        jsonschema.validate(answers[tool.name], tool.output_schema)
        with pytest.raises(jsonschema.ValidationError, match="Additional properties"):
            jsonschema.validate({**calls[tool.name], "filters": {}}, tool.input_schema)
    properties = tools[0].input_schema["properties"]
    assert list(properties) == ["query", "k", "mode", "filter"]
    assert properties["mode"]["enum"] == ["vector", "hybrid", "text"]
    assert properties["k"]["description"].endswith("at most 50.")
    lines = properties["filter"]["description"].splitlines()
    assert '- "year" (number: 2000 to 2005)' in lines
    assert f'- "tenant" (tag: "{SECRET}", "bolt")' in lines
    assert '- "title" (text: {"$contains": "word"})' in lines


def test_an_index_without_labels_or_model_offers_what_it_can(redis_url, index_name):
    with Index(index_name, url=redis_url, dim=2) as index:
        Indexer(index).add_vectors(["a", "b"], [[1, 0], [0, 1]], texts=["red apples", "green pears"])
    server = create_server(index_name, url=redis_url, about="fruit", most=1)

    async def conversation(client):
        tools = (await client.list_tools()).tools
        found = await ask(client, "search", query="pears", k=9)
        return tools, found, await refusal(client, "search", query="pears", mode="vector"), client.instructions

    tools, found, refused, instructions = talk(server, conversation)
    assert [tool.name for tool in tools] == ["search", "fetch", "list_indexes"]
    assert tools[0].description.endswith("What is there to be found: fruit")
    assert instructions.startswith(f"Documents of {index_name}, to be searched. They hold: fruit")
    assert tools[0].input_schema["properties"]["mode"]["enum"] == ["text"]
    assert [hit["id"] for hit in found["results"]] == ["b#0"]
    assert found["warnings"] == ["k was taken for 1, the most that this server finds at once"]
    assert "can be searched with mode text, not with vector" in refused


# ---- an index that is not there, and a server that goes --------------------------------------------------------


def test_a_missing_index_is_told_and_found_as_soon_as_it_is_there(redis_url, index_name):
    server = create_server(index_name, url=redis_url)

    async def conversation(client):
        listed = [tool.name for tool in (await client.list_tools()).tools]
        refused = await refusal(client, "search", query="pears")
        await asyncio.to_thread(fill, redis_url, index_name, letters("bolt", 1))
        first = await ask(client, "search", query="pears")
        with Index(index_name, url=redis_url, create=False) as index:
            index.drop()
        gone = await refusal(client, "fetch", id="bolt/letter 0")
        again = {"embedder": HashingEmbedder(32), "fields": {}}
        await asyncio.to_thread(fill, redis_url, index_name, letters("anew", 1), **again)
        return listed, refused, first, gone, await ask(client, "search", query="pears")

    listed, refused, first, gone, second = talk(server, conversation)
    assert listed == ["search", "fetch", "classify", "list_indexes"]
    assert f"`ragknn index {index_name} FOLDER` makes it" in refused
    assert "mcp-letters" not in refused  # nor any other index that the server has
    assert [hit["id"] for hit in first["results"]] == ["bolt/letter 0#0"]
    assert "There is no index" in gone
    assert [hit["id"] for hit in second["results"]] == ["anew/letter 0#0"]


@pytest.mark.usefixtures("no_pauses")
def test_a_redis_that_was_started_again_answers_the_next_call(tmp_path):
    kept = ("--appendonly", "yes", "--appendfsync", "always")

    async def conversation(client):
        with private_server(tmp_path, *kept) as url:
            await asyncio.to_thread(fill, url, "letters", letters("bolt"))
            before = await ask(client, "search", query="pears", k=2)
        refused = await refusal(client, "search", query="pears", k=2)
        problem = (await ask(client, "list_indexes"))["indexes"][0]["problem"]
        with private_server(tmp_path, *kept):
            after = await ask(client, "search", query="pears", k=2)
        return before, refused, problem, after

    server = create_server("letters", url=f"unix://{tmp_path / 's.sock'}")
    before, refused, problem, after = talk(server, conversation)
    assert before == after
    assert refused == problem
    assert (
        "The Redis of index letters does not answer. Tell the user; `ragknn doctor` looks. Then call again" in refused
    )


def test_an_index_of_another_model_is_told_and_nothing_of_the_details(url, caplog):
    server = create_server("mcp-letters", url=url, embedder=HashingEmbedder(32))

    async def conversation(client):
        indexes = await ask(client, "list_indexes")
        return indexes["indexes"][0]["problem"], await refusal(client, "search", query="pears")

    problem, refused = talk(server, conversation)
    assert problem == refused
    assert refused.startswith("Index mcp-letters cannot be used. Tell the user; the log of the server says why")
    assert "expected 'ragknn/hashing-32', found 'ragknn/hashing-64'" in caplog.text


def test_one_server_answers_under_several_event_loops(server):
    async def conversation(client):
        return await ask(client, "search", query="letter 3 of acme", k=1)

    assert talk(server, conversation) == talk(server, conversation)


def test_an_embedded_redis_that_was_killed_is_started_again_within_the_next_call(tmp_path, monkeypatch):
    monkeypatch.setenv("RAGKNN_DATA", str(tmp_path / "data"))

    async def conversation(client):
        before = await ask(client, "search", query="pears", k=2)
        os.kill(server_status(load_settings()).pid, signal.SIGKILL)
        after = await asyncio.gather(*(ask(client, "search", query="pears", k=2) for _ in range(3)))
        return before, after

    try:
        fill(None, "letters", letters("bolt"))
        before, after = talk(create_server("letters"), conversation)
    finally:
        stop_server(load_settings(), force=True)
    assert after == [before] * 3


def test_an_answer_that_may_be_cut_short_says_so(url, monkeypatch):
    monkeypatch.setenv("RAGKNN_PROTOCOL", "2")  # by which the server cannot say, so that a late answer counts as one
    monkeypatch.setenv("RAGKNN_TIMEOUT", "0.001")

    async def conversation(client):
        found = [await ask(client, "search", query="pears", k=50, mode=mode) for mode in ("vector", "text")]
        return found, (await ask(client, "list_indexes"))["indexes"][0]["problem"]

    with proxy_before(url) as proxy:

        def late() -> bool:
            until = time.monotonic() + 0.002
            while time.monotonic() < until:
                pass
            proxy.at(DOWN, 1, late)
            return True

        late()
        found, problem = talk(create_server("mcp-letters", url=proxy.url), conversation)
    assert [(len(answer["results"]), answer["complete"]) for answer in found] == [(12, False)] * 2
    assert all("the server may have run out of time" in answer["warnings"][0] for answer in found)
    assert problem.startswith("Index mcp-letters cannot be used.")


# ---- many calls, and calls that are given up -------------------------------------------------------------------


class Waiting(HashingEmbedder):
    """Waits within each query until it is let go on."""

    def __init__(self):
        super().__init__(64)
        self.entered, self.go_on = threading.Event(), threading.Event()

    def embed_queries(self, texts):
        self.entered.set()
        assert self.go_on.wait(30)
        return super().embed_queries(texts)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_call_that_is_cancelled_leaves_the_server_as_it_was(url, mode):
    embedder = Waiting()

    async def conversation(client):
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: client.call_tool("search", {"query": "pears"}))
            assert await asyncio.to_thread(embedder.entered.wait, 30)
            group.cancel_scope.cancel()
        embedder.go_on.set()
        return await ask(client, "search", query="letter 3 of bolt", k=1)

    answer = talk(create_server("mcp-letters", url=url, embedder=embedder), conversation, mode=mode)
    assert [hit["id"] for hit in answer["results"]] == ["bolt/letter 3#0"]


def test_many_calls_at_once_get_each_their_own_answer(server):
    async def conversation(client: Client):
        ids = [f"{tenant}/letter {n}" for tenant in (SECRET, "bolt") for n in range(6)] * 3
        return ids, await asyncio.gather(*(ask(client, "fetch", id=one) for one in ids))

    ids, answers = talk(server, conversation)
    assert [answer["id"] for answer in answers] == ids
    assert all(
        answer["title"] == f"Letter {one[-1]} of {one.partition('/')[0]}"
        for one, answer in zip(ids, answers, strict=True)
    )


# ---- what no model should send ---------------------------------------------------------------------------------

DEEP = json.loads("[" * 200 + "]" * 200)
HOSTILE = {
    "no query": ("search", {}, "the argument 'query' is missing. The arguments are: query, k, mode, filter, index."),
    "no words": ("search", {"query": ""}, "should have at least 1 character"),
    "spaces": ("search", {"query": "  "}, "expected"),
    "huge query": ("search", {"query": "x" * 1_000_000}, "should have at most 10000 characters"),
    "a number": ("search", {"query": 7}, "should be a valid string"),
    "k of 0": ("search", {"query": "x", "k": 0}, "greater than or equal to 1"),
    "k in words": ("search", {"query": "x", "k": "many"}, "the argument 'k'"),
    "k without end": ("search", {"query": "x", "k": float("inf")}, "the argument 'k'"),
    "another mode": ("search", {"query": "x", "mode": "magic"}, "'vector', 'text' or 'hybrid'"),
    "a misspelled filter": ("search", {"query": "x", "filters": {"year": 1}}, "there is no argument 'filters'"),
    "a filter in words": ("search", {"query": "x", "filter": "year > 2000"}, "the argument 'filter'"),
    "a list": ("search", {"query": "x", "filter": [1]}, "the argument 'filter'"),
    "an unknown field": (
        "search",
        {"query": "x", "filter": {"nope": 1}},
        "got 'nope': there are label, document_id and ",
    ),
    "an unknown operator": ("search", {"query": "x", "filter": {"year": {"$near": 1}}}, "$near"),
    "a wrong type": ("search", {"query": "x", "filter": {"year": "soon"}}, "expected"),
    "nothing to be in": ("search", {"query": "x", "filter": {"tenant": {"$in": []}}}, "expected"),
    "a deep filter": ("search", {"query": "x", "filter": {"$and": DEEP}}, "expected"),
    "a huge filter": ("search", {"query": "x", "filter": {"year": {"$in": [*range(9_999)]}}}, "at most 20,000"),
    "syntax in a value": ("search", {"query": "x", "filter": {"nope}|@x:{": "*"}}, "expected a field"),
    "no id": ("fetch", {"id": ""}, "should have at least 1 character"),
    "an unknown id": ("fetch", {"id": "{x}:*"}, "there is no document or passage of this id in index mcp-letters"),
    "a key": ("fetch", {"id": "ragknn:mcp-letters:manifest"}, "there is no document or passage"),
    "a negative start": ("fetch", {"id": "bolt/letter 1", "start": -1}, "greater than or equal to 0"),
    "arguments of none": ("list_indexes", {"url": "redis://elsewhere"}, "there is no argument 'url'"),
}


def test_what_makes_no_sense_is_an_error_of_the_tool_in_plain_words(server):
    async def conversation(client):
        refused = {name: await refusal(client, tool, **args) for name, (tool, args, _) in HOSTILE.items()}
        with pytest.raises(MCPError, match="there is no tool 'drop'; there are search, fetch, classify, list_indexes"):
            await client.call_tool("drop", {"name": "mcp-letters"})
        return refused, await ask(client, "search", query="pears", k=10**30)

    refused, answer = talk(server, conversation)
    assert {name: text for name, text in refused.items() if HOSTILE[name][2] not in text} == {}
    assert all(len(text) < 1_000 and "\n" not in text and "pydantic" not in text for text in refused.values())
    assert len(answer["results"]) == 12
    assert answer["warnings"] == ["k was taken for 50, the most that this server finds at once"]


def test_odd_ids_can_be_fetched(redis_url, index_name):
    ids = ["{a}", "a{b", "a}b", "%7B", "a:b:0", 'quote "x"', "*", "Ünï/ø#1", "line\nbreak", "a|b"]
    fill(redis_url, index_name, [Document(one, f"text {n}") for n, one in enumerate(ids)])

    async def conversation(client):
        return [await ask(client, "fetch", id=one) for one in [*ids, *(f"{one}#0" for one in ids)]]

    answers = talk(create_server(index_name, url=redis_url), conversation)
    assert [answer["text"] for answer in answers] == [f"text {n}" for n in range(len(ids))] * 2


# ---- a filter that the server holds ----------------------------------------------------------------------------

THEIRS = f"{SECRET}/letter 1"
AROUND = [
    {"tenant": SECRET},
    {"$or": [{"tenant": SECRET}, {"tenant": "bolt"}]},
    {"tenant": {"$ne": "bolt"}},
    {"$not": {"tenant": "bolt"}},
    {"document_id": THEIRS},
    {"document_id": {"$prefix": SECRET}},
    {"label": f"{SECRET}-odd"},
    {"source": {"$in": [f"{SECRET}.txt"]}},
    {"tenant": None},
    {"$and": [{"tenant": SECRET}]},
]


def test_a_tenant_of_the_server_holds_in_every_tool_whatever_the_model_asks(url):
    async def conversation(client):
        tools = [tool.model_dump_json() for tool in (await client.list_tools()).tools]
        answers = [await ask(client, "list_indexes"), await ask(client, "classify", text=f"{SECRET} letter")]
        for mode in ("vector", "text", "hybrid"):
            answers.append(await ask(client, "search", query="letters of pears", k=50, mode=mode))
            for one in AROUND:
                found = await ask(client, "search", query="pears", k=50, mode=mode, filter=one)
                answers.append(found["results"])
        refused = [await refusal(client, "classify", text="pears", filter=one) for one in AROUND[4:8]]
        refused += [await refusal(client, "fetch", id=one) for one in (THEIRS, f"{THEIRS}#0")]
        refused += [await refusal(client, "search", query="x", filter={"tenant": {"$in": []}})]
        return tools, answers, refused

    for where in (OWN, {"tenant": {"$in": ["bolt"]}}, {"$and": [OWN, {"year": {"$gt": 0}}]}):
        tools, answers, refused = talk(create_server("mcp-letters", url=url, where=where), conversation)
        assert SECRET not in json.dumps([tools, answers])
        assert not any("bolt" in text for text in refused[4:])
        assert answers[0]["indexes"][0]["documents"] == 6
        assert len(answers[2]["results"]) == 6


def _fields():
    tenants = st.one_of(one_of([SECRET, "bolt", "nobody"]), st.none())
    names = [f"{tenant}/letter {n}" for tenant in (SECRET, "bolt") for n in (0, 3)]
    return st.one_of(
        st.fixed_dictionaries({"tenant": st.one_of(tenants, conditions(comparisons(one_of([SECRET, "bolt"]))))}),
        st.fixed_dictionaries(
            {"document_id": st.one_of(one_of(names), st.fixed_dictionaries({"$prefix": one_of(names)}))}
        ),
        st.fixed_dictionaries({"label": one_of([f"{SECRET}-odd", "bolt-even", None])}),
        st.fixed_dictionaries({"year": conditions(comparisons(st.integers(1999, 2006), "$gt", "$lte"))}),
    )


@settings(max_examples=12)
@given(filters=st.lists(wheres(_fields()), min_size=8, max_size=8))
def test_whatever_filter_is_asked_for_finds_what_it_means_among_the_tenants_own(url, filters):
    own, meaning = letters("bolt"), Meaning(FIELDS)

    async def conversation(client):
        asked = [ask(client, "search", query="letters of pears", k=50, filter=one) for one in filters]
        return [{hit["document_id"] for hit in answer["results"]} for answer in await asyncio.gather(*asked)]

    found = talk(create_server("mcp-letters", url=url, where=OWN), conversation)
    assert found == [{document.id for document in own if meaning.matches(document, one)} for one in filters]


def test_an_index_that_requires_a_filter_is_answered_from_with_one_of_the_server_alone(redis_url, index_name):
    fill(redis_url, index_name, [*letters(SECRET), *letters("bolt")], required_filter="tenant")

    async def choosing(client):
        refused = [await refusal(client, "search", query="pears", filter={"tenant": SECRET})]
        refused.append(await refusal(client, "fetch", id=THEIRS))
        refused.append((await ask(client, "list_indexes"))["indexes"][0]["problem"])
        return refused, [tool.model_dump_json() for tool in (await client.list_tools()).tools]

    for where in (None, {"year": 2001}, {"nothing": 1}):
        refused, tools = talk(create_server(index_name, url=redis_url, where=where), choosing)
        assert all("start it with another --where" in text for text in refused)
        assert SECRET not in json.dumps([refused, tools])

    async def fixed(client):
        return await ask(client, "search", query="pears", k=50, filter={"year": {"$lt": 2003}})

    found = talk(create_server(index_name, url=redis_url, where=OWN), fixed)
    assert sorted(hit["document_id"] for hit in found["results"]) == [f"bolt/letter {n}" for n in range(3)]


# ---- how it is made --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "options", "error", "message"),
    [
        ([], {}, ValueError, "expected names of indexes"),
        (["a", "a"], {}, ValueError, "each once"),
        ("no name", {}, ValueError, "expected an index name"),
        ("a", {"most": 0}, ValueError, "at least 1"),
        ("a", {"most": "9"}, TypeError, "as an integer"),
        ("a", {"where": "tenant"}, TypeError, "a mapping"),
        ("a", {"embedder": "hash"}, TypeError, "embed"),
    ],
)
def test_a_server_that_makes_no_sense_is_refused_when_it_is_made(names, options, error, message):
    with pytest.raises(error, match=message):
        create_server(names, **options)


def test_fields_and_embedder_of_these_tests_are_those_of_the_index(url):
    with Index("mcp-letters", url=url, create=False) as index:
        assert (dict(index.schema.fields), index.embedder.name) == (FIELDS, EMBEDDER.name)
