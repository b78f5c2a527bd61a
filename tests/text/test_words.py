import itertools
import os
from contextlib import contextmanager

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from ragknn import Document, HashingEmbedder, Index, Indexer
from ragknn._ids import passage_id
from ragknn._protocol.keys import Keys
from ragknn._protocol.opening import _create_command
from ragknn._protocol.query import any_words
from ragknn._protocol.schema import Schema
from ragknn.text._words import LANGUAGES, LONGEST_WORD, default_stop_words, fold_stop_words, searchable, words

ANYTHING = st.text()  # lone surrogates too, which a question may hold
STORABLE = st.text(st.characters(exclude_categories=["Cs"]))


def with_a_word(texts):
    """Draw texts in which at least one letter stands."""
    return st.builds("{}{}{}".format, texts, st.sampled_from("ax1é日"), texts)


ENGLISH = default_stop_words("english")


# ---- words -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\n!?", []),
        ("Reset the password", ["reset", "the", "password"]),
        ("end of a line\nnext\r\nlast", ["end", "of", "a", "line", "next", "last"]),
        ("“curly” quotes—and dashes…", ["curly", "quotes", "and", "dashes"]),
        ("don't can’t", ["don", "t", "can", "t"]),
        ("a\u00a0b\u2028c\u200bd\x00e\x1ff\\g", ["a", "b", "c", "d", "e", "f", "g"]),
        ("snake_case x1 2020 1.5 C++", ["snake_case", "x1", "2020", "1", "5", "c"]),
        ("co\u00adoperate \ufeffstart", ["cooperate", "start"]),
        ("Größe GRÖSSE Straße", ["grösse", "grösse", "strasse"]),
        ("é e\u0301 É", ["é", "é", "é"]),
        ("ﬁne １２ ½", ["fine", "12", "1", "2"]),
        ("ΟΔΟΣ οδος", ["οδοσ", "οδοσ"]),
        ("हिन्दी", ["हिन्दी"]),
        ("名前を x東", ["名", "前", "を", "名前", "前を", "x", "東"]),
        ("ไทย", ["ไ", "ท", "ย", "ไท", "ทย"]),
        ("𠀀日x", ["𠀀", "日", "𠀀日", "x"]),
        ("한국어 텍스트", ["한국어", "텍스트"]),
        ("great🎉job ❤️", ["great", "🎉", "job", "❤"]),
        ("\ud800x\udfff", ["x"]),
    ],
)
def test_a_text_has_these_words(text, expected):
    assert words(text) == expected


