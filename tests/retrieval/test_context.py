import asyncio
import dataclasses
import re
from functools import partial
from itertools import pairwise

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from ragknn import (
    AsyncIndex,
    CommandRefused,
    Document,
    HashingEmbedder,
    Index,
    Indexer,
    Neighbor,
    Passage,
    Retrieval,
    Retriever,
    Splitter,
)
from ragknn._protocol.keys import Keys
from ragknn._protocol.place import Place
from ragknn._protocol.reading import passages_around
from ragknn._protocol.schema import Schema
from ragknn._protocol.watch import Watch
from ragknn.retrieval.context import Context, Source, abuild_context, build_context, numbered
from ragknn.server._connection import run

WORDS = re.compile(r"\w+")
TEXT = (
    "The red apple is on the table. A green pear is on the chair.\n\n"
    "Fast cars drive on the road. Slow trains stop at the station.\n\n"
    "The password is reset by mail. It is valid for one day. Nobody else can read it."
)
SENTENCES = Splitter(size=8, overlap=0, unit="words")
OVERLAPPING = Splitter(size=9, overlap=3, unit="words")


def count_words(text):
    return len(WORDS.findall(text))


@pytest.fixture
def build(faces):
    """`build_context` of either world, called alike in both."""
    return partial(faces.call, build_context, abuild_context)


@pytest.fixture
def open_index(faces, redis_url, index_name, embedder):
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        yield index


EMBEDDER = HashingEmbedder(8)


def count_tokens(text):
    return len(EMBEDDER.token_spans(text))


def assemble(neighbors, **options):
    return build_context(Retrieval(neighbors, query="a question"), **{"tokens": count_tokens, **options})


def passages_of(text=TEXT, splitter=SENTENCES, document_id="doc", **properties):
    return splitter.split(Document(document_id, text, **properties))


def hits_of(passages):
    return [Neighbor(passage, 0.1 * rank) for rank, passage in enumerate(passages)]


def spans(context):
    return [(source.number, source.document_id, source.start, source.end) for source in context.sources]


# ---- what must hold of every context ---------------------------------------------------------------------------


def excerpt_of(text, passages):
    """Return what an excerpt of these passages must read: what none of them covers is whitespace, and shown short."""
    covered = {position for passage in passages for position in range(passage.start, passage.end)}
    start, end = min(covered), max(covered) + 1
    parts = re.findall(r"c+|g+", "".join("c" if position in covered else "g" for position in range(start, end)))
    result = ""
    for part in parts:
        piece = text[start : start + len(part)]
        if part[0] == "g":
            assert piece.isspace()
            piece = " " if len(piece) == 1 else "\n\n"
        result += piece
        start += len(part)
    return result


def check(context, documents, template=numbered):
    """Compare the context with the documents, whose passages are known, by what the docstrings promise."""
    by_id = {passage.id: passage for _, passages in documents.values() for passage in passages}
    assert context.text == "\n\n".join(template(source) for source in context.sources)
    assert [source.number for source in context.sources] == list(range(1, len(context.sources) + 1))
    seen = set()
    for source in context.sources:
        text, _ = documents[source.document_id]
        positions = {(source.document_id, position) for position in range(source.start, source.end)}
        assert not seen & positions
        seen |= positions
        cut = set(source.passage_ids) & set(context.left_out)
        whole = [by_id[passage_id] for passage_id in source.passage_ids if passage_id not in cut]
        if not cut:
            assert source.text == excerpt_of(text, whole)
            assert (source.start, source.end) == (min(p.start for p in whole), max(p.end for p in whole))
        assert source.text.split() == text[source.start : source.end].split()


LETTERS = st.text("ab. \n", min_size=0, max_size=80)
PROSE = st.lists(
    st.sampled_from(["One two. ", "Red?", " cat", "\n\n", " ", "\n", "a dog! ", "名前。", "x"]), max_size=40
)


