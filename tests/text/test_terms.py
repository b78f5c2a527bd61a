"""From words to terms, and how the server finds passages by them."""

import os
import threading
from contextlib import contextmanager
from uuid import uuid4

import pytest
import redis
from bm25 import bm25, length_weight
from hypothesis import given, settings
from hypothesis import strategies as st

from ragknn import Document, HashingEmbedder, Index, Indexer
from ragknn._protocol.keys import Keys
from ragknn._protocol.opening import create_command
from ragknn._protocol.query import SMALLEST_SCORE, any_of, any_of_among, params
from ragknn._protocol.schema import Schema
from ragknn.text._terms import LANGUAGES, MOST_KNOWN, analyzer, fold_accents, known_terms
from ragknn.text._words import default_stop_words, words

ANYTHING = st.text()  # lone surrogates too, which a question may hold
STORABLE = st.text(st.characters(exclude_categories=["Cs"]))
ENGLISH = analyzer("english", default_stop_words("english"), True)
PLAIN = analyzer("chinese", (), False)  # the words as they are


def with_a_word(texts):
    """Draw texts in which at least one letter stands."""
    return st.builds("{}{}{}".format, texts, st.sampled_from("ax1é日"), texts)


# ---- terms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("english", "The printers were printing again", ["printer", "print", "again"]),
        ("english", "To be or not to be", []),
        ("english", "cats Cat CATS", ["cat", "cat", "cat"]),
        ("german", "die Häuser im Hause", ["die", "haus", "im", "haus"]),
        ("french", "les chevaux", ["le", "cheval"]),
        ("russian", "кошки", ["кошк"]),
        ("chinese", "北京 running", ["北", "京", "北京", "running"]),
    ],
)
def test_a_text_has_these_terms(language, text, expected):
    assert analyzer(language, default_stop_words(language), True).terms(text) == expected


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_makes_terms_that_make_no_spaces(language):
    made = analyzer(language, (), True).terms("hello world 北京 größe кошки हिन्दी")
    assert len(made) == 8
    assert all(made)
    assert not any(" " in term for term in made)


@pytest.mark.parametrize(
    ("word", "folded"),
    [
        ("café", "cafe"),
        ("naïve", "naive"),
        ("ångström", "angstrom"),
        ("são", "sao"),
        ("łódź", "lodz"),
        ("møller", "moller"),
        ("đặng", "dang"),
        ("œuvre", "oeuvre"),
        ("αθήνα", "αθηνα"),
        ("й", "й"),  # a letter of its own
        ("हिन्दी", "हिन्दी"),
        ("が", "が"),
        ("שָׁלוֹם", "שָׁלוֹם"),
        ("plain", "plain"),
    ],
)
def test_latin_and_greek_letters_lose_their_accents_and_no_others(word, folded):
    assert fold_accents(word) == folded


@pytest.mark.parametrize("text", ["résumés", "Cafés in São Paulo", "crème brûlée", "Zoë’s naïveté"])
@pytest.mark.parametrize("language", ["english", "french", "german", "spanish"])
def test_a_text_without_its_accents_has_the_same_terms(language, text):
    plain = " ".join(map(fold_accents, words(text)))
    assert plain.isascii()
    assert analyzer(language, (), True).terms(text) == analyzer(language, (), True).terms(plain)
    assert analyzer(language, (), False).terms(text) != analyzer(language, (), False).terms(plain)


@given(ANYTHING)
def test_terms_of_a_text_are_the_stems_of_its_words(text):
    assert PLAIN.terms(text) == words(text)
    assert len(ENGLISH.terms(text)) <= len(words(text))


def test_only_so_many_words_are_remembered():
    text = " ".join(map(str, range(MOST_KNOWN + 10)))
    assert ENGLISH.terms(text) == text.split()
    assert 0 < len(known_terms(ENGLISH)) <= MOST_KNOWN
    ENGLISH.terms("x" * 1_000)
    assert max(map(len, known_terms(ENGLISH))) < 100