def test_the_rest_of_a_very_long_word_is_left_out():
    assert words("x" * 70_000) == ["x" * LONGEST_WORD]
    assert words("é" * 100) == ["é" * (LONGEST_WORD // 2)]
    assert words("a" + "é" * 100) == ["a" + "é" * 63]


@given(ANYTHING)
def test_a_word_has_itself_among_its_words(text):
    for word in words(text):
        assert word in words(word)
        assert 0 < len(word.encode()) <= LONGEST_WORD


@given(ANYTHING)
def test_what_is_searchable_has_the_same_words(text):
    assert set(words(text)) <= set(words(searchable(text)))


@given(ANYTHING, ANYTHING)
def test_texts_side_by_side_have_the_words_of_both(one, other):
    assert words(f"{one}\n{other}") == words(one) + words(other)


@given(st.text(st.characters(codec="ascii")))
def test_the_words_in_ascii_do_not_depend_on_what_else_there_is(text):
    assert words(f"{text} é") == [*words(text), "é"]


@given(ANYTHING)
def test_case_makes_no_other_words(text):
    assert words(text.casefold()) == words(text)


# ---- what is asked for -----------------------------------------------------------------------------------------


def test_any_words_asks_for_each_word_once_and_for_no_stop_word():
    found = any_words("The cat, the hat; a CAT", ENGLISH)
    assert (found.query, found.params) == ("(@text_words:($t0|$t1))", {"t0": "cat", "t1": "hat"})


@pytest.mark.parametrize("text", ["", "...", "the", "To be or not to be", "\ud800"])
def test_a_text_without_words_that_are_indexed_asks_for_nothing(text):
    assert any_words(text, [*ENGLISH, "be"]) is None


@given(ANYTHING)
def test_no_word_is_part_of_the_query(text):
    found = any_words(text, ())
    assert (found is None) == (not words(text))
    assert found is None or set(found.query) <= set("@text_words:$0123456789|()")


# ---- stop words and languages ----------------------------------------------------------------------------------


def test_stop_words_are_folded_like_words():
    assert fold_stop_words(["The", "über", "the", "STRASSE", "straße"]) == ("strasse", "the", "über")
    assert fold_stop_words(()) == ()


@pytest.mark.parametrize("wrong", ["", "two words", "don't", "!", 1, None, b"x"])
def test_a_stop_word_that_is_not_one_word_is_refused(wrong):
    with pytest.raises(ValueError, match="expected each of stop_words to be one word, got "):
        fold_stop_words(["the", wrong])


def test_stop_words_in_one_str_are_refused():
    with pytest.raises(TypeError, match="expected stop_words to be several words, got the str 'the'"):
        fold_stop_words("the")


@pytest.fixture(scope="module")
def client(redis_url):
    with redis.Redis.from_url(redis_url, protocol=3) as client:
        yield client


class Bare:
    """A search index as `ragknn` creates it, filled with words alone."""

    def __init__(self, client, name, **options):
        self.client, self.keys = client, Keys(name)
        self.schema = Schema(embedder="e", dim=2, **options)
        client.execute_command(*_create_command(self.keys, self.schema))

    @contextmanager
    def storing(self, texts):
        with self.client.pipeline(transaction=False) as pipe:
            for number, text in enumerate(texts):
                pipe.hset(f"{self.keys.passage_prefix}{number}", "text_words", searchable(text))
            pipe.execute()
        try:
            yield
        finally:
            self.client.delete(*(f"{self.keys.passage_prefix}{number}" for number in range(len(texts))))

    def find(self, found, *options):
        parts = [part for pair in found.params.items() for part in pair]
        asking = ("PARAMS", len(parts), *parts, "RETURN", 0, "LIMIT", 0, 10_000, *options, "DIALECT", 2)
        reply = self.client.execute_command("FT.SEARCH", self.keys.search_index(), found.query, *asking)
        return {int(row[b"id"].decode().removeprefix(self.keys.passage_prefix)) for row in reply[b"results"]}


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


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_server_knows_each_language(client, language):
    with creating(client, language, language=language) as index, index.storing(["hello world 北京 größe"]):
        for word in ("hello", "world", "北京", "Größe"):
            assert index.find(any_words(word, index.schema.stop_words)) == {0}, word


def test_stems_are_those_of_the_language(client):
    texts = ["Die Häuser", "ein Haus", "the runs", "und die"]
    with creating(client, "stems", language="german") as index, index.storing(texts):
        assert index.find(any_words("Häusern", ())) == {0, 1}
        assert index.find(any_words("running", ())) == set()
        assert index.find(any_words("die", index.schema.stop_words)) == {0, 3}


def test_the_english_stop_words_are_the_servers_own(client):
    name = f"terms-{os.getpid()}-default"
    others = ["from", "he", "i", "its", "she", "we", "what", "you", "has", "can", "do", "so", "too", "very", "than"]
    client.execute_command("FT.CREATE", name, "PREFIX", 1, f"{name}:", "SCHEMA", "words", "TEXT")
    try:
        client.hset(f"{name}:1", "words", " ".join([*ENGLISH, *others]))
        asking = ("RETURN", 0, "VERBATIM", "DIALECT", 2)
        found = {
            word
            for word in (*ENGLISH, *others)
            if client.execute_command("FT.SEARCH", name, "@words:$w", "PARAMS", 2, "w", word, *asking)[b"results"]
        }
        assert found == set(others)
    finally:
        client.execute_command("FT.DROPINDEX", name, "DD")


def test_the_server_leaves_out_the_stop_words_that_the_schema_names(client):
    with creating(client, "stop", stop_words=("Über", "x_1")) as index, index.storing(["über x_1 the", "the"]):
        assert index.find(any_words("über x_1", ())) == set()
        assert index.find(any_words("über the", index.schema.stop_words)) == {0, 1}


# ---- on the server ---------------------------------------------------------------------------------------------

SYNTAX = [
    "a|b", "-a", "~a", "a*", "*", "%a%", "%%a%%", "=>", "=>[KNN 3 @vector $v]", "@text:a", "@label:{a}", "$t0", "$x",
    "AND", "OR", "NOT", "(a", "a)", '"a b"', "'a'", "w'a*'", "[1 2]", "{a}", "a:b", "a\\", "\\", "\\-a", "a;b",
    "ismissing(@label)",
    "1", "-1", "1.5", "1e5", "inf", "-inf", "nan", "2024-02-29", "_", "__x__", "x_1", "٣", "½", "日本語", "ไทย", "🎉",
    "👨‍👩‍👧", "👨", "日𠀀", "𐐨ing", "naïve", "Straße", "İstanbul", "ſ", "ﬃ", "Ꭰ", "ꭰ", "𝕏", "ǅ", "ß", "ΐ",
    "e\u0301", "\u0301", "a\x00b", "a\nb", "a\x1fb",
    "x" * 127, "x" * 128, "x" * 129, "é" * 64, "é" * 65, "x" * 70_000, "a",
]  # fmt: skip


def test_a_passage_is_found_by_its_words_and_by_no_others(bare):
    with bare.storing(SYNTAX):
        for text in filter(words, SYNTAX):
            having = {n for n, other in enumerate(SYNTAX) if set(words(text)) & set(words(other))}
            assert bare.find(any_words(text, ()), "VERBATIM") == having, text
            assert bare.find(any_words(text, ())) >= having, text


@given(
    texts=st.lists(STORABLE | with_a_word(STORABLE), min_size=1, max_size=6),
    question=with_a_word(ANYTHING),
    data=st.data(),
)
def test_any_text_is_found_by_any_of_its_words(bare, texts, question, data):
    with bare.storing(texts):
        every = sorted({word for text in texts for word in words(text)})
        asked = data.draw(st.sampled_from([question, *every, *filter(words, texts)]), label="asked")
        having = {n for n, text in enumerate(texts) if set(words(asked)) & set(words(text))}
        found = any_words(asked, ())
        assert bare.find(found, "VERBATIM") == having
        assert bare.find(found) >= having


@pytest.mark.parametrize("separator", [chr(code) for code in range(1, 128) if not chr(code).isalnum()], ids=ascii)
def test_only_an_underscore_among_the_ascii_signs_joins_words(bare, separator):
    with bare.storing([f"left{separator}right"]):
        for word in ("left", "right"):
            assert bare.find(any_words(word, ())) == (set() if separator == "_" else {0})


def test_thousands_of_words_are_one_question(bare):
    many = " ".join(f"word{number}" for number in range(20_000))
    with bare.storing([many, "word7 and others", "none of them"]):
        assert bare.find(any_words(many, ())) == {0, 1}


def test_words_are_found_in_passages_that_an_indexer_stored(redis_url, index_name, client):
    texts = ["The printer jammed\nagain", "“Printers” are jamming", "unrelated"]
    with Index(index_name, url=redis_url, embedder=HashingEmbedder(8)) as index:
        Indexer(index).add([Document(str(number), text) for number, text in enumerate(texts)])
        for question, expected in [("printer", {"0", "1"}), ("JAM again?", {"0", "1"}), ("the again", {"0"})]:
            asked = any_words(question, index.schema.stop_words)
            parts = itertools.chain.from_iterable(asked.params.items())
            asking = ("PARAMS", 2 * len(asked.params), *parts, "RETURN", 1, "text", "DIALECT", 2)
            reply = client.execute_command("FT.SEARCH", index._keys.alias, asked.query, *asking)
            rows = {passage_id(*index._keys.split_passage(row[b"id"].decode())): row for row in reply[b"results"]}
            assert {name.partition("#")[0] for name in rows} == expected
            for name, row in rows.items():
                assert row[b"extra_attributes"][b"text"].decode() == texts[int(name.partition("#")[0])]


def test_an_index_without_text_search_stores_no_words(redis_url, index_name, client):
    with Index(index_name, url=redis_url, embedder=HashingEmbedder(8), text_search=False) as index:
        Indexer(index).add([Document("a", "some words")])
        assert client.hget(f"{index._keys.passages('a')}0", "text_words") is None
        assert client.hget(f"{index._keys.passages('a')}0", "text") == b"some words"
