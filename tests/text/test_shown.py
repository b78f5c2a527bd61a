"""Texts as people read them, and the words of a query in them."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragknn.text._marks import marked_spans
from ragknn.text._shown import Block, is_markdown, readable, readable_blocks

# ---- reading ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marks", "shown"),
    [
        ("# Reset\n\nTap **Sign in**, *then* `wait`.", "Reset\nTap Sign in, then wait."),
        ("Reset\n=====\ntwo\nlines", "Reset\ntwo lines"),
        ("- a\n  - b\n\n    more of b\n- c", "• a\n  • b\n    more of b\n• c"),
        ("3. three\n4. four", "3. three\n4. four"),
        ("> said *he*\n> - and she", "│ said he\n│ • and she"),
        ("see [the page](https://x.example/a) or [this](other.md)", "see the page (https://x.example/a) or this"),
        ("<https://x.example> and [x.example](https://x.example/)", "https://x.example and x.example"),
        ("![a bicycle](bike.png)", "a bicycle"),
        ("```sh\nragknn  demo\n\tls\n```", "ragknn  demo\n    ls"),
        ("| name | dim |\n|---|--:|\n| *mini* | 384 |\n| a | |", "name  dim\nmini  384\na"),
        ("| a | b |\n| c | d |\n\nbelow", "a  b\nc  d\nbelow"),
        ("| 東京 | b |\n|---|---|\n| e\u0301 | d |\n| wide | f |", "東京  b\ne\u0301     d\nwide  f"),
        ("|---|---|\n| c | d |", "c  d"),
        ("| no table, a sentence |", "no table, a sentence"),
        ("first<br>second\\\nthird", "first\nsecond\nthird"),
        ("<div class='x'>\ntext of <b>this</b>\n</div>", "text of this"),
        ("write to <your-name> &amp; co, 2 * 3 * 4, snake_case_name", None),
        ("rule above\n\n---\n\nrule below", "rule above\nrule below"),
        ("~~gone~~ $x_1$ [1] #tag", "~~gone~~ $x_1$ [1] #tag"),
        ("## Install {#install}\n\n| {#a} |\n|---|\n| b |", "Install\n{#a}\nb"),
        ("\ufeff# Reset\u2028\u2028Tap", "Reset\nTap"),
        ("<table><tr><th>Plan</th><th>EUR</th></tr><tr><td>Start</td><td>9</td></tr></table>", "Plan EUR\nStart 9"),
        ("<ul><li>one</li><li>two</li></ul>", "one\ntwo"),
    ],
)
def test_markdown_is_read_without_its_marks(marks, shown):
    if shown is None:
        shown = marks.replace("&amp;", "&")
    assert readable(marks, markdown=True) == shown


def test_the_cells_of_a_wide_table_are_not_aligned():
    cell = "word word word word word word word word"
    row = " | ".join([cell] * 3)
    assert readable(f"{row}\n--- | --- | ---\n{row}", markdown=True).splitlines() == [" · ".join([cell] * 3)] * 2


def test_blocks_say_what_they_are():
    text = "# Head\n\npara\n\n1. one\n\n```\ncode\n```\n\n|a|b|\n|-|-|\n|c|d|"
    assert readable_blocks(text, markdown=True) == [
        Block("heading", "Head"),
        Block("text", "para"),
        Block("text", "one", "1. "),
        Block("code", "code"),
        Block("table", "a  b\nc  d"),
    ]


@pytest.mark.parametrize("text", ["<!-- nothing to see -->", "[1]: https://x.example", "---", "```\n```", "- \n- "])
def test_markdown_that_would_show_nothing_is_shown_as_it_is(text):
    assert readable(text, markdown=True).replace(" ", "") == text.replace(" ", "")


def test_prose_that_was_broken_to_fit_a_page_is_joined_and_other_lines_are_kept():
    broken = "a line of prose that somebody has broken here to fit\nthe width of a page that was printed, see\nbelow"
    assert readable(broken.replace(", see\nbelow", " before it was\nread"), markdown=False).count("\n") == 0
    for kept in ("roses are red\nviolets are blue", "- one entry of a list that is long enough to look like it\n- two"):
        assert readable(kept, markdown=False) == kept
    assert readable("  a\n\n\nbb\tc ", markdown=False) == "a\nbb  c"


def test_headings_are_known_in_texts_that_are_no_markdown_too():
    text = "# Terms of use\n\nPay in *advance*.\n\n# no heading\nsince it goes on"
    assert readable_blocks(text, markdown=False) == [
        Block("heading", "Terms of use"),
        Block("text", "Pay in *advance*."),
        Block("text", "# no heading\nsince it goes on"),
    ]


@pytest.mark.parametrize(
    ("document_id", "text", "expected"),
    [
        ("packed.md.gz", "plain", True),
        ("a/b.md", "plain", True),
        ("a/B.MARKDOWN", "plain", True),
        ("book.ipynb", "plain", True),
        ("faq-1", "# Title\n\ntext", True),
        ("faq-1", "some **bold** words", True),
        ("rows.jsonl", "see [x](y)", True),
        ("faq-1", "2 ** 3 ** 4 and #5", False),
        ("code.py", "# comment\n\nx = 1", False),
        ("notes.txt", "**bold**", False),
        ("v1.2", "| a | b |\n|---|---|", True),
    ],
)
def test_markdown_is_known_by_its_file_or_by_its_marks(document_id, text, expected):
    assert is_markdown(document_id, text) is expected


marks = st.sampled_from(
    ["# ", "- ", "> ", "1. ", "**", "*", "`", "```\n", "|", "|-|-|\n", "[", "](", ")", "<b>", "<", "\n", "\n\n", "    "]
)
words = st.sampled_from(["bread", "Butter", "x1", "größe", "東京"])


@given(st.lists(words | marks, max_size=30).map(" ".join))
def test_no_word_of_markdown_is_lost_or_made_up(text):
    def kept(text: str) -> list[str]:
        return re.findall(r"bread|Butter|x1|größe|東京", text)

    shown = readable(text, markdown=True)
    # The target of a link, the language of a fence and what stands in a tag are not shown.
    hidden = re.findall(r"\]\([^)]*\)|```[^\n]*|<[^>]*>|\|[^\n]*", text)
    assert len(kept(text)) - len(kept(" ".join(hidden))) <= len(kept(shown)) <= len(kept(text))


@given(st.text(max_size=200), st.booleans())
def test_any_text_can_be_read(text, markdown):
    assert all(block.text.strip() for block in readable_blocks(text, markdown=markdown))
    assert bool(readable(text, markdown=markdown).strip()) == bool(text.strip())


@pytest.mark.parametrize(
    "piece", ["[", "![", "](", "[a](", "*", "_a", "`", "<!--", "<a ", "<b>", ">", "- ", "|", "**a"]
)
def test_texts_that_are_made_to_be_slow_are_not(piece):
    text = piece * 5000
    start = time.process_time()
    is_markdown("faq", text)
    readable(text, markdown=True)
    marked_spans(text, "a b")
    assert time.process_time() - start < 2  # in seconds; in quadratic time it would be many


# ---- marks -----------------------------------------------------------------------------------------------------


def marked(text, query, **options):
    return [text[start:end] for start, end in marked_spans(text, query, **options)]


@pytest.mark.parametrize(
    ("text", "query", "expected"),
    [
        ("Reset your password: RESET, not resets1", "How do I reset it?", ["Reset", "RESET"]),
        ("charged twice; charges, a charge", "charging", ["charged", "charges", "charge"]),
        ("to be or not to be", "to be or not", ["to", "be", "or", "not", "to", "be"]),
        ("to be or not to be", "to be a king", []),
        ("Die GRÖSSE und größe", "grösse Größe", ["GRÖSSE", "größe"]),
        ("e\u0301te\u0301 ou hiver", "été", ["e\u0301te\u0301"]),
        ("pass\u00adword and the other", "password", ["pass\u00adword"]),
        ("हिन्दी में लिखा", "हिन्दी", ["हिन्दी"]),
        ("東京都に住む", "東京", ["東京"]),
        ("猫が好き", "猫", ["猫"]),
        ("ﬁnance", "finance", ["ﬁnance"]),
        ("the error E20 shows", "the display says E20", ["E20"]),
        ("anything", "?!", []),
        ("👍🏽 for 👍👎", "👍", ["👍", "👍"]),
    ],
)
def test_the_words_of_a_query_are_marked(text, query, expected):
    assert marked(text, query) == expected


def test_the_common_words_of_english_are_common_in_english_only():
    assert marked("what was it", "what kostet", language="german") == ["what"]
    assert marked("what was it", "what kostet") == []


@given(st.text(alphabet="aB1 .-_\n", max_size=40), st.text(alphabet="aB1 .-_\n", max_size=10))
def test_marks_are_the_whole_words_that_the_query_has(text, query):
    asked = {word.lower() for word in re.findall(r"\w+", query)}
    asked = asked - {"a"} or asked  # `a` is a common word
    expected = [match.span() for match in re.finditer(r"\w+", text) if match[0].lower() in asked]
    assert marked_spans(text, query) == expected


def test_stems_and_accents_are_those_of_the_index():
    assert marked("die Häuser am Haus", "Haus", language="german") == ["Häuser", "Haus"]
    assert marked("café und cafe", "cafe", language="german", fold_accents=False) == ["cafe"]
    assert marked("café und cafe", "cafe", language="german") == ["café", "cafe"]


@given(st.text(max_size=60), st.text(max_size=20))
def test_marks_are_in_order_apart_and_within_the_text(text, query):
    places = [place for span in marked_spans(text, query) for place in span]
    assert places == sorted(set(places))
    assert all(0 <= place <= len(text) for place in places)