@st.composite
def retrievals(draw):
    """Documents by id with their passages, and neighbors that are some of these in any order."""
    documents = {}
    for document_id in draw(st.lists(st.sampled_from(["a", "b#1", "c"]), min_size=1, unique=True)):
        text = draw(LETTERS | PROSE.map("".join))
        size = draw(st.integers(1, 12))
        splitter = Splitter(size, draw(st.integers(0, size - 1)), draw(st.sampled_from(["words", "characters"])))
        documents[document_id] = (text, passages_of(text, splitter, document_id))
    everything = [passage for _, passages in documents.values() for passage in passages]
    chosen = draw(st.permutations(everything))[: draw(st.integers(0, len(everything)))] if everything else []
    return documents, hits_of(chosen)


@st.composite
def retrievals_with_a_gap(draw):
    """Add to retrievals a document of which the first and the last passage were found, and one between was not."""
    documents, hits = draw(retrievals())
    text = " ".join(
        draw(st.lists(st.sampled_from(["One", "two.", "Red?", "a\n\ndog!", "名前。"]), min_size=12, max_size=30))
    )
    size = draw(st.integers(1, 4))
    found = passages_of(text, Splitter(size, draw(st.integers(0, size // 4)), "words"), "gap")
    missing = draw(st.integers(1, len(found) - 2))
    others = draw(st.lists(st.sampled_from(found[:missing] + found[missing + 1 :]), unique_by=lambda each: each.id))
    chosen = {each.id: each for each in [found[0], found[-1], *others, *(hit.passage for hit in hits)]}
    return {**documents, "gap": (text, found)}, hits_of(draw(st.permutations(list(chosen.values()))))


@given(retrievals(), st.sampled_from(["rank", "document"]))
def test_an_excerpt_is_the_text_of_its_document_and_no_character_comes_twice(given_retrieval, order):
    documents, hits = given_retrieval
    context = assemble(hits, order=order)
    check(context, documents)
    assert sorted(i for source in context.sources for i in source.passage_ids) == sorted(n.passage.id for n in hits)
    assert context.left_out == ()
    ranks = {hit.passage.id: rank for rank, hit in enumerate(hits)}
    bests = [min(ranks[passage_id] for passage_id in source.passage_ids) for source in context.sources]
    if order == "rank":
        assert bests == sorted(bests)
    else:
        first = {}
        for hit in hits:
            first.setdefault(hit.passage.document_id, len(first))
        places = [(first[source.document_id], source.start) for source in context.sources]
        assert places == sorted(places)
    assert [source.distance for source in context.sources] == [hits[best].distance for best in bests]


@given(retrievals_with_a_gap())
def test_passages_in_a_row_are_never_apart(given_retrieval):
    documents, hits = given_retrieval
    context = assemble(hits, order="document")
    assert sum(source.document_id == "gap" for source in context.sources) >= 2
    for one, following in pairwise(context.sources):
        if one.document_id == following.document_id:
            last, first = (int(source.passage_ids[at].rpartition("#")[2]) for source, at in ((one, -1), (following, 0)))
            assert first > last + 1
            assert following.start > one.end
            # A passage that lies wholly between them has text.
            between = documents[one.document_id][1][last + 1 : first]
            if any(one.end <= passage.start and passage.end <= following.start for passage in between):
                assert documents[one.document_id][0][one.end : following.start].strip()


@given(
    retrievals(),
    st.integers(1, 60),
    st.sampled_from([count_words, len, lambda text: len(text.split()), lambda text: 3 + len(text) // 2]),
    st.sampled_from([numbered, lambda source: source.text, lambda source: f"<{source.end}>{source.text}</>"]),
    st.sampled_from(["rank", "document"]),
)
@settings(max_examples=300)
def test_the_budget_is_never_exceeded_and_what_is_left_out_is_told(given_retrieval, budget, tokens, template, order):
    documents, hits = given_retrieval
    context = assemble(hits, budget=budget, tokens=tokens, template=template, order=order)
    check(context, documents, template)
    assert context.tokens == (tokens(context.text) if context.sources else 0)
    assert context.tokens <= budget
    ids = [hit.passage.id for hit in hits]
    assert context.left_out == tuple(ids[len(ids) - len(context.left_out) :])
    held = {passage_id for source in context.sources for passage_id in source.passage_ids}
    # All before, and of the first that does not fit at most its first sentences.
    taken = ids[: len(ids) - len(context.left_out)]
    assert set(taken) <= held <= set(taken) | set(context.left_out[:1])


@given(retrievals(), st.integers(1, 60))
def test_the_next_passage_would_not_have_fitted(given_retrieval, budget):
    _, hits = given_retrieval
    # A template of constant size and a count that only grows with the text, so that bisection is exact.
    options = {"tokens": lambda text: len("".join(text.split())), "template": lambda source: source.text}
    context = assemble(hits, budget=budget, **options)
    if context.left_out:
        assert assemble(hits[: len(hits) - len(context.left_out) + 1], **options).tokens > budget
    else:
        assert context == assemble(hits, **options)


# ---- excerpts --------------------------------------------------------------------------------------------------


def test_neighboring_passages_become_one_excerpt():
    passages = passages_of(label="fruit", metadata={"page": 3})
    assert [passage.text for passage in passages[:3]] == [
        "The red apple is on the table.",
        "A green pear is on the chair.",
        "Fast cars drive on the road.",
    ]
    context = assemble(hits_of([passages[2], passages[5], passages[1]]))
    assert context.sources == (
        Source(
            number=1,
            document_id="doc",
            start=31,
            end=90,
            text="A green pear is on the chair.\n\nFast cars drive on the road.",
            label="fruit",
            metadata={"page": 3},
            passage_ids=("doc#1", "doc#2"),
            distance=0.0,
        ),
        Source(2, "doc", 156, 180, "It is valid for one day.", "fruit", {"page": 3}, ("doc#5",), 0.1),
    )
    assert context.text == (
        "[1] doc\nA green pear is on the chair.\n\nFast cars drive on the road.\n\n[2] doc\nIt is valid for one day."
    )
    assert (context.tokens, context.left_out, context.warnings) == (count_words(context.text), (), ())
    assert TEXT[31:90] == context.sources[0].text


def test_overlapping_passages_repeat_nothing():
    passages = passages_of(splitter=OVERLAPPING)
    assert any(one.end > following.start for one, following in pairwise(passages))
    [source] = assemble(hits_of(passages[::-1])).sources
    assert (source.start, source.end, source.text.split()) == (0, len(TEXT), TEXT.split())
    assert source.passage_ids == tuple(passage.id for passage in passages)


def test_passages_with_a_gap_stay_two_excerpts():
    passages = passages_of()
    assert spans(assemble(hits_of([passages[2], passages[0]]))) == [(1, "doc", 62, 90), (2, "doc", 0, 30)]
    in_order = assemble(hits_of([passages[2], passages[0]]), order="document")
    assert spans(in_order) == [(1, "doc", 0, 30), (2, "doc", 62, 90)]


def test_passages_of_two_documents_are_never_joined():
    one, other = passages_of(document_id="one"), passages_of(document_id="other")
    context = assemble(hits_of([one[0], other[1], one[1]]))
    assert spans(context) == [(1, "one", 0, 60), (2, "other", 31, 60)]


def test_the_document_with_the_best_passage_comes_first_in_the_order_of_documents():
    one, other = passages_of(document_id="one"), passages_of(document_id="other")
    context = assemble(hits_of([other[4], one[0], other[0]]), order="document")
    assert [(source.document_id, source.start) for source in context.sources] == [
        ("other", 0),
        ("other", other[4].start),
        ("one", 0),
    ]


def test_a_passage_that_was_found_twice_counts_once():
    [hit] = hits_of(passages_of()[:1])
    assert assemble([hit, hit]) == assemble([hit])


def test_two_states_of_a_document_are_not_joined():
    old = Passage("doc#0", "doc", "The red apple is here.", 0, 22)
    new = Passage("doc#1", "doc", "was there. A pear.", 14, 32)
    assert spans(assemble(hits_of([old, new]))) == [(1, "doc", 0, 22), (2, "doc", 14, 32)]


def test_a_score_is_that_of_the_best_passage():
    passages = passages_of()
    hits = [Neighbor(passages[1], 0.4, 7.5), Neighbor(passages[0], 0.2, 3.5)]
    [source] = assemble(hits).sources
    assert (source.distance, source.score) == (0.4, 7.5)


def test_nothing_found_is_an_empty_context():
    assert assemble([]) == assemble([], window=2, budget=3) == Context("", (), 0)


def test_an_incomplete_retrieval_is_told():
    retrieval = Retrieval(hits_of(passages_of()[:1]), complete=False, warnings=["the server ran out of time"])
    assert build_context(retrieval).warnings == ("the server ran out of time",)


def test_any_sequence_of_neighbors_will_do():
    hits = hits_of(passages_of())
    assert build_context(tuple(hits[:2]), tokens=count_tokens) == assemble(hits[:2])


# ---- templates -------------------------------------------------------------------------------------------------


def test_a_template_writes_each_source():
    hits = hits_of([passages_of(metadata={"url": "https://a.example"})[0]])
    context = assemble(hits, template=lambda source: f"<doc n={source.number} url={source.metadata['url']!r}>")
    assert context.text == str(context) == "<doc n=1 url='https://a.example'>"


def test_a_template_that_makes_no_text_is_refused():
    with pytest.raises(TypeError, match="expected template to return a str, got None of type NoneType"):
        assemble(hits_of(passages_of()), template=lambda source: None)


# ---- the budget ------------------------------------------------------------------------------------------------


def test_a_passage_that_does_not_fit_is_cut_at_a_sentence():
    passages = passages_of(splitter=Splitter(size=30, overlap=0, unit="words"))
    assert len(passages) == 2
    hits = hits_of(passages[::-1])
    assert passages[1].text.startswith("The password is reset by mail. It is valid for one day.")
    context = assemble(hits, budget=15)
    assert context.text == "[1] doc\nThe password is reset by mail. It is valid for one day."
    assert (context.tokens, context.left_out) == (14, ("doc#1", "doc#0"))
    assert context.sources[0].passage_ids == ("doc#1",)
    assert TEXT[context.sources[0].start : context.sources[0].end] == context.sources[0].text
    assert assemble(hits, budget=13).text == "[1] doc\nThe password is reset by mail."
    assert assemble(hits, budget=7) == Context("", (), 0, ("doc#1", "doc#0"))


def test_a_cut_passage_is_not_joined_with_what_follows_it():
    passages = passages_of(splitter=Splitter(size=14, overlap=0, unit="words"))
    assert [count_words(passage.text) for passage in passages] == [14, 12, 12, 5]
    context = assemble(hits_of([passages[2], passages[1]]), budget=14 + 9)
    assert context.left_out == ("doc#1",)
    assert [source.passage_ids for source in context.sources] == [("doc#2",), ("doc#1",)]
    assert context.sources[1].text == "Fast cars drive on the road."


def test_tokens_are_counted_by_the_embedder_unless_something_else_counts():
    hits = hits_of(passages_of()[:2])
    assert assemble(hits).tokens == count_words(assemble(hits).text)
    assert assemble(hits, tokens=len).tokens == len(assemble(hits).text)


def test_most_contexts_are_counted_once():
    counted = []
    assemble(hits_of(passages_of()), budget=1000, tokens=lambda text: counted.append(text) or len(text.split()))
    assert len(counted) == 1


class Silent:
    """An embedder that does not show its tokens."""

    name, dim, max_tokens = "silent", 8, None
    embed_documents = embed_queries = EMBEDDER.embed_documents


def test_an_embedder_that_does_not_count_needs_a_function_for_a_budget(redis_url, index_name):
    index = Index(index_name, url=redis_url, embedder=Silent())
    hits = hits_of(passages_of())
    with pytest.raises(
        ValueError, match=r"expected tokens, a function that counts .*, got none, and silent counts none"
    ):
        build_context(hits, index, budget=10)
    assert build_context(hits, index).tokens is None
    assert build_context(hits, index, budget=20, tokens=count_words).tokens == 16
    index.close()


def test_without_an_index_there_is_nothing_to_count_by_and_no_window():
    hits = hits_of(passages_of())
    assert build_context(hits).tokens is None
    assert build_context(hits).text == assemble(hits).text
    with pytest.raises(ValueError, match=r"expected tokens, a function that counts .*, got none, and no index"):
        build_context(hits, budget=10)
    with pytest.raises(ValueError, match="expected the index to read a window of 1 passages from, got none"):
        build_context(hits, window=1)


def test_a_tokenizer_that_returns_a_list_is_refused_with_what_to_write():
    with pytest.raises(TypeError, match=r"got a list: .*lambda text: len\(tokenizer.encode\(text\)\)"):
        assemble(hits_of(passages_of()), budget=10, tokens=str.split)


# ---- arguments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": -1}, "expected window >= 0, got -1"),
        ({"budget": 0}, "expected budget >= 1 tokens, or None for no limit, got 0"),
        ({"order": "distance"}, "expected order to be 'rank' or 'document', got 'distance'"),
    ],
)
def test_values_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        assemble([], **options)


def test_several_retrievals_are_refused():
    with pytest.raises(
        TypeError, match="expected one retrieval, a sequence of neighbors, got a Retrieval in it: build"
    ):
        build_context([Retrieval(hits_of(passages_of()))])


def test_ready_vectors_have_no_context(faces, build, redis_url, index_name):
    with faces.index(index_name, url=redis_url, dim=2) as index:
        faces.indexer(index).add_vectors(["a"], [[1, 0]])
        [retrieval] = faces.retriever(index).kneighbors([[1, 0]], k=1)
        with pytest.raises(ValueError, match="expected passages with text, got 'a#0' without: an index of ready vect"):
            build(retrieval, index, window=1, budget=5)


# ---- on Redis --------------------------------------------------------------------------------------------------

IDS = ["plain", "with space", "br{ace}:#7", "名前"]


@pytest.fixture
def filled(faces, open_index):
    indexer = faces.indexer(open_index, splitter=OVERLAPPING)
    assert indexer.add([Document(document_id, f"{document_id} has this. {TEXT}") for document_id in IDS]).added == 4
    return open_index


def split_as_stored(document_id):
    text = f"{document_id} has this. {TEXT}"
    return text, OVERLAPPING.split(Document(document_id, text))


@pytest.mark.parametrize("document_id", IDS)
@pytest.mark.parametrize("window", [1, 2, 100])
def test_a_window_adds_what_stands_around(faces, build, filled, document_id, window):
    _, passages = split_as_stored(document_id)
    found = {n.passage.id: n for n in faces.retriever(filled).retrieve("password apple", k=100)}
    for number in (0, 3, len(passages) - 1):
        context = build([found[f"{document_id}#{number}"]], filled, window=window)
        expected = passages[max(0, number - window) : number + window + 1]
        [source] = context.sources
        assert source.passage_ids == tuple(passage.id for passage in expected)
        assert (source.start, source.end) == (expected[0].start, expected[-1].end)
        assert source.text == excerpt_of(split_as_stored(document_id)[0], expected)
        assert context.warnings == ()


@pytest.mark.parametrize("budget", [None, 10, 25, 40, 60, 100, 1000])
@pytest.mark.parametrize("window", [0, 1, 3])
def test_a_context_of_a_retrieval(faces, build, filled, window, budget):
    documents = {document_id: split_as_stored(document_id) for document_id in IDS}
    retrieval = faces.retriever(filled).retrieve("How is the password reset?", k=6)
    context = build(retrieval, filled, window=window, budget=budget)
    check(context, documents)
    assert context.tokens == count_words(context.text)
    if budget is None:
        ids = {passage_id for source in context.sources for passage_id in source.passage_ids}
        wanted = set()
        for passage in retrieval.passages:
            number = int(passage.id.rpartition("#")[2])
            own = documents[passage.document_id][1]
            wanted |= {one.id for one in own[max(0, number - window) : number + window + 1]}
        assert ids == wanted
    else:
        assert context.tokens <= budget


def test_a_window_is_taken_after_its_passage_and_before_the_next(faces, build, filled):
    found = {n.passage.id: n for n in faces.retriever(filled).retrieve("password apple", k=100)}
    hits = [found["plain#3"], found["名前#3"]]
    context = build(hits, filled, window=2, budget=18)
    [source] = context.sources
    assert "plain#3" in source.passage_ids
    order = ["plain#3", "plain#2", "plain#4", "plain#1", "plain#5", *(f"名前#{n}" for n in (3, 2, 4, 1, 5))]
    assert set(source.passage_ids) == set(order[: len(source.passage_ids)])
    assert context.left_out == tuple(order[len(source.passage_ids) :])


def test_a_window_is_two_round_trips_and_no_window_none(build, filled, monkeypatch):
    retrieval = Retrieval(hits_of(split_as_stored("plain")[1] + split_as_stored("名前")[1]))
    trips = []
    make = filled.client.pipeline
    monkeypatch.setattr(filled.client, "pipeline", lambda *args, **options: trips.append(1) or make(*args, **options))
    build(retrieval, filled, window=2)
    assert len(trips) == 2
    build(retrieval, filled)
    assert len(trips) == 2


def test_a_window_reads_no_more_than_there_is(filled, client):
    _, passages = split_as_stored("plain")
    found = run(client, passages_around(filled._place(), {"plain": [1]}, 10**9))
    assert list(found) == [("plain", passage.number) for passage in passages]


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("decode_responses", [False, True])
def test_a_window_is_read_over_any_client(redis_url, filled, protocol, decode_responses):
    with redis.Redis.from_url(redis_url, protocol=protocol, decode_responses=decode_responses) as client:
        place = filled._place()
        found = run(client, passages_around(place, {"plain": [0, 3, 99], "gone": [0]}, 1))
        assert run(client, passages_around(place, {}, 1)) == {}
        assert run(client, passages_around(place, {"gone": [0]}, 1)) == {}
    _, passages = split_as_stored("plain")
    assert found == {("plain", number): passages[number] for number in (0, 1, 2, 3, 4)}


def test_a_refused_read_is_told_in_the_words_of_the_server():
    flow = passages_around(Place(Keys("name"), Schema("e", 2), Watch(), 1.0), {"doc": [1]}, 1)
    assert next(flow) == [("HGET", "ragknn:name:p:{doc}:0", "passages")]
    assert flow.send([b"2"]) == [
        ("MULTI",),
        ("HMGET", "ragknn:name:p:{doc}:0", "id", "text", "start", "end"),
        ("HMGET", "ragknn:name:p:{doc}:1", "id", "text", "start", "end"),
        ("EXEC",),
    ]
    refusal = redis.ResponseError("NOPERM this user has no permissions to run the 'hmget' command")
    with pytest.raises(CommandRefused, match="no permissions to run the 'hmget' command; give the user"):
        flow.send([b"OK", refusal, refusal, redis.ResponseError("EXECABORT Transaction discarded")])


def test_a_document_that_was_replaced_is_shown_as_it_was_found(faces, build, filled):
    retrieval = faces.retriever(filled).retrieve("password apple", k=100)
    hits = [neighbor for neighbor in retrieval if neighbor.passage.id in ("plain#3", "名前#3")]
    faces.indexer(filled, splitter=OVERLAPPING).add([Document("plain", f"Something new here. {TEXT}")])
    context = build(hits, filled, window=1, order="document")
    by_document = {source.document_id: source for source in context.sources}
    assert by_document["plain"].passage_ids == ("plain#3",)
    assert by_document["名前"].passage_ids == ("名前#2", "名前#3", "名前#4")
    assert context.warnings == (
        "document 'plain' was changed or removed after it was retrieved: its passages have no window",
    )


def test_a_document_that_is_gone_is_shown_as_it_was_found(faces, build, filled):
    [hit] = [n for n in faces.retriever(filled).retrieve("password", k=100) if n.passage.id == "plain#2"]
    faces.indexer(filled).delete(["plain"])
    context = build([hit], filled, window=1)
    assert [source.passage_ids for source in context.sources] == [("plain#2",)]
    assert len(context.warnings) == 1


def test_a_window_ends_where_a_passage_is_missing(faces, build, filled, client):
    hits = [n for n in faces.retriever(filled).retrieve("password", k=100) if n.passage.id == "plain#3"]
    client.delete(f"{Keys(filled.name).passages('plain')}4")  # as a server does that evicts keys
    assert build(hits, filled, window=3).sources[0].passage_ids == ("plain#0", "plain#1", "plain#2", "plain#3")


def test_passages_that_come_from_no_index_have_no_window(build, filled):
    made = Passage("mine", "plain", "My own words.", 0, 13)
    context = build([Neighbor(made, 0.5)], filled, window=1)
    assert [source.passage_ids for source in context.sources] == [("mine",)]
    assert context.warnings[0].startswith("document 'plain' was changed or removed")


def test_other_work_goes_on_while_a_context_is_counted(redis_url, index_name, embedder):
    async def script():
        loop_is_free = asyncio.Event()

        def slow(text):
            asyncio.run_coroutine_threadsafe(set_free(), loop).result(timeout=30)
            return len(text)

        async def set_free():
            loop_is_free.set()

        loop = asyncio.get_running_loop()
        async with AsyncIndex(index_name, url=redis_url, embedder=embedder) as index:
            await abuild_context(hits_of(passages_of()), index, tokens=slow)
        return loop_is_free.is_set()

    assert asyncio.run(script())


# ---- citations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ("It is by mail [2].", [2]),
        ("First [3], then [1][3].", [3, 1]),
        ("Both [1, 3] and [2;1].", [1, 3, 2]),
        ("All [1-3], or [2–3].", [1, 2, 3]),
        ("[ 2 ]", [2]),
        ("Nothing of [0], [4], [17], [999999999999] or [" + "9" * 5000 + "].", []),
        ("[2-9] and [3-1]", [2, 3]),
        ("No 1, (2), [a], [1a], [^1], [] or [1,].", []),
        ("", []),
    ],
)
def test_citations_of_an_answer(answer, numbers):
    passages = passages_of()
    context = assemble(hits_of([passages[0], passages[2], passages[4]]))
    assert len(context.sources) == 3
    assert context.citations(answer) == [context.sources[number - 1] for number in numbers]


@given(st.text("[]0123456789,;-– "))
def test_citations_never_fail(answer):
    context = assemble(hits_of(passages_of()[:1]))
    assert context.citations(answer) in ([], [context.sources[0]])


# ---- how it prints ---------------------------------------------------------------------------------------------


def test_a_context_prints_its_sources():
    passages = passages_of("<b>The red apple</b> is on the table. " * 10, document_id="<doc>", label="fruit")
    context = assemble(hits_of(passages[:1]), budget=50)
    assert repr(context).splitlines()[0] == f"Context(1 source, {context.tokens} tokens)"
    assert repr(context).splitlines()[1].startswith(f"  [1] <doc> 0-{context.sources[0].end}  <b>The red apple</b> is")
    html = context._repr_html_()
    assert "&lt;b&gt;The red apple&lt;/b&gt;" in html
    assert "<b>The" not in html
    assert ">&lt;doc&gt;<" in html
    assert repr(assemble(hits_of(passages), budget=12)).startswith("Context(1 source, 11 tokens, 9 passages left out)")
    assert repr(assemble([])) == "Context(0 sources, 0 tokens)"
    assert "<b>note:</b> 2 &lt; 3" in Context("", (), warnings=("2 < 3",))._repr_html_()


def test_contexts_are_values(embedder):
    hits = hits_of(passages_of())
    assert assemble(hits) == assemble(hits)
    assert assemble(hits) != assemble(hits[:1])
    with pytest.raises(AttributeError):
        assemble(hits).text = "other"


def test_the_default_template_is_public():
    assert numbered(Source(3, "doc", 0, 4, "text", None, {}, ("doc#0",), 0.5)) == "[3] doc\ntext"


def test_indexing_needs_nothing_for_contexts(redis_url, index_name, embedder):
    """An index as any other: `Indexer` keeps what a context needs."""
    with Index(index_name, url=redis_url, embedder=embedder) as index:
        Indexer(index, splitter=SENTENCES).add([Document("doc", TEXT, label="l", metadata={"a": [1]})])
        context = build_context(Retriever(index).retrieve("password reset mail", k=1), index, window=1)
    assert [(s.label, s.metadata, s.passage_ids) for s in context.sources] == [
        ("l", {"a": [1]}, ("doc#3", "doc#4", "doc#5"))
    ]


@pytest.mark.parametrize("odd", [{"number": "1"}, {"document_id": None}, {"text": [[]]}], ids=str)
def test_a_source_that_was_made_wrong_is_refused(odd):
    source = Source(1, "a", 0, 4, "text", None, {}, ("a#0",), 0.5)
    assert numbered(source) == "[1] a\ntext"
    with pytest.raises(TypeError, match=r"expected the .* of the source"):
        numbered(dataclasses.replace(source, **odd))
