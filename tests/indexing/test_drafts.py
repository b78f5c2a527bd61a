"""What decides whether a document has changed."""

import json
import re
from dataclasses import replace
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragknn import Document, Splitter
from ragknn._protocol.schema import Schema
from ragknn.indexing._drafts import drafting_documents
from ragknn.text._folding import fold


def framed(*parts):
    """Return the digest of texts, each behind its length: what the text hash of a document has always been."""
    encoded = [part.encode() for part in parts]
    return blake2b(b"".join(len(part).to_bytes(8, "big") + part for part in encoded), digest_size=16).hexdigest()


UNICODE = st.text(st.characters(exclude_categories=["Cs"]))  # all but lone surrogates, which UTF-8 cannot hold
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
SCHEMA = Schema(embedder="e", dim=2)
CUT = Splitter()


def hashes_of(document, splitter):
    """Return the hash of the text and that of label and metadata."""
    draft = drafting_documents(SCHEMA, splitter, lambda document: [])(document, "fail")
    return draft.text_hash, draft.details_hash


DOCUMENT = Document("a", "Some text.", "x", {"year": 2020, "tags": ["u", "v"]})


@given(IDS, UNICODE, st.one_of(st.none(), UNICODE), st.dictionaries(UNICODE, UNICODE | st.integers() | st.floats(0, 1)))
def test_what_was_stored_before_is_known_again(document_id, text, label, metadata):
    folding = ["folded 1"] if fold(text) != text else []
    dumped = json.dumps(metadata, ensure_ascii=False, sort_keys=True)
    tag = "" if label is None else json.dumps(label, ensure_ascii=False).replace("%", "%25").replace("\\", "%5C")
    assert hashes_of(Document(document_id, text, label, metadata), CUT) == (
        framed("document", document_id, text, CUT.fingerprint, *folding),
        framed(tag, dumped),
    )


@pytest.mark.parametrize("other", [replace(DOCUMENT, id="b"), replace(DOCUMENT, text="Some text. ")])
def test_another_id_or_text_is_another_text_hash(other):
    assert hashes_of(other, CUT)[0] != hashes_of(DOCUMENT, CUT)[0]
    assert hashes_of(other, CUT)[1] == hashes_of(DOCUMENT, CUT)[1]


@pytest.mark.parametrize(
    "other",
    [
        replace(DOCUMENT, label="y"),
        replace(DOCUMENT, label=None),
        replace(DOCUMENT, metadata={"year": 2021, "tags": ["u", "v"]}),
        replace(DOCUMENT, metadata={"year": 2020, "tags": ["v", "u"]}),
        replace(DOCUMENT, metadata={}),
    ],
)
def test_another_label_or_metadata_is_another_hash_of_the_details_alone(other):
    assert hashes_of(other, CUT)[0] == hashes_of(DOCUMENT, CUT)[0]
    assert hashes_of(other, CUT)[1] != hashes_of(DOCUMENT, CUT)[1]


def test_another_splitter_is_another_text_hash():
    assert hashes_of(DOCUMENT, Splitter(size=7))[0] != hashes_of(DOCUMENT, CUT)[0]


def test_labels_of_different_types_apart():
    labels = ["1", 1, 1.0, True, "true", None, "null", "None", '"1"']
    assert len({hashes_of(replace(DOCUMENT, label=label), CUT) for label in labels}) == len(labels)


def test_hashes_do_not_change_with_the_order_of_the_metadata():
    same = replace(DOCUMENT, metadata={"tags": ("u", "v"), "year": np.int64(2020)})
    assert hashes_of(same, CUT) == hashes_of(DOCUMENT, CUT)
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in hashes_of(same, CUT))


@given(IDS, UNICODE, IDS, UNICODE)
def test_different_documents_have_different_hashes_ofes(id_1, text_1, id_2, text_2):
    hashes = hashes_of(Document(id_1, text_1), CUT), hashes_of(Document(id_2, text_2), CUT)
    assert (hashes[0] == hashes[1]) == ((id_1, text_1) == (id_2, text_2))


@pytest.mark.parametrize(
    "document",
    [
        Document("a\ud800", "x"),
        Document("a", "x\udfff"),
        Document("a", "x", "\ud800"),
        Document("a", "x", None, {"k": "\ud800"}),
        Document("a", "x", None, {"\ud800": 1}),
    ],
)
def test_a_lone_surrogate_anywhere_is_an_error_before_anything_is_sent(document):
    with pytest.raises(ValueError, match="expected text that UTF-8 can hold, got a lone surrogate"):
        hashes_of(document, CUT)


@pytest.mark.parametrize("document", [Document("x" * 4_095, "x"), Document("a", "x", "x" * 4_095)])
def test_an_id_or_label_that_the_server_could_not_find_again_is_refused(document):
    with pytest.raises(ValueError, match="expected a document id, label or tag of at most 4096 bytes, got 4097"):
        hashes_of(document, CUT)
