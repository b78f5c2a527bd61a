from itertools import pairwise
from time import process_time
from unicodedata import is_normalized, normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragknn.text._folding import fold, folding

FOLDED = {
    "ligatures": (
        "eﬃcient oﬀers of ﬁnance, ﬂuﬀy ﬆones and ﬅreets",
        "efficient offers of finance, fluffy stones and streets",
    ),
    "digraphs": ("ĳs, ǆep, ŉ dag, ſo", "ijs, džep, ʼn dag, so"),
    "Armenian": ("ﬓﬔ", "մնմե"),
    "full-width": ("Ｔｈｅ　ｏｆｆｉｃｅ：＄５，００．", "The office:$5,00."),
    "full-width letters in Japanese": ("私はＰｙｔｈｏｎ３を", "私はPython3を"),
    "half-width": ("ｶﾞｲﾄﾞ｡ ｱｲｳ ﾡ", "ガイド。 アイウ ㄱ"),
    "mathematical": ("𝐓𝐡𝐞 𝘰𝘧𝘧𝘪𝘤𝘦 𝟙𝟚 𝛼 ℝ ℎ 𝔉𝒾", "The office 12 α R h Fi"),
    "Arabic": ("ﺍﻟﻌﺮﺑﻴﺔ ﻻ ﱞ", "العربية لا ٌّ"),
    "Hebrew": ("שּׁﬠ", "שּׁע"),
    "radicals": ("⼈⽔", "人水"),
    "Roman numerals": ("Henry Ⅷ, part ⅳ", "Henry VIII, part iv"),
    "squared": ("5 ㎏, 20 ㎡, 10 ㎧, ㈱, 200 ℃", "5 kg, 20 m², 10 m∕s, (株), 200 °C"),
    "circled": ("Ⓣⓗⓔ ①② ⑴ ⒈ ㊤", "The  1  2  (1) 1. 上"),
    "soft hyphens": ("in\u00adfor\u00ad\nmation, co\u00ad \r\n  op", "information, coop"),
    "invisible": ("fi\u200bn\u2060an\ufeffce Auf\u200clage \u200eof\u200f f\u034fi", "finance Auflage of fi"),
    "hidden tags": ("plain\U000e0069\U000e0067\U000e006e", "plain"),
    "variants": ("葛\U000e0100城", "葛城"),
    "spaces": ("a\u00a0b\u2009c\u202fd\u3000e\x0cf\x0bg\x85h\u2028i", "a b c d e f g h i"),
    "hyphens": ("well\u2010known state\u2011of", "well-known state-of"),
    "decomposed": ("Cafe\u0301 A\u030a \u1112\u1161\u11ab", "Café Å 한"),
    "a joiner behind a ligature": ("ﬁ\u200cn ﬁ\u200b\u200d\ufe0fn", "fin fin"),
}

PLAIN = [
    "The quick brown fox; it's “quoted” – really… 5 × 3 ≤ 20\r\n\tEnd.",
    "x² + H₂O, 10⁻⁶ m², 1½ cups, 2ⁿ, 1ᵉʳ",
    "№ 5, 5 µm, Acme™, ª º ´ ¨ €",
    "他说：“你好，世界！”（真的）￥5；ＯＫ"[:-2],
    "می‌خواهم",
    "क्‍ष",
    "👩‍💻 ❤️ 1️⃣ 🇩🇪 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f ℹ",
    "ภาษา\u200bไทย น้ำ ຫນຳ",
    "ㅋㅋㅋ 한국어",
    "եւ և",
    "Съешь ещё этих мягких французских булок",
    "",
]

# Letters of every kind that is folded, marks, joiners, and plain ones.
LETTERS = st.sampled_from(
    "".join(text for text, _ in FOLDED.values()) + "".join(PLAIN) + "\u0301\u0323\u200d\ufe0f\u09be"
)
TEXTS = st.text(LETTERS | st.characters(exclude_categories=["Cs"]), max_size=40)


