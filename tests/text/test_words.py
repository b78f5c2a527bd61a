import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragknn.text._words import LONGEST_WORD, fold_stop_words, searchable, whole_words, words

ANYTHING = st.text()  # lone surrogates too, which a question may hold


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


@given(st.text(st.characters(max_codepoint=127)))
def test_words_of_ascii_are_letters_digits_and_underscores_without_case(text):
    assert whole_words(text) == re.findall("[a-z0-9_]+", text.lower())


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


# ---- stop words ----------------------------------------------------------------------------------


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
