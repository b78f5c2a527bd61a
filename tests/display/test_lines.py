"""Results as lines of text: whoever prints one sees data as data."""

import math

from hypothesis import example, given
from hypothesis import strategies as st

from ragknn import Context, Failure, IngestReport, Neighbor, Note, Passage, Retrieval, Source, Vote
from ragknn._display.inert import visible


@given(st.text(max_size=8))
@example("\x1b[31mred\x1b]0;title\x07\u202e\x9b")
def test_no_line_holds_what_a_terminal_would_obey(hostile):
    neighbor = Neighbor(Passage(hostile, hostile, hostile, 0, len(hostile), hostile), 0.5)
    failure, note = Failure(hostile, hostile), Note("changed", hostile, hostile)
    source = Source(1, hostile, 0, len(hostile), hostile, hostile, {}, (), 0.5)
    for record in (
        Retrieval([neighbor], query=hostile),
        Vote(hostile, {hostile: 1.0}, (neighbor,), (1.0,), True, hostile),
        Context(hostile, (source,)),
        IngestReport(failed=(failure,), left_out=(failure,), notes=(note,)),
        failure,
        note,
    ):
        assert visible(repr(record)) == repr(record)
        if not isinstance(record, Context):  # of which the text is what a model reads
            assert visible(str(record)) == str(record)


def test_where_there_is_no_distance_none_is_shown():
    neighbor = Neighbor(Passage("a#0", "a", "text", 0, 4, "label"), math.nan, score=1.5, text_rank=1)
    for record in (Retrieval([neighbor], query="text"), Vote("label", {"label": 1.0}, (neighbor,), (1.0,))):
        assert "nan" not in repr(record)
        assert "distance" not in record._repr_html_()
