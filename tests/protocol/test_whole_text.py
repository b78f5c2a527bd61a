"""A text is put together again from its passages and what is in none of them, to the character."""

import json

from hypothesis import given
from hypothesis import strategies as st

from ragknn import Document, Passage, Splitter
from ragknn._protocol.layout import find_gaps, whole_text

SPACES = [" ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u2003", "\u2028", "\x0b", "\x85", "\ufeff", "\u200b", "\x00"]
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.sampled_from([*SPACES, "word", "Ä. ", "日本", "🏷️", "# Heading\n", "a,b. ", "x" * 70])).map("".join),
)
SPLITTERS = st.builds(
    lambda size, share, unit: Splitter(size, int(size * share), unit),
    st.integers(1, 9),
    st.floats(0, 0.9),
    st.sampled_from(["tokens", "words", "characters"]),
)


def cut(text, spans):
    return [Passage(f"a#{n}", "a", text[start:end], start, end) for n, (start, end) in enumerate(spans)]


@st.composite
def pieces(draw):
    """Draw a text and passages anywhere in it: with gaps, overlaps, twice the same, out of order."""
    text = draw(TEXTS)
    edges = st.integers(0, len(text))
    spans = draw(st.lists(st.tuples(edges, edges).map(sorted), max_size=6))
    return text, cut(text, spans)


@given(pieces())
def test_any_passages_and_the_gaps_between_them_make_the_whole_text(pieces):
    text, passages = pieces
    gaps = find_gaps(text, passages)
    assert whole_text(passages, gaps) == text
    covered = {place for passage in passages for place in range(passage.start, passage.end)}
    uncovered = {start + at for start, gap in json.loads(gaps or "[]") for at in range(len(gap))}
    assert uncovered == set(range(len(text))) - covered
    assert bool(gaps) == bool(uncovered)


@given(TEXTS, SPLITTERS)
def test_what_a_splitter_leaves_out_is_in_the_gaps(text, splitter):
    passages = splitter.split(Document("a", text))
    assert whole_text(passages, find_gaps(text, passages)) == text


def test_what_is_missing_between_passages_without_a_whole_text_is_a_space_or_an_empty_line():
    assert whole_text(cut("one two", [(0, 3), (4, 7)]), "") == "one two"
    assert whole_text(cut("... one ... two", [(4, 7), (12, 15)]), "") == "one\n\ntwo"
    assert whole_text(cut("one two", [(0, 5), (3, 7)]), "") == "one two"
    assert whole_text([], "") == ""


def test_passages_without_a_text_add_nothing():
    without = [Passage("a#0", "a", "", 0, 0), Passage("a#1", "a", "", 2, 2), Passage("a#2", "a", "", 4, 90)]
    assert whole_text(without, "") == ""