def test_threads_make_the_same_terms():
    text = "running runners ran easily fairly generously " * 50
    expected, found = ENGLISH.terms(text), []
    threads = [threading.Thread(target=lambda: found.append(ENGLISH.terms(text))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 8


# ---- what is asked for -----------------------------------------------------------------------------------------


def test_each_term_is_asked_for_as_often_as_it_stands_in_the_question():
    found = any_of(ENGLISH.terms("The cat, the hat; a CAT"))
    assert (found.query, found.params) == ("(@_terms:($t0|$t1|$t2))", {"t0": "cat", "t1": "hat", "t2": "cat"})


@given(with_a_word(ANYTHING))
def test_no_term_is_part_of_the_query(text):
    for found in (any_of(PLAIN.terms(text)), any_of_among(PLAIN.terms(text), "(@n:[1 2])")):
        assert set(found.query) <= set("@_terms:$nothing0123456789|()~ -{}[]=>;weightdocument_ide1-15")


@pytest.mark.parametrize("name", ["limit", "return", "format", "timeout", "dialect", "sortby", "scorer", "verbatim"])
def test_a_term_that_is_the_name_of_an_argument_is_no_value(name):
    for found in (any_of(["the", name, name]), any_of_among([name, "the"], "(@n:[1 2])")):
        assert name not in found.params.values()
        assert name in found.query


# ---- on the server ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(redis_url):
    with redis.Redis.from_url(redis_url, protocol=3) as client:
        yield client


class Bare:
    """A search index as `ragknn` creates it, filled with words alone."""

    def __init__(self, client, name, **options):
        self.client, self.keys = client, Keys(name)
        self.schema = Schema(embedder="e", dim=2, **options)
        client.execute_command(*create_command(self.keys, self.schema))

    @contextmanager
    def storing(self, texts):
        with self.client.pipeline(transaction=False) as pipe:
            for number, text in enumerate(texts):
                pipe.hset(f"{self.keys.passage_prefix}{number}", "terms", " ".join(PLAIN.terms(text)))
            pipe.execute()
        try:
            yield
        finally:
            self.client.delete(*(f"{self.keys.passage_prefix}{number}" for number in range(len(texts))))

    def scores(self, found):
        asking = (*params(found.params), "RETURN", 0, "LIMIT", 0, 10_000, "VERBATIM", "WITHSCORES", "DIALECT", 2)
        command = ("FT.SEARCH", self.keys.search_index(), found.query, *asking, "SCORER", "BM25STD")
        rows = self.client.execute_command(*command)[b"results"]
        return {int(row[b"id"].decode().removeprefix(self.keys.passage_prefix)): float(row[b"score"]) for row in rows}

    def find(self, text):
        return set(self.scores(any_of(PLAIN.terms(text))))


@contextmanager
def creating(client, name, **options):
    index = Bare(client, f"terms-{os.getpid()}-{name}", **options)
    try:
        yield index
    finally:
        client.execute_command("FT.DROPINDEX", index.keys.search_index(), "DD")


@pytest.fixture(scope="module")
def bare(client):
    with creating(client, "bare", stop_words=()) as index:
        yield index


SYNTAX = [
    "a|b", "-a", "~a", "a*", "*", "%a%", "%%a%%", "=>", "=>[KNN 3 @vector $v]", "@text:a", "@label:{a}", "$t0", "$x",
    "AND", "OR", "NOT", "(a", "a)", '"a b"', "'a'", "w'a*'", "[1 2]", "{a}", "a:b", "a\\", "\\", "\\-a", "a;b",
    "ismissing(@label)",
    "limit", "Return the limit", "SORTBY", "timeout limit timeout", "dialect format verbatim", "nocontent",
    "1", "-1", "1.5", "1e5", "inf", "-inf", "nan", "2024-02-29", "_", "__x__", "x_1", "٣", "½", "日本語", "ไทย", "🎉",
    "👨‍👩‍👧", "👨", "日𠀀", "𐐨ing", "naïve", "Straße", "İstanbul", "ſ", "ﬃ", "Ꭰ", "ꭰ", "𝕏", "ǅ", "ß", "ΐ",
    "e\u0301", "\u0301", "a\x00b", "a\nb", "a\x1fb",
    "x" * 127, "x" * 128, "x" * 129, "é" * 64, "é" * 65, "x" * 70_000, "a",
]  # fmt: skip


def test_a_passage_is_found_by_its_words_and_by_no_others(bare):
    with bare.storing(SYNTAX):
        for text in filter(words, SYNTAX):
            having = {n for n, other in enumerate(SYNTAX) if set(words(text)) & set(words(other))}
            assert bare.find(text) == having, text


QUESTIONS = st.lists(STORABLE | with_a_word(STORABLE), min_size=1, max_size=6).flatmap(
    lambda texts: st.tuples(st.just(texts), st.sampled_from(texts) | ANYTHING, with_a_word(ANYTHING))
)


@given(QUESTIONS)
def test_any_text_is_found_by_any_of_its_words(bare, question):
    texts, *asked = question
    with bare.storing(texts):
        wanted = words(" ".join(asked))
        having = {n for n, text in enumerate(texts) if set(wanted) & set(words(text))}
        assert bare.find(" ".join(asked)) == having


@settings(max_examples=25)
@given(QUESTIONS)
def test_terms_score_alike_with_and_without_a_filter(client, question):
    texts, *asked = question
    wanted = words(" ".join(asked))
    with creating(client, f"scored-{uuid4().hex}", stop_words=()) as index, index.storing(texts):
        expected = bm25([words(text) for text in texts], wanted, length_weight(client))
        assert index.scores(any_of(wanted)) == pytest.approx(expected, rel=1e-5)
        among = index.scores(any_of_among(wanted, "(-@label:{nowhere})"))
        found = {number: score for number, score in among.items() if score > SMALLEST_SCORE}
        assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("separator", [chr(code) for code in range(1, 128) if not chr(code).isalnum()], ids=ascii)
def test_only_an_underscore_among_the_ascii_signs_joins_words(bare, separator):
    with bare.storing([f"left{separator}right"]):
        for word in ("left", "right"):
            assert bare.find(word) == (set() if separator == "_" else {0})


def test_thousands_of_words_are_one_question(bare):
    many = " ".join(f"word{number}" for number in range(20_000))
    with bare.storing([many, "word7 and others", "none of them"]):
        assert bare.find(many) == {0, 1}


def test_an_index_without_text_search_stores_no_terms(redis_url, index_name, client):
    with Index(index_name, url=redis_url, embedder=HashingEmbedder(8), text_search=False) as index:
        Indexer(index).add([Document("a", "some words")])
        assert client.hget(f"{index._keys.passages('a')}0", "terms") is None
        assert client.hget(f"{index._keys.passages('a')}0", "text") == b"some words"
