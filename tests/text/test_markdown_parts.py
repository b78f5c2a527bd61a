"""What the splitter makes of Markdown: sections begin passages, fences and tables stay whole, headings are told."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragknn import Document, Splitter
from ragknn.text import sentence_starts


def split(text, size, overlap=0, headings=False):
    return Splitter(size, overlap, "words", headings).split(Document("d", text))


def cut(text, size, overlap=0):
    return [passage.text for passage in split(text, size, overlap)]


FENCED = [
    "```sh\n# a comment\nmake all\n```",
    "~~~\n# a comment\nmake all\n~~~",
    "````md\n```\n# a comment\n```\nmake all\n````",
    "- entry\n\n  ```\n  # a comment\n  make all\n  ```",
    "> ```\n> # a comment\n> make all\n> ```",
    "```\n# a comment\nmake all",  # never closed
    "    # a comment\n    make all",
    "<pre>\n# a comment\nmake all\n</pre>",
]


# ---- headings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fenced", FENCED)
def test_a_hash_in_code_is_no_heading(fenced):
    text = f"# Title\n\nOne two three.\n\n{fenced}"
    for size in (6, 12, 100):
        with_hash = split(text, size)
        without = split(text.replace("# a", "= a"), size)
        assert [(one.start, one.end, one.headings) for one in with_hash] == [
            (one.start, one.end, one.headings) for one in without
        ]
        assert {one.headings for one in with_hash} == {("Title",)}


@pytest.mark.parametrize("name", ["setup.py", "deep/er/Run.SH", "ci.yml", "pyproject.toml"])
def test_a_comment_in_a_file_of_code_is_no_heading(name):
    text = "# A comment\nmake all\n\n# Another\nmake none"
    [passage] = Splitter().split(Document(name, text))
    assert (passage.text, passage.headings) == (text, ())
    assert len(Splitter().split(Document("notes.md", text))) == 2


def test_headings_of_levels_1_and_2_begin_passages():
    text = "# A\n\none\n\n## B\n\ntwo\n\n### C\n\nthree\n\n#### D\nfour\n\n## E\n\nfive\n\n# F\nsix"
    assert [(one.text, one.headings) for one in split(text, 100)] == [
        ("# A\n\none", ("A",)),
        ("## B\n\ntwo\n\n### C\n\nthree\n\n#### D\nfour", ("A", "B")),
        ("## E\n\nfive", ("A", "E")),
        ("# F\nsix", ("F",)),
    ]
    assert split(text, 8)[2].headings == ("A", "B", "C", "D")


def test_headings_that_are_underlined_count_too():
    text = "Title\n=====\n\none\n\nPart\n----\ntwo\n\nOther part\n---------\n\nthree"
    assert [(one.text, one.headings) for one in split(text, 100)] == [
        ("Title\n=====\n\none", ("Title",)),
        ("Part\n----\ntwo", ("Title", "Part")),
        ("Other part\n---------\n\nthree", ("Title", "Other part")),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "one\ntwo\n---\n\nthree",  # a paragraph and a line below it
        "one\n\n---\n\ntwo",
        "one\n\n#\n\ntwo",
        "one\n\n#two\n\nthree",
        "one\n\n####### two\n\nthree",
        "one\n\n> # two\n\nthree",
        "one\n\n- # two\n\nthree",
        "a | b\n--- | ---\n1 | 2",
        "one\n\n\\# two",
        "one\n\n# " + "two " * 70 + "\n\nthree",
    ],
)
def test_what_only_looks_like_a_heading_is_none(text):
    assert [(one.text, one.headings) for one in split(text, 100)] == [(text, ())]


def test_a_heading_is_told_without_its_marks():
    text = (
        "# The `ls` *command*, [here](http://a/b) ##\n\none\n\n## A &amp; B\n\ntwo\n\n![Logo](x.png) Name\n---\nthree"
    )
    assert [one.headings for one in split(text, 100)] == [
        ("The ls command, here",),
        ("The ls command, here", "A & B"),
        ("The ls command, here", "Logo Name"),
    ]


def test_a_heading_is_told_as_sites_show_it():
    text = (
        "# Install {#install}\n\none\n\n## [Setup][s] {: .wide }\n\ntwo\n\n## Vec<T> of <b>all</b>\n\nthree\n\n"
        "## A {set}\n\nfour\n\n[s]: http://a.example"
    )
    assert [one.headings for one in split(text, 100)] == [
        ("Install",),
        ("Install", "Setup"),
        ("Install", "Vec<T> of all"),
        ("Install", "A {set}"),
    ]


@pytest.mark.parametrize("line_end", ["\r\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_lines_may_end_otherwise(line_end):
    text = "Intro\n\n# A\n\none\n\n## B\ntwo\n\n```\n# three\n```\n\n- four\n- five\n\nC\n---\nsix"
    other = text.replace("\n", line_end)
    for size in (4, 100):
        expected = [(one.text.replace("\n", line_end), one.headings) for one in split(text, size)]
        assert [(one.text, one.headings) for one in split(other, size)] == expected


@pytest.mark.parametrize("unseen", ["\ufeff", "\u200b"])
def test_what_cannot_be_seen_hides_no_heading(unseen):
    text = f"{unseen}# A\n\none\n\n{unseen}## B\n\ntwo"
    assert [(one.text, one.headings) for one in split(text, 100)] == [
        (f"{unseen}# A\n\none", ("A",)),
        (f"{unseen}## B\n\ntwo", ("A", "B")),
    ]


@pytest.mark.parametrize("fields", ["title: x", "# a comment\ntitle: x\ntags:\n  - a\n# another", "a: b\n\x20\x20c: d"])
def test_fields_above_the_text_are_no_heading(fields):
    above = f"---\n{fields}\n---"
    assert [(one.text, one.headings) for one in split(f"{above}\n\none", 100)] == [(f"{above}\n\none", ())]
    assert [one.headings for one in split(f"{above}\n\n# A\n\none", 100)] == [(), ("A",)]
    assert [one.headings for one in split("---\nNote: well\n\n# A\n\none\n\n---", 100)] == [(), ("A",)]


def test_a_heading_stands_with_what_follows_it():
    assert cut("one\n\n# A\n\n## B\n\n### C\n\ntwo", 100) == ["one", "# A\n\n## B\n\n### C\n\ntwo"]
    assert cut("one\n\n## Nothing below", 100) == ["one\n\n## Nothing below"]
    assert cut("one\n\n## B\n\n## C\n\ntwo", 100) == ["one", "## B\n\n## C\n\ntwo"]
    assert cut("one two three four.\n\n### C\n\nfive six.", 7) == ["one two three four.", "### C\n\nfive six."]


def test_a_section_at_the_end_is_a_passage_of_its_own():
    body = "# Manual\n\n" + "Many words about other things stand here. " * 5
    [*_, last] = split(f"{body}\n\n## Refunds\n\nAsk Ann.", 1000)
    assert (last.text, last.headings) == ("## Refunds\n\nAsk Ann.", ("Manual", "Refunds"))


def test_no_passage_repeats_anything_of_another_section():
    text = "# A\n\n" + "a b c d. " * 20 + "\n\n# B\n\n" + "e f g h. " * 20
    passages = split(text, 30, 10)
    border = text.index("# B")
    assert all(one.end <= border or one.start >= border for one in passages)
    assert [one.headings for one in passages].count(("B",)) > 1


words = st.lists(st.sampled_from(["alpha", "beta", "gamma.", "delta,", "Epsilon!"]), min_size=1, max_size=30)
paragraphs = st.lists(words.map(" ".join), min_size=1, max_size=3).map("\n\n".join)
titles = st.sampled_from(["One", "Two words", "The third of them"])
levels = st.integers(1, 6)


@given(st.lists(st.tuples(levels, titles, paragraphs), min_size=1, max_size=8), st.integers(4, 40), st.booleans())
def test_each_section_begins_a_passage_and_each_passage_tells_its_path(sections, size, headings):
    text, path, found = "", [], {}
    for level, title, body in sections:
        path = [outer for outer in path if outer[0] < level] + [(level, title)]
        found[len(text)] = (level, tuple(name for _, name in path))
        text += f"{'#' * level} {title}\n\n{body}\n\n"
    passages = split(text, size, size // 4, headings)
    starts = {one.start for one in passages}
    assert starts >= {start for start, (level, _) in found.items() if level <= 2}
    for one in passages:
        assert one.headings == found[max(start for start in found if start <= one.start)][1]


# ---- fences and tables -----------------------------------------------------------------------------------------


def test_a_fence_that_fits_is_whole():
    fence = "```\none two.\n\n# three\n```"
    assert cut(f"a b c d.\n\n{fence}\n\ne f g h.", 9) == ["a b c d.", fence, "e f g h."]
    assert cut(f"a b c.\n{fence}\nb c d e f g", 8) == ["a b c.", fence, "b c d e f g"]
    assert cut(f"a b c d.\n\n{fence}\n\ne f g h.", 8, overlap=3) == ["a b c d.", fence, "e f g h."]


def test_a_fence_that_does_not_fit_is_cut_between_lines():
    fence = "```\none two three.\nfour five. Six\nseven eight nine ten\neleven\n```"
    assert cut(fence, 8) == ["```\none two three.\nfour five. Six", "seven eight nine ten\neleven\n```"]
    text = f"Some words here.\n\n{fence}\n\nMore."
    starts = {
        text.index(word) for word in ("Some", "one", "four", "seven", "eleven", "```\n\nMore", "More", "```\none")
    }
    for size in range(5, 12):
        assert {one.start for one in split(text, size)} <= starts


def test_a_table_that_fits_is_whole_and_else_is_cut_between_rows():
    table = "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |"
    assert cut(f"One two three four.\n\n{table}\n\nFive six seven.", 18) == [
        "One two three four.",
        f"{table}",
        "Five six seven.",
    ]
    assert cut(table, 12) == ["| a | b |\n|---|---|\n| 1 | 2 |", "| 3 | 4 |"]


def test_code_has_no_sentences():
    assert sentence_starts("One. Two.\n```\na. B. C\nd\n```\nThree") == [5, 10, 14, 22, 24, 28]


lines = st.lists(st.sampled_from(["x = 1", "# note.", "", "print(x). End", "| a | b |", "---", "## Two"]), max_size=6)
fences = st.tuples(st.sampled_from(["```", "~~~~", "````"]), lines).map(lambda f: "\n".join([f[0], *f[1], f[0]]))


@given(st.lists(st.tuples(paragraphs, fences), min_size=1, max_size=5), st.integers(30, 60), st.integers(0, 15))
def test_any_fence_that_fits_is_whole_in_some_passage_and_cut_in_none(parts, size, overlap):
    text, spans = "", []
    for prose, fence in parts:
        text += f"{prose}\n\n"
        spans.append((len(text), len(text) + len(fence)))
        text += f"{fence}\n\n"
    passages = split(text, size, overlap)
    for start, end in spans:
        assert any(one.start <= start and end <= one.end for one in passages)
        assert not any(start < edge < end for one in passages for edge in (one.start, one.end))


# ---- leftovers -------------------------------------------------------------------------------------------------


def test_a_leftover_joins_its_neighbor():
    text = "word " * 80 + "🤫 ///"
    assert [len(one.split()) for one in cut(text, 80)] == [71, 11]
    assert min(len(one) for one in cut(f"{text}\n\n# Next\n\n{text}", 80)) > 20
    assert [len(one) for one in cut("a" * 25, 10)] == [25]
    assert cut("🤫 ///\n\n# Title\n\none\n\n## Two\n\nthree", 80) == ["🤫 ///\n\n# Title\n\none", "## Two\n\nthree"]
    assert cut("Intro.\n\n# Title\n\none", 80) == ["Intro.", "# Title\n\none"]
    assert cut("🤫 ///", 80) == ["🤫 ///"]


@given(
    st.lists(st.sampled_from(["alpha", "be", "🤫", "///", "gamma.", "\n\n"]), min_size=1, max_size=300),
    st.integers(16, 60),
)
def test_the_end_of_a_text_is_not_much_shorter_than_what_is_before(pieces, size):
    text = re.sub(r"\s*\n\s*", "\n\n", " ".join(pieces))
    [*before, last] = split(f"Start {text}", size)
    assert all(len(last.text) >= len(one.text) // 8 - 1 for one in before[-1:])


# ---- the path of headings is embedded --------------------------------------------------------------------------


def test_what_is_embedded_has_the_path_in_front():
    text = "# Install\n\n## On Linux\n\n" + "Run it as root. " * 12
    splitter = Splitter(24, 0, "words")
    passages = splitter.split(Document("d", text))
    assert [splitter.embedded_text(one) for one in passages] == [f"Install\nOn Linux\n\n{one.text}" for one in passages]
    assert all(one.text == text[one.start : one.end] for one in passages)
    assert len(passages) > 2
    plain = Splitter(24, 0, "words", headings=False)
    assert all(plain.embedded_text(one) == one.text for one in plain.split(Document("d", text)))


def test_of_a_long_path_the_innermost_headings_are_embedded():
    text = "# A title that is rather long\n\n## Second level\n\n### Third\n\nOne two three four five six."
    splitter = Splitter(16, 0, "words")
    [*_, last] = splitter.split(Document("d", text))
    assert last.headings == ("A title that is rather long", "Second level", "Third")
    assert splitter.embedded_text(last) == f"Second level\nThird\n\n{last.text}"
    assert Splitter(3, 0, "words").embedded_text(last) == last.text


# ---- time ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part",
    [
        "## Heading\n\nThe bike is rented. It is serviced here.\n\n",
        "```\n# a = 1\nb = 2\n```\n\nThe bike is rented. It is serviced here.\n\n",
        "```\n" + "The bike is rented here. " * 3 + "\n",  # never closed, or closed by the next
        "| a | b |\n|---|---|\n| 1 | 2 |\n",
        "क्षत्रिय 👩\u200d👩\u200d👧 है। ",
        "🇩🇪" * 10,
        "x" * 40,
        "a\n===\n",
    ],
)
@pytest.mark.parametrize("headings", [True, False])
def test_the_work_grows_with_the_text_and_not_faster(part, headings):
    def work(copies):
        read = 0

        def counting(text):
            nonlocal read
            read += len(text) + 50  # each call costs something too
            return [word.span() for word in re.finditer(r"\w+|[^\w\s]", text)]

        text = part * copies
        Splitter(64, 8, headings=headings).split(Document("d", text), counting, 64)
        return read / len(text)

    assert work(800) < 1.5 * work(100) < 30
