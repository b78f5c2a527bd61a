"""Letters in other shapes are embedded as the letters; what is stored and shown is the text as it came."""

from time import process_time
from timeit import timeit

import numpy as np
import pytest
from embedders import CountingEmbedder
from hypothesis import given
from hypothesis import strategies as st

from ragknn import Document, EmbeddingReranker, FunctionEmbedder, HashingEmbedder, Passage, Splitter
from ragknn.embedding._long_texts import embed_documents, embed_queries
from ragknn.text._folding import fold

TEXT = "The finance office files offers of difficult workflows efficiently in the first fiscal quarter."
QUESTION = "Where does the finance office file difficult offers?"
LIGATURES = [("ffi", "ﬃ"), ("fi", "ﬁ"), ("fl", "ﬂ"), ("ff", "ﬀ")]


def replaced(text, pairs):
    for plain, other in pairs:
        text = text.replace(plain, other)
    return text


def shifted(text, upper, lower):
    def letter(character):
        if not character.isascii() or not character.isalpha():
            return character
        return chr(upper + ord(character) - ord("A") if character.isupper() else lower + ord(character) - ord("a"))

    return "".join(map(letter, text))


SHAPES = {
    "ligatures": lambda text: replaced(text, LIGATURES),
    "full-width": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else "\u3000" for c in text),
    "mathematical bold": lambda text: shifted(text, 0x1D400, 0x1D41A),
    "mathematical monospace": lambda text: shifted(text, 0x1D670, 0x1D68A),
    "circled": lambda text: shifted(text, 0x24B6, 0x24D0),
    "soft hyphens": lambda text: replaced(text, [("nan", "nan\u00ad"), ("ffi", "f\u00adfi"), ("fis", "fis\u00ad\n")]),
    "zero-width": lambda text: replaced(text, [("in", "i\u200bn"), ("ff", "f\u200cf"), ("er", "e\u2060r\ufeff")]),
    "spaces": lambda text: text.replace(" ", "\u00a0", 3).replace(" ", "\u2009"),
    "form feeds": lambda text: text.replace(" ", "\x0c"),
    "long s": lambda text: text.replace("s", "ſ"),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_distance_to_its_question_is_that_of_the_plain_text(sentence_embedder, shape):
    for text, question in ((shape(TEXT), QUESTION), (TEXT, shape(QUESTION)), (shape(TEXT), shape(QUESTION))):
        assert text != TEXT or question != QUESTION
        [plain] = sentence_embedder.embed_documents([TEXT]) @ sentence_embedder.embed_queries([QUESTION]).T
        [found] = sentence_embedder.embed_documents([text]) @ sentence_embedder.embed_queries([question]).T
        assert found == pytest.approx(plain, abs=0.001)


def test_a_plain_text_reaches_the_model_as_it_is(sentence_embedder):
    texts = [TEXT, "x² + H₂O “quoted” – 你好，世界！ 👩‍💻 Съешь ещё", "Café ㅋㅋㅋ"]
    read = []
    model = sentence_embedder._load().model
    hook = model.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]["input_ids"].tolist()))
    try:
        for text in texts:
            sentence_embedder.embed_documents([text])
            sentence_embedder.embed_queries([text])
    finally:
        hook.remove()
    assert read == [[model.tokenizer(text)["input_ids"]] for text in texts for _ in range(2)]


def test_tokens_have_their_places_in_the_text_as_it_came(sentence_embedder):
    text = replaced(TEXT, LIGATURES)
    spans = sentence_embedder.token_spans(text)
    assert [fold(text[start:end]).lower() for start, end in spans if end - start > 3][:4] == [
        "finance",
        "office",
        "files",
        "offers",
    ]
    assert len(spans) == len(sentence_embedder.token_spans(TEXT))


@pytest.mark.parametrize("texts", [[TEXT], [replaced(TEXT, LIGATURES)]])
def test_an_embedder_of_any_kind_reads_folded_texts(texts):
    read = []

    def embed(texts):
        read.extend(texts)
        return np.ones((len(texts), 2))

    for call in (embed_documents, embed_queries):
        call(FunctionEmbedder("tests/f", embed, dim=2), texts)
    assert read == [TEXT, TEXT]


