"""Records as cards in a notebook."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ragknn._display.html import LINE, MUTED, Html, bar, card, chip, element, folded, notes, row, sheet, span, table
from ragknn._display.lines import brief, label_text
from ragknn._display.prose import headline, prose

if TYPE_CHECKING:
    from ragknn.records import Document, Neighbor, Passage, Retrieval, Vote
    from ragknn.reports import CheckReport, Failure, IndexInfo, IngestReport, Note

SHOWN_CLASSES = 8
SHOWN_FAILURES = 10
SHOWN_CARDS, SHOWN_VOTERS = 10, 5
MOST_NOTES = 100
MOST_CARDS = 50  # more would make a notebook slow; the records have them all
VOTER_CHARACTERS = 160
METADATA_CHARACTERS = 160


def retrieval_html(retrieval: Retrieval) -> str:
    """Return a retrieval as a card for each neighbor, below its query."""
    query = "ready vector" if retrieval.query is None else retrieval.query
    counted = f"{len(retrieval)} neighbor{'s' * (len(retrieval) != 1)}"
    title = row(span(query, style="font-weight:600;font-size:1.1em"), span(counted, style=MUTED))
    best = max((one.score for one in retrieval if one.score is not None and math.isfinite(one.score)), default=0.0)
    shown = enumerate(retrieval.neighbors[:MOST_CARDS], start=1)
    cards = [neighbor_card(one, rank, retrieval.query, best) for rank, one in shown]
    return sheet(
        title,
        folded_list(cards, SHOWN_CARDS, len(retrieval)),
        notes(retrieval.warnings, "note" if retrieval.complete else "incomplete"),
    )


def neighbor_html(neighbor: Neighbor) -> str:
    """Return a neighbor as a card."""
    return sheet(neighbor_card(neighbor, None, None, neighbor.score or 0.0))


def neighbor_card(neighbor: Neighbor, rank: int | None, query: str | None, best: float) -> Html:
    """Return a neighbor as a card.

    Args:
        neighbor: passage and distance.
        rank: its rank, from 1.
        query: whose words are marked.
        best: the score whose bar is full.
    """
    return passage_card(neighbor.passage, _number(rank), _figures(neighbor, best), query)


def passage_html(passage: Passage) -> str:
    """Return a passage as a card."""
    return sheet(passage_card(passage, "", "", None))


def passage_card(passage: Passage, number: object, figures: object, query: str | None) -> Html:
    """Return a passage as a card: number, place, label and figures in the first line, the text below."""
    place = _place(passage.document_id, f"characters {passage.start} to {passage.end}")
    path = _path(passage)
    label = "" if passage.label is None else chip(label_text(passage.label))
    head = row(number, place, path, label, figures)
    return card(head, prose(passage.text, passage.document_id, query), _metadata(passage.metadata, passage.document_id))


def document_html(document: Document) -> str:
    """Return a document as a card."""
    label = "" if document.label is None else chip(label_text(document.label))
    size = span(f"{len(document.text):,} characters", style=f"margin-left:auto;{MUTED}")
    head = row(_place(document.id, ""), label, size)
    return sheet(card(head, prose(document.text, document.id), _metadata(document.metadata, document.id)))


def excerpt_card(number: str, document_id: str, start: int, end: int, label: Any, distance: float, text: str) -> Html:
    """Return an excerpt of a document as a card."""
    figures = "" if math.isnan(distance) else span(f"distance {distance:.4f}", style=f"margin-left:auto;{MUTED}")
    shown_label = "" if label is None else chip(label_text(label))
    head = row(_number(number), _place(document_id, f"characters {start} to {end}"), shown_label, figures)
    return card(head, prose(text, document_id))


def vote_html(vote: Vote) -> str:
    """Return a vote: the label, the shares of all labels as bars, and a card for each neighbor that voted."""
    word = "abstained" if vote.abstained else label_text(vote.label)
    reason = span(vote.reason, style=MUTED) if vote.reason else ""
    head = row(span(word, style="font-weight:600;font-size:1.15em"), reason)
    shares = list(vote.shares.items())
    bars = table(
        None,
        ("", "", ""),
        ((label_text(label), bar(share), f"{share:.0%}") for label, share in shares[:SHOWN_CLASSES]),
    )
    hidden = len(shares) - SHOWN_CLASSES
    more = span(f"and {hidden} with smaller shares", style=MUTED) if hidden > 0 else ""
    heaviest = max(vote.weights, default=0.0)
    pairs = list(zip(vote.neighbors, vote.weights, strict=True))
    voters = [_voter(one, weight, heaviest) for one, weight in pairs[:MOST_CARDS]]
    counted = _line(f"{len(pairs)} vote{'s' * (len(pairs) != 1)}")
    told = notes(vote.warnings, "note" if vote.complete else "incomplete")
    return sheet(head, bars if shares else "", more, counted, folded_list(voters, SHOWN_VOTERS, len(pairs)), told)


def _voter(neighbor: Neighbor, weight: float, heaviest: float) -> Html:
    passage = neighbor.passage
    figures = row(
        bar(weight / heaviest if heaviest > 0 else 0.0),
        span(f"weight {weight:.2f}", title="its part of all weights"),
        "" if math.isnan(neighbor.distance) else span(f"distance {neighbor.distance:.4f}", style=MUTED),
        style="margin-left:auto",
    )
    head = row(chip(label_text(passage.label)), _place(passage.document_id, ""), figures)
    return card(head, prose(passage.text, passage.document_id, shown=VOTER_CHARACTERS))


def report_html(report: IngestReport) -> str:
    """Return a report: the counts in one line, and what failed or was left out below."""
    counts = {
        "added": report.added,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "deleted": report.deleted,
        "skipped": report.skipped,
        "failed": len(report.failed),
    }
    always = ("added", "updated", "unchanged", "deleted", "failed")
    shown = [(name, count) for name, count in counts.items() if count or name in always]
    figures = (
        span(element("b", f"{count:,}"), f" {name}", style="" if count else MUTED, title="documents")
        for name, count in shown
    )
    end = span(f"{report.passages:,} passages in {report.seconds:.1f} s", style=f"margin-left:auto;{MUTED}")
    dry = element("b", "dry run, nothing written") if report.dry_run else ""
    kept = (
        [f"{report.kept} documents missing from the input were kept, since not all of it could be read"]
        if report.kept
        else []
    )
    why = f"updated for {report.why_updated}" if report.why_updated else ""
    told = [_line(one) for one in (why, report.how_verified) if one]
    failures = _failures("failed", report.failed), _failures("left out", report.left_out)
    return sheet(card(row(dry, *figures, end), *told, notes(kept), *failures, _notes(report.notes)))


def _failures(what: str, failures: Sequence[Failure]) -> Html:
    lines = [_line_about(one.source, one.reason) for one in failures[:MOST_NOTES]]
    if not lines:
        return Html("")
    return Html(_line(f"{what}: {len(failures)}") + folded_list(lines, SHOWN_FAILURES, len(failures)))


def _notes(told: Sequence[Note]) -> Html:
    if not told:
        return Html("")
    counts = Counter(one.kind for one in told)
    lines = [_line_about(f"{one.kind}: {one.source}", one.reason) for one in told[:MOST_NOTES]]
    left_out = notes([f"{len(told) - MOST_NOTES:,} more are not shown"]) if len(told) > MOST_NOTES else ""
    return folded(", ".join(f"{kind}: {count:,}" for kind, count in counts.items()), *lines, left_out)


def _line_about(source: str, reason: str) -> Html:
    return element("div", span(source, style="font-weight:600"), ": ", reason, style="margin:.2em 0")


def folded_list(items: Sequence[Html], shown: int, total: int) -> Html:
    """Return the first items, and the rest folded.

    Args:
        items: of a very long list the first.
        shown: number of items that are not folded.
        total: number of items of the whole list.
    """
    left_out = notes([f"{total - len(items):,} more are not shown"]) if total > len(items) else ""
    rest = folded(f"{total - shown:,} more", *items[shown:], left_out) if total > shown else ""
    return Html("".join([*items[:shown], rest]))


def _line(words: str) -> Html:
    return element("div", words, style=f"{MUTED};margin-top:.4em")


def info_html(info: IndexInfo) -> str:
    """Return an index at a glance as a card of facts."""
    counted = (
        f"not counted without a filter on {info.required_filter!r}"
        if info.passages is None
        else f"{info.passages:,} passages of {info.documents:,} documents"
    )
    head = row(span(info.name, style="font-weight:600;font-size:1.1em"), span(counted, style=MUTED))
    facts = {
        "embedder": info.embedder,
        "vectors": f"{info.dim} × {info.dtype}, {info.metric}, {info.algorithm}",
        "storage": info.storage or "unknown",
        "splitter": ", ".join(f"{name} {value}" for name, value in info.splitter.items()) or "none",
        "words": ", ".join(f"{name} {value}" for name, value in info.words.items()) or "not indexed",
        "fields": ", ".join(f"{name} ({kind})" for name, kind in info.fields.items()) or "none",
        "memory": "not told" if info.memory_bytes is None else f"{info.memory_bytes / 2**20:,.1f} MB of search index",
        "searchable": f"{info.percent_indexed:.0%}",
        "server": f"Redis {info.redis_version}"
        + (f" with search {info.search_version}" if info.search_version else ""),
    }
    if info.measured_recall:
        facts["recall"] = "; ".join(f"{k}: {found}" for k, found in info.measured_recall.items())
    if info.indexing_failures:
        facts["not indexed"] = f"{info.indexing_failures:,} passages that the server could not index"
    return sheet(card(head, facts_table(facts)))


def check_html(report: CheckReport) -> str:
    """Return what a look at every document has shown as a card of what is wrong."""
    head = row(span(report.name, style="font-weight:600;font-size:1.1em"), span(report.head, style=MUTED))
    return sheet(card(head, facts_table(dict(report.lines)) if report.lines else ""))


def facts_table(facts: Mapping[str, object]) -> Html:
    """Return names and values as two columns."""
    return table(None, ("", ""), ((span(name, style=MUTED), value) for name, value in facts.items()))


# ---- parts of a card -------------------------------------------------------------------------------------------


def _number(number: object) -> Html:
    return Html("") if number is None else span(number, style=f"{MUTED};font-weight:600;min-width:1.2em")


def _place(document_id: str, title: str) -> Html:
    return span(document_id, style="font-weight:600;overflow-wrap:anywhere", title=title)


def _path(passage: Passage) -> Html:
    page = [] if passage.page is None else [f"page {passage.page}"]
    begins_with = headline(passage.text, passage.document_id)
    headings = [" › ".join(one for one in passage.headings if one != begins_with)]
    path = " · ".join(filter(None, [*page, *headings]))
    return span(brief(path, 120), style=MUTED) if path else Html("")


def _figures(neighbor: Neighbor, best: float) -> Html:
    ranks = {"vector rank": neighbor.vector_rank, "text rank": neighbor.text_rank}
    more = [f"{name} {rank}" for name, rank in ranks.items() if rank is not None]
    distance = [] if math.isnan(neighbor.distance) else [f"distance {neighbor.distance:.4f}"]
    if neighbor.score is None:
        main, hint = distance, "smaller is nearer"
    else:
        main, hint, more = [f"score {neighbor.score:.4f}"], "larger is better", [*more, *distance]
    parts: Iterable[object] = (
        span(" · ".join(more), style=MUTED) if more else "",
        _share_bar(neighbor, best, hint),
        *(span(one, title=hint) for one in main),
    )
    return row(*parts, style="margin-left:auto")


def _share_bar(neighbor: Neighbor, best: float, hint: str) -> Html:
    """Return a bar that is longer where a neighbor is better: its part of the best score, or how near it is."""
    if neighbor.score is None:
        share = 1 - neighbor.distance if neighbor.metric == "cosine" else neighbor.similarity
    else:
        share = neighbor.score / best if best > 0 else math.nan
    return bar(min(max(share, 0.0), 1.0), hint) if math.isfinite(share) else Html("")


def _metadata(metadata: Mapping[str, Any], document_id: str) -> Html:
    # The id of a document in a file begins with the path, and tells all that these do.
    told = ("path", "folder", "suffix") if document_id.startswith(str(metadata.get("path"))) else ()
    rest = {name: value for name, value in metadata.items() if name not in told}
    if not rest:
        return Html("")
    entries = " · ".join(f"{name}: {brief(_plain_value(value), 60)}" for name, value in rest.items())
    line = f"{MUTED};font-size:.85em;border-top:1px solid {LINE};margin-top:.4em;padding-top:.25em"
    return element("div", span(brief(entries, METADATA_CHARACTERS), style="overflow-wrap:anywhere"), style=line)


def _plain_value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