# What folding may take out or take for something else: controls, hyphens, spaces, joiners, variants, tags.
RANGES = [(0, 0x21), (0x2D, 0x2E), (0x85, 0x86), (0xAD, 0xAE), (0x34F, 0x350), (0x61C, 0x61D), (0x640, 0x641)]
RANGES += [(0x2000, 0x2012), (0x2028, 0x2070), (0xFE00, 0xFE10), (0xFEFF, 0xFF00), (0xE0000, 0xE0200)]
TAKEN_OUT = dict.fromkeys(code for start, end in RANGES for code in range(start, end))


def bare_letters(text):
    """Return the text in the form that Unicode defines as compatible, without what is not compared."""
    return normalize("NFKC", normalize("NFKC", text.translate(TAKEN_OUT)).translate(TAKEN_OUT))


def characters(text):
    return [(place, place + 1) for place in range(len(text))]


def words(text):
    places = [0, *(place for place, character in enumerate(text) if character == " "), len(text)]
    return [(start, end) for start, end in pairwise(places) if start < end]


@pytest.mark.parametrize(("text", "expected"), FOLDED.values(), ids=FOLDED)
def test_letters_in_other_shapes_become_the_letters(text, expected):
    assert fold(text) == expected


@pytest.mark.parametrize("text", PLAIN)
def test_what_means_something_of_its_own_stays(text):
    assert fold(text) is text
    assert folding(characters)(text) == characters(text)


@given(st.text(st.characters(codec="ascii", exclude_characters="\x0b\x0c\x1c\x1d\x1e\x1f")))
def test_ascii_is_never_changed(text):
    assert fold(text) is text


@given(TEXTS)
def test_folding_twice_is_folding_once_and_gives_the_composed_form(text):
    folded = fold(text)
    assert fold(folded) == folded
    assert is_normalized("NFC", folded)


@given(TEXTS)
def test_folding_changes_less_than_unicode_allows(text):
    assert bare_letters(fold(text)) == bare_letters(text)


@given(TEXTS, st.sampled_from([characters, words]))
def test_spans_are_those_of_the_text_as_it_came_in_order(text, token_spans):
    spans = folding(token_spans)(text)
    assert len(spans) == len(token_spans(fold(text)))
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(one[0] <= other[0] and one[1] <= other[1] for one, other in pairwise(spans))


@given(TEXTS, TEXTS)
def test_a_plain_text_beside_has_its_own_spans(text, other):
    apart = f"{text} plain words {other}"
    start = apart.index(" plain words ") + 1
    folded = fold(apart)
    place = folded.index(" plain words ") + 1
    spans = folding(lambda text: [(place, place + 5), (place + 6, place + 11)])(apart)
    assert spans == [(start, start + 5), (start + 6, start + 11)]


def test_a_token_of_a_ligature_has_the_place_of_the_ligature():
    assert folding(characters)("oﬃce")[:6] == [(0, 1), (1, 2), (1, 2), (1, 2), (2, 3), (3, 4)]
    assert folding(lambda text: [(0, 11)])("in\u00adfor\u00admation") == [(0, 13)]
    assert folding(lambda text: [(0, 0), (6, 6)])("oﬃce") == [(0, 0), (4, 4)]  # as tokens without characters have


@pytest.mark.parametrize(
    "text",
    [
        "a" + "\u200d\ufe0f" * 50_000,
        "ﬁ\u200c" * 50_000,
        "e" + "\u0301\u0323" * 50_000,
        "\u00ad \n" * 50_000,
        "！" * 100_000 + "ﬁ",
        "x\U000e0061" * 50_000,
        "가" + "\u11a8" * 100_000,
    ],
)
def test_hostile_texts_take_linear_time(text):
    started = process_time()
    folding(lambda text: [(0, len(text))])(text)
    assert process_time() - started < 2  # seconds; 0.2 here


@pytest.mark.parametrize("text", ["a\ud83d", "\udfffa", "ﬁ\ud83d"])
def test_a_lone_surrogate_is_refused_with_its_place(text):
    place = next(place for place, character in enumerate(text) if "\ud800" <= character <= "\udfff")
    expected = (
        f"a lone surrogate, U\\+{ord(text[place]):X}, which is half of a character, in the text at character {place}"
    )
    for call in (fold, folding(characters)):
        with pytest.raises(ValueError, match=expected):
            call(text)
