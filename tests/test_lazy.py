"""A record that is read out of a source when somebody looks is like one made of its values."""

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, fields, replace
from itertools import repeat

import pytest

from ragknn import Neighbor, Passage
from ragknn._protocol.keys import Keys
from ragknn._protocol.layout import found_passages, passage_of

STORED = {
    b"text": "Ünïcode and 中文".encode(),
    b"start": b"3",
    b"end": b"16",
    b"label": b'"a \xc3\xa9 %25 b"',
    b"metadata": b'{"year": 2020, "tags": ["x"]}',
    b"digest": b"0011",
    b"at:page": b"7",
    b"at:headings": b'["Top", "Below"]',
}
KEY = "ragknn:name:p:{a%25b/é}:12".encode()
EAGER = Passage(
    *("a%b/é#12", "a%b/é", "Ünïcode and 中文", 3, 16, "a é % b", {"year": 2020, "tags": ["x"]}, "0011", 12),
    page=7,
    headings=("Top", "Below"),
)


def lazy(fields=STORED):
    [passage] = found_passages(Keys("name"), [(KEY, fields)])
    return passage


@pytest.mark.parametrize("name", [field.name for field in fields(Passage)])
def test_each_field_is_read_at_its_first_use(name):
    assert getattr(lazy(), name) == getattr(EAGER, name)


def test_it_is_like_a_passage_that_was_made_of_its_values():
    assert lazy() == EAGER
    assert EAGER == lazy()
    assert lazy() != replace(EAGER, page=8)
    assert repr(lazy()) == repr(EAGER)
    assert asdict(lazy()) == asdict(EAGER)
    assert lazy().to_dict() == EAGER.to_dict()
    assert replace(lazy(), text="other") == replace(EAGER, text="other")
    for made in (pickle.loads(pickle.dumps(lazy())), copy.copy(lazy()), copy.deepcopy(lazy())):
        assert asdict(made) == asdict(EAGER)


def test_what_is_not_stored_is_empty():
    empty = Passage("a%b/é#12", "a%b/é", "", 0, 0, number=12)
    assert asdict(lazy({})) == asdict(empty) == asdict(passage_of(Keys("name"), KEY.decode(), {}))
    assert lazy({b"id": b'"own"'}).id == "own"


def test_bytes_that_are_no_text_show_as_replacement_characters():
    assert lazy({b"text": b"a\xff"}).text == "a\ufffd"


def test_it_has_no_other_names_and_cannot_be_changed():
    with pytest.raises(AttributeError, match="'Passage' object has no attribute 'txt'"):
        lazy().txt  # noqa: B018
    assert not hasattr(lazy(), "txt")
    assert not hasattr(Passage.__new__(Passage), "text")
    with pytest.raises(FrozenInstanceError):
        lazy().text = ""


def test_what_was_read_is_kept():
    passage = lazy()
    assert passage.metadata is passage.metadata


def test_many_neighbors_are_made_of_columns():
    made = Neighbor._many([lazy(), EAGER], [0.25, 0.5], repeat(None), [1, None], (None, 2), "l2")
    assert made == [Neighbor(EAGER, 0.25, vector_rank=1), Neighbor(EAGER, 0.5, text_rank=2)]
    assert [one.metric for one in made] == ["l2", "l2"]
    assert pickle.loads(pickle.dumps(made)) == made
    assert Neighbor._many([], [], repeat(None), repeat(None), repeat(None), "ip") == []
