import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragknn.embedding._pieces import cut_evenly, cut_off, tokens_beyond

# ---- tokenizers ------------------------------------------------------------------------------------------------


def word_spans(text):
    return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]


def byte_spans(text):
    """As those that fall back to bytes: several tokens may share one character."""
    return [(n, n + 1) for n, one in enumerate(text) for _ in one.encode("utf-8", "surrogatepass")]


def spans_with_spaces(text):
    """As those that count the space before a word to it."""
    return [match.span() for match in re.finditer(r"\s*\S{1,3}", text)]


def prefixed_spans(text):
    """As those that put a token before every text, so that pieces have more tokens than the whole."""
    return [(0, 0), *word_spans(text)] if text else []


TOKENIZERS = [word_spans, byte_spans, spans_with_spaces, prefixed_spans]

texts = st.text(st.sampled_from("ab .\n!éß🏷️名"), max_size=120) | st.text(max_size=60)


@given(texts, st.integers(1, 20), st.sampled_from(TOKENIZERS))
def test_pieces_are_the_text_in_order_and_none_has_more_tokens_than_the_limit(text, limit, token_spans):
    pieces = cut_evenly(text, token_spans, limit)
    assert "".join(pieces) == text
    for piece in pieces:
        # What is one token inside the whole is never cut, nor is a single character.
        places = {start for start, _ in token_spans(piece) if start < len(piece)}
        assert len(token_spans(piece)) <= limit or len(places) <= 1


@given(st.lists(st.sampled_from(["cat", "dog", "a", "b."]), min_size=1, max_size=200), st.integers(4, 40))
def test_pieces_are_as_few_as_can_be_and_nearly_equal(words, limit):
    text = " ".join(words)
    count = len(word_spans(text))
    pieces = cut_evenly(text, word_spans, limit)
    assert len(pieces) == -(-count // limit)
    lengths = [len(word_spans(piece)) for piece in pieces]
    assert max(lengths) <= limit
    even = count / len(pieces)
    assert all(even / 2 - 1 <= length <= 2 * even + 1 for length in lengths)


@given(texts, st.integers(1, 20), st.sampled_from(TOKENIZERS))
def test_what_is_cut_off_is_the_beginning_and_fits(text, limit, token_spans):
    beginning = cut_off(text, token_spans, limit)
    assert text.startswith(beginning)
    assert beginning or not text
    places = {start for start, _ in token_spans(beginning) if start < len(beginning)}
    assert len(token_spans(beginning)) <= limit or len(places) <= 1


def test_pieces_begin_at_sentences_or_else_at_words():
    text = "One two three four five six. Seven eight nine ten eleven twelve."
    assert cut_evenly(text, word_spans, 8) == ["One two three four five six. ", "Seven eight nine ten eleven twelve."]
    words = "aaaa bbbb cccc dddd eeee ffff"
    assert cut_evenly(words, byte_spans, 16) == ["aaaa bbbb cccc ", "dddd eeee ffff"]
    assert cut_evenly("x" * 10, byte_spans, 6) == ["x" * 5, "x" * 5]


def test_the_beginning_is_as_long_as_fits_and_ends_with_a_word():
    assert cut_off("One two. Three four five six seven", word_spans, 6) == "One two. Three four five "
    assert cut_off("aaaa bbbb cccc", byte_spans, 12) == "aaaa bbbb "
    assert cut_off("x" * 10, byte_spans, 6) == "x" * 6


def test_no_character_is_cut_through():
    assert cut_evenly("🏷🏷🏷", byte_spans, 5) == ["🏷", "🏷", "🏷"]
    assert cut_evenly("🏷🏷", byte_spans, 2) == ["🏷", "🏷"]
    assert cut_off("🏷🏷🏷", byte_spans, 9) == "🏷🏷"


@pytest.mark.parametrize("token_spans", TOKENIZERS)
def test_a_text_that_fits_is_one_piece(token_spans):
    text = "  a cat, \n"
    assert cut_evenly(text, token_spans, len(token_spans(text))) == [text]
    assert cut_off(text, token_spans, 20) == text
    assert cut_evenly("", token_spans, 3) == [""]


def test_tokens_are_counted_only_where_there_may_be_too_many():
    def never(text):
        raise AssertionError(f"{text!r} was counted")

    assert tokens_beyond("cat" * 10, never, 31) == 0
    assert tokens_beyond("cat " * 10, word_spans, 9) == 10
    assert tokens_beyond("cat " * 10, word_spans, 10) == 0
    # Fewer characters than the limit, and more tokens.
    assert tokens_beyond("🏷" * 10, byte_spans, 30) == 40


def test_a_book_is_cut_in_the_time_that_counting_it_takes_a_few_times():
    text = "The garden has apple trees, pear trees and a small pond. " * 20_000
    counted = []

    def counting(part):
        counted.append(len(part))
        return word_spans(part)

    pieces = cut_evenly(text, counting, 256)
    assert len(pieces) == -(-len(word_spans(text)) // 256)
    assert sum(counted) <= 3 * len(text)
