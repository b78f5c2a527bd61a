"""What notebooks show of results: cards that anyone can read, and that no document can break out of."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from showing import read, without_styles, words_of

from ragknn import (
    Context,
    Document,
    Failure,
    IndexInfo,
    IngestReport,
    Neighbor,
    Note,
    Passage,
    Retrieval,
    Scores,
    Setting,
    Source,
    Tuning,
    Vote,
)
from ragknn.evaluation import Comparison, Estimate, Latency, RecallPoint, RecallScan

HOSTILE = (
    "<script>alert(1)</script>",
    "</div></div><h1>",
    "<img src=x onerror=alert(1)>",
    "<a href='javascript:alert(1)'>",
    "[click](javascript:alert(1))",
    "![](http://tracker.example/a.png)",
    "<http://tracker.example>",
    '" onmouseover="alert(1)',
    "' style='position:fixed",
    "&lt;script&gt;",
    "<!-- ",
    "<![CDATA[",
    "<?php",
    "<style>*{display:none}",
    "<svg><script>alert(1)</script>",
    "```\n</pre><script>\n```",
    "| <b> | <i> |\n|---|---|\n| <u> | x |",
    "\x00\x1b[31m\x9b",
    "\ud800 \udfff",
    "\u202eabc\u2066",
    "${x} {{x}} $$x$$",
)
texts = st.sampled_from(HOSTILE) | st.text(st.characters(), max_size=30)
names = texts | st.sampled_from(["a.md", "a.txt", "a.csv"])
numbers = st.floats(allow_nan=True) | st.floats(0, 2)
labels = st.none() | texts | st.integers() | st.booleans() | st.floats(allow_nan=False)
metadata = st.dictionaries(texts, texts | numbers | st.none() | st.lists(texts, max_size=2), max_size=2)
passages = st.builds(
    *(Passage, texts, names, texts, st.integers(), st.integers(), labels, metadata),
    page=st.none() | st.integers(),
    headings=st.lists(texts, max_size=2).map(tuple),
)
ranks = st.none() | st.integers(1)
neighbors = st.builds(
    *(Neighbor, passages, numbers, st.none() | numbers, ranks, ranks), metric=st.sampled_from(["cosine", "ip", "l2"])
)
warnings = st.lists(texts, max_size=2).map(tuple)
retrievals = st.builds(
    *(Retrieval, st.lists(neighbors, max_size=3)),
    **{"query": st.none() | texts, "complete": st.booleans(), "warnings": warnings},
)
votes = st.lists(st.tuples(neighbors, st.floats(0, 1)), max_size=7).flatmap(
    lambda pairs: st.builds(
        *(Vote, labels, st.dictionaries(texts | st.floats(allow_nan=False), st.floats(0, 1), max_size=10)),
        *(st.just(tuple(one for one, _ in pairs)), st.just(tuple(weight for _, weight in pairs))),
        *(st.booleans(), texts, st.booleans(), warnings),
    )
)
documents = st.builds(Document, texts.filter(bool), texts, labels, metadata)
failures = st.lists(st.builds(Failure, texts, texts), max_size=12).map(tuple)
counts = st.integers(0, 10**9)
reports = st.builds(
    *(IngestReport, counts, counts, counts, counts, counts, failures, counts, counts, failures),
    notes=st.lists(st.builds(Note, st.sampled_from(["passed over", "partial"]), texts, texts), max_size=2).map(tuple),
    dry_run=st.booleans(),
    seconds=st.floats(0, 1e6),
)
infos = st.builds(
    *(IndexInfo, texts, counts, counts, texts, counts, texts, texts, texts, st.dictionaries(texts, texts)),
    *(counts, st.floats(0, 1), counts, texts, texts),
)
sources = st.builds(Source, counts, names, counts, counts, texts, labels, metadata, st.just(()), numbers)
contexts = st.builds(Context, texts, st.lists(sources, max_size=2).map(tuple), ranks, warnings, warnings)
settings = st.lists(st.builds(Setting, st.integers(1, 3), texts, numbers), min_size=1, max_size=3, unique_by=repr)
tunings = st.builds(Tuning, texts, texts, counts, settings.map(tuple))
estimates = st.builds(Estimate, numbers, numbers, numbers)
comparisons = st.builds(Comparison, texts, texts, texts, estimates, numbers, counts, counts, counts)
points = st.builds(RecallPoint, ranks, numbers, st.builds(Latency, numbers, numbers, numbers, counts))
scans = st.builds(
    RecallScan, texts, st.sampled_from(["flat", "hnsw"]), counts, counts, counts, numbers, st.tuples(points, points)
)
pairs = st.tuples(st.tuples(labels.filter(lambda label: label is not None), labels), st.integers(1, 9))
scores = st.builds(
    *(Scores, counts, numbers, st.none() | numbers, st.none() | numbers, st.none() | numbers, st.none() | numbers),
    confusion=st.lists(pairs, max_size=12).map(tuple),
)


@given(retrievals | passages | neighbors | documents | contexts | votes)
def test_no_text_breaks_out_of_its_card(record):
    read(record._repr_html_())


@given(reports | infos | tunings | comparisons | scans | scores)
def test_no_name_and_no_figure_breaks_out_of_its_table(record):
    read(record._repr_html_())


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_texts_are_shown_as_they_are_wherever_they_stand(hostile):
    passage = Passage(hostile, f"{hostile}.txt", hostile, 0, 9, hostile, {hostile: hostile}, headings=(hostile,))
    for record in (
        Retrieval([Neighbor(passage, 0.5)], query=hostile, warnings=[hostile]),
        Vote(hostile, {hostile: 1.0}, (Neighbor(passage, 0.5),), (1.0,), warnings=(hostile,)),
    ):
        seen = "".join(words_of(record._repr_html_()))
        shown = re.sub("[\x00\x1b\x9b\ud800\udfff]", "\ufffd", hostile)
        assert re.sub(r"\s", "", seen).count(re.sub(r"\s", "", shown)) >= 4


# ---- texts -----------------------------------------------------------------------------------------------------


def card_of(text, query=None, document_id="a.md", **more):
    passage = Passage(f"{document_id}#0", document_id, text, 0, len(text), **more)
    return Retrieval([Neighbor(passage, 0.25)], query=query)._repr_html_()


def letters(text):
    return re.sub(r"\s|…", "", text)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=2_000), st.text(max_size=20))
@example("word " * 400, "word")
def test_a_long_text_is_folded_and_nothing_of_it_is_lost(text, query):
    words = [word for word in read(card_of(text, query, "a.txt")).words if "more characters" not in word]
    assert letters(text) in letters("".join(words))


def test_markdown_is_shown_without_its_marks():
    words = words_of(card_of("# Title\n\nSome **bold** and `code` [link](page.md).\n\n- one\n- two\n"))
    assert words[4:] == ["distance 0.2500", "Title", "Some bold and code link.", "•", "one", "•", "two"]


def test_the_words_of_the_query_are_marked_and_no_others():
    reader = read(card_of("# Reset\n\nYou can reset the password. Press it.", "How do I reset my password?"))
    assert reader.marked == ["Reset", "reset", "password"]
    assert read(card_of("You can reset it.")).marked == []


def test_the_words_of_the_query_are_marked_in_the_folded_part_too():
    text = "Plain text without it. " * 40 + "Then the password comes."
    html = card_of(text, "password", "a.txt")
    assert read(html).marked == ["password"]
    assert html.index("<details") < html.index("<mark")
    assert any(words.endswith("more characters, with words of the query") for words in words_of(html))


def test_a_short_text_is_not_folded_and_a_little_more_is_shown_rather_than_folded():
    assert "<details" not in card_of("word " * 80)
    assert "<details" not in card_of("word " * 105)
    assert "<details" in card_of("word " * 150)


def test_a_block_is_not_begun_where_only_a_few_words_of_it_would_be_shown():
    words = words_of(card_of("First. " * 57 + "\n\n" + "Second. " * 60, document_id="a.txt"))
    first, more, second = words[-3:]
    assert first.startswith("First.")
    assert more.endswith("more characters")
    assert second.startswith("Second.")


def test_of_a_very_long_text_the_end_is_not_shown():
    words = words_of(Document("a.txt", "word " * 10_000)._repr_html_())
    assert words[-1] == "30,000 characters more are not shown"


def test_of_many_neighbors_the_first_are_shown_some_folded_and_the_others_counted():
    passages = [Passage(f"{n}#0", f"d{n}", "text", 0, 4) for n in range(200)]
    html = Retrieval([Neighbor(one, 0.5) for one in passages])._repr_html_()
    words = words_of(html)
    assert html.index(">d9<") < html.index("190 more") < html.index(">d10<") < html.index(">d49<")
    assert "d50" not in words
    assert words[-1] == "150 more are not shown"
    assert "more" not in Retrieval([Neighbor(one, 0.5) for one in passages[:10]])._repr_html_()


# ---- places and figures ----------------------------------------------------------------------------------------


def test_a_card_says_where_the_passage_stands():
    html = card_of(
        "Text", label="billing", page=3, headings=("Money", "Refunds"), metadata={"tags": ["a", "b"], "n": 1}
    )
    assert words_of(html) == [
        *("ready vector", "1 neighbor", "1", "a.md", "page 3 · Money › Refunds", "billing", "distance 0.2500"),
        *("Text", "tags: a, b · n: 1"),
    ]
    assert 'title="characters 0 to 4"' in html


def test_what_the_id_of_a_document_tells_is_not_told_again():
    metadata = {"path": "a.md", "folder": "", "suffix": ".md", "year": 2020}
    assert words_of(card_of("Text", metadata=metadata))[-1] == "year: 2020"
    elsewhere = {**metadata, "path": "b.md"}
    assert words_of(card_of("Text", metadata=elsewhere))[-1].startswith("path: b.md")


def test_a_heading_that_the_text_begins_with_is_not_said_twice():
    assert "Money" in words_of(card_of("# Refunds\n\nText", headings=("Money", "Refunds")))


@pytest.mark.parametrize(
    ("neighbor", "figures", "width"),
    [
        ({"distance": 0.25}, ["distance 0.2500"], "75%"),
        ({"distance": 1.5}, ["distance 1.5000"], "0%"),
        ({"distance": 3.0, "metric": "l2"}, ["distance 3.0000"], "25%"),
        ({"distance": float("nan"), "score": 2.0}, ["score 2.0000"], "50%"),
        (
            {"distance": 0.5, "score": 4.0, "vector_rank": 1},
            ["vector rank 1 · distance 0.5000", "score 4.0000"],
            "100%",
        ),
        ({"distance": 0.5, "score": -1.0}, ["distance 0.5000", "score -1.0000"], "0%"),
        ({"distance": float("nan")}, [], None),
    ],
)
def test_the_bar_is_longer_where_a_neighbor_is_better(neighbor, figures, width):
    passage = Passage("a#0", "a", "text", 0, 4)
    best = Neighbor(passage, 0.5, score=4.0) if "score" in neighbor else Neighbor(passage, 0.0)
    html = Retrieval([Neighbor(passage, **neighbor), best])._repr_html_()
    first = html.split("text", 2)[0] if width is None else html
    assert words_of(html)[4 : 4 + len(figures)] == figures
    assert re.findall(r"display:block;width:(\d+%)", first)[:1] == ([width] if width else [])


def test_a_vote_shows_its_shares_and_the_first_of_many_votes():
    found = tuple(Neighbor(Passage(f"{n}#0", f"{n}", "text", 0, 4, "ab"[n > 4]), n / 10) for n in range(8))
    html = Vote("a", {"a": 0.625, "b": 0.375}, found, (0.125,) * 8)._repr_html_()
    assert words_of(html)[:6] == ["a", "a", "62%", "b", "38%", "8 votes"]
    assert "3 more" in words_of(html)
    many = Vote(0, dict.fromkeys(range(20), 0.05), (), ())._repr_html_()
    assert "and 12 with smaller shares" in words_of(many)


def test_a_report_counts_in_one_line_and_folds_many_failures():
    failed = tuple(Failure(f"f{n}", "expected text, got none") for n in range(12))
    words = words_of(IngestReport(added=1200, failed=failed, passages=3, seconds=0.25)._repr_html_())
    assert words[:4] == ["1,200", "added", "0", "updated"]
    assert "3 passages in 0.2 s" in words
    assert "failed: 12" in words
    assert "2 more" in words
    assert "dry run, nothing written" in words_of(IngestReport(dry_run=True)._repr_html_())
    assert "skipped" not in words


def test_what_reading_passed_over_is_counted_and_folded():
    notes = tuple(Note("passed over", f"f{n}.bin", "no known format") for n in range(120))
    html = IngestReport(notes=(*notes, Note("empty", "x.txt", "no text")))._repr_html_()
    words = words_of(html)
    assert "passed over: 120, empty: 1" in words
    assert html.index("<details") < html.index("f0.bin")
    assert words[-1] == "21 more are not shown"


def test_an_index_at_a_glance_names_what_matters():
    info = IndexInfo(
        "faq", 2, 1_234, "m", 384, "cosine", "hnsw", "float16", {"year": "numeric"}, 2**20, 1.0, 0, "8.2", ""
    )
    words = words_of(info._repr_html_())
    assert words[:2] == ["faq", "1,234 passages of 2 documents"]
    assert {"384 × float16, cosine, hnsw", "year (numeric)", "1.0 MB of search index", "Redis 8.2"} <= {*words}


def test_numbers_stand_to_the_right_below_their_heads():
    scan = RecallScan("faq", "hnsw", 10, 5, 100, 0.99, (RecallPoint(10, 0.5, Latency(0.001, 0.002, 0.003, 5)),))
    html = scan._repr_html_()
    sides = re.findall(r"<(th|td) style=\"text-align:(\w+)", html)
    assert [side for kind, side in sides if kind == "th"] == [side for kind, side in sides if kind == "td"]
    assert {side for _, side in sides} == {"right"}
    assert "<th>ef_runtime</th>" in without_styles(html)


def test_nothing_that_is_shown_loads_anything():
    html = card_of("![picture](http://example.org/a.png) <http://example.org>", "picture")
    assert not re.search(r"(src|href|url\()", without_styles(html))