def test_passages_are_stored_and_cut_as_they_came_and_found_as_they_are_meant(faces, redis_url, index_name):
    text = "\n\n".join(replaced(f"{TEXT} Number {number}.", LIGATURES) for number in range(20))
    embedder = CountingEmbedder(64)
    with faces.index(index_name, url=redis_url, embedder=embedder) as index:
        assert faces.indexer(index, Splitter(20)).add([Document("a", text)]).added == 1
        passages = list(index.passages())
        assert [document.text for document in index.documents()] == [text]
        found = faces.retriever(index).retrieve(TEXT, 1)
    assert len(passages) == 20
    assert all(passage.text == text[passage.start : passage.end] for passage in passages)
    assert not any("ﬁ" in read for read in embedder.texts)
    assert "ﬁ" in found.passages[0].text
    assert found.distances[0] < 0.2


@given(st.text(st.sampled_from("".join(shape(TEXT) for shape in SHAPES.values()) + "①ｶﾞ\u0301 \n"), max_size=60))
def test_passages_cover_all_of_a_text_that_is_folded(text):
    embedder = HashingEmbedder(4)
    passages = Splitter(3, 1).split(Document("a", text), embedder.token_spans, 3)
    covered = {place for passage in passages for place in range(passage.start, passage.end)}
    assert all(place in covered for place, character in enumerate(text) if not character.isspace())
    assert all(passage.text == text[passage.start : passage.end] for passage in passages)
    assert [passage.start for passage in passages] == sorted(passage.start for passage in passages)


def test_only_documents_with_such_letters_are_embedded_again(faces, redis_url, index_name, client, monkeypatch):
    """An index of the time before texts were folded: its digests say nothing of folding."""
    documents = [Document("plain", TEXT), Document("ligatures", replaced(TEXT, LIGATURES))]
    ready = [Passage("r0", "ready", replaced(TEXT, LIGATURES), 0, 0), Passage("q0", "quiet", TEXT, 0, 0)]
    with faces.index(index_name, url=redis_url, embedder=CountingEmbedder(64)) as index:
        indexer = faces.indexer(index)
        with monkeypatch.context() as before:
            before.setattr("ragknn.indexing._drafts.fold", lambda text: text)
            before.setattr("ragknn.indexing._recipes.fold", lambda text: text)
            indexer.add(documents)
            indexer.add_passages(ready)
        first = indexer.add(documents)
        second = indexer.add_passages(ready)
        assert first.ids["updated"] == ("ligatures",)
        assert second.ids["updated"] == ("ready",)
        assert indexer.add(documents).unchanged == 2
        assert indexer.add_passages(ready).unchanged == 2


def test_a_document_with_a_lone_surrogate_fails_and_the_others_are_stored(faces, redis_url, index_name):
    documents = [Document("a", TEXT), Document("b", f"{TEXT}\ud83d"), Document("c", TEXT + "!")]
    passages = [Passage("d0", "d", TEXT, 0, 0), Passage("e0", "e", "pear \ud83d", 0, 0)]
    for embedder in (HashingEmbedder(16), FunctionEmbedder("tests/f", HashingEmbedder(16).embed_documents, dim=16)):
        with faces.index(index_name, url=redis_url, embedder=embedder) as index:
            reports = [faces.indexer(index).add(documents), faces.indexer(index).add_passages(passages)]
            texts = [document.text for document in documents]
            reports.append(faces.indexer(index).add_vectors(["a2", "b2", "c2"], np.eye(3, 16), texts=texts))
            assert [report.added for report in reports] == [2, 1, 2]
            failures = [failure for report in reports for failure in report.failed]
            assert [failure.document_id for failure in failures] == ["b", "e", "b2"]
            assert all("got a lone surrogate, U+D83D, which is half" in failure.reason for failure in failures)
            index.drop()


def test_rerankers_read_folded_texts():
    embedder = CountingEmbedder(64)
    scores = EmbeddingReranker(embedder)(QUESTION, [Passage("p", "d", replaced(TEXT, LIGATURES), 0, 0)])
    assert embedder.texts[-1] == TEXT
    assert scores == EmbeddingReranker(HashingEmbedder(64))(QUESTION, [Passage("p", "d", TEXT, 0, 0)])


def test_folding_costs_little_beside_embedding(sentence_embedder):
    """A text with ligatures in every third word, which costs more than a plain one."""
    text = replaced(TEXT, LIGATURES) * 4
    folding = seconds(lambda: fold(text), 20)
    assert folding < seconds(lambda: sentence_embedder.embed_documents([TEXT * 4]), 1) * 20 / 10


def seconds(call, number):
    """Return how long the processor works on so many calls, however busy it is with others."""
    return min(timeit(call, timer=process_time, number=number) for _ in range(3))
