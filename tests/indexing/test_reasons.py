"""Why documents were updated, and what became of all others: each by its id."""

import json
from dataclasses import replace

import numpy as np
import pytest
from commands import run_here
from embedders import CountingEmbedder

from ragknn import Document, Index, Indexer, IngestReport, Passage, Splitter

WORDS = Splitter(size=4, overlap=0, unit="words")
OLD = Document("a", "one two three four five six", "x", {"year": 1, "tags": ["t"]})
SAME = Document("b", "the same as before")


@pytest.fixture
def indexer(faces, redis_url, index_name):
    with faces.index(index_name, url=redis_url, embedder=CountingEmbedder(), fields={"year": "numeric"}) as index:
        indexer = faces.indexer(index, WORDS)
        indexer.add([OLD, SAME])
        yield indexer


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({"text": "one"}, ("text",)),
        ({"label": "y"}, ("label",)),
        ({"label": None}, ("label",)),
        ({"label": 1}, ("label",)),
        ({"metadata": {"year": 2, "tags": ["t"]}}, ("metadata",)),
        ({"metadata": {}}, ("metadata",)),
        ({"label": "y", "metadata": {}}, ("label", "metadata")),
        ({"text": "two", "label": "y"}, ("text", "label")),
        ({"text": "two", "label": "y", "metadata": {}}, ("text", "label", "metadata")),
    ],
)
def test_an_update_tells_what_has_changed(indexer, changes, reasons):
    new = [replace(OLD, **changes), SAME]
    told = indexer.sync(new, dry_run=True)
    report = indexer.sync(new)
    assert report.reasons == told.reasons == {"a": reasons}
    assert report.ids["unchanged"] == ("b",)
    assert str(report).splitlines()[1] == f"  updated for {', '.join(f'{reason}: 1' for reason in reasons)}"
    assert indexer.sync(new).reasons == {}


def test_many_updates_are_told_in_few_words(indexer):
    many = [Document(f"m{number}", f"text {number}") for number in range(300)]
    indexer.add(many)
    changed = [replace(one, label="x", text=one.text + " new" * (n % 3 == 0)) for n, one in enumerate(many)]
    report = indexer.add(changed, batch_size=7)
    assert report.reasons == {one.id: ("text",) * (n % 3 == 0) + ("label",) for n, one in enumerate(many)}
    assert report.why_updated == "label: 300, text: 100"
    assert "updated for label: 300, text: 100" in report._repr_html_()


def test_another_splitter_is_a_reason_of_its_own(faces, indexer):
    other = faces.indexer(indexer.index, Splitter(size=2, overlap=0, unit="words"))
    report = other.sync([replace(OLD, text="now another text"), replace(SAME, label="z")])
    assert report.reasons == {"a": ("text",), "b": ("settings", "label")}
    assert report.why_updated == "text: 1, settings: 1, label: 1"


def test_damage_is_a_reason(indexer, client):
    client.unlink(f"ragknn:{indexer.index.name}:p:{{a}}:1")
    assert indexer.sync([OLD, SAME]).reasons == {"a": ("damaged",)}


def test_of_ready_material_vectors_and_cuts_count_as_text(indexer):
    row = np.arange(1.0, 1 + indexer.index.schema.dim)
    indexer.add_vectors(["v", "w"], [row, row], labels=["x", "x"])
    report = indexer.add_vectors(["v", "w"], [row + 1, row], labels=["x", "y"])
    assert report.reasons == {"v": ("text",), "w": ("label",)}
    parts = [Passage(f"p#{number}", "p", f"part {number}", 0, 0, label="x") for number in range(3)]
    indexer.add_passages(parts)
    assert indexer.add_passages([*parts[:2], replace(parts[2], label="y")]).reasons == {"p": ("label",)}
    assert indexer.add_passages([*parts[:2], replace(parts[2], text="other")]).reasons == {"p": ("text", "label")}
    many = [Passage(f"m#{number}", "m", f"part {number}", 0, 0, label="x") for number in range(1_100)]
    indexer.add_passages(many)
    assert indexer.add_passages([*many[:-1], replace(many[-1], label="y")]).reasons == {"m": ("label",)}


def test_of_several_of_one_id_all_that_changed_counts(indexer):
    new = [replace(OLD, text="two"), replace(OLD, text="two", label="y"), Document("c", "new"), Document("c", "newer")]
    report = indexer.add(new, on_repeated="last", batch_size=1)
    assert (report.ids["added"], report.reasons) == (("c",), {"a": ("text", "label")})


def test_what_others_wrote_is_compared_with_in_its_turn(indexer, redis_url):
    def some():
        yield replace(OLD, metadata={"year": 2})
        with Index(indexer.index.name, url=redis_url, embedder=CountingEmbedder()) as other:
            Indexer(other).add([replace(OLD, text="theirs")])
        yield SAME

    report = indexer.add(some(), batch_size=1)
    assert set(report.reasons["a"]) == {"metadata", "text"}
    with Index(indexer.index.name, url=redis_url) as other:
        assert list(other.documents(["a"])) == [replace(OLD, metadata={"year": 2})]


def test_a_change_by_hand_has_all_kinds_of_ids(indexer):
    report = indexer.update(["a", "nobody"], label="z")
    assert report.ids == {**dict.fromkeys(IngestReport.KINDS, ()), "updated": ("a",)}


def test_the_command_tells_in_json_and_in_the_log(index_name, redis_url, tmp_path):
    def run(*args):
        command = ["index", index_name, ".", "--include", "*.jsonl", "--model", "ragknn/hashing-16", *args]
        return run_here(command, "", tmp_path, {"RAGKNN_URL": redis_url})

    rows = [{"id": "a", "text": "One.", "label": "x"}, {"id": "b", "text": "Two."}, {"id": "c", "text": "Three."}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert run().returncode == 0
    rows[0]["label"], rows[1]["text"] = "y", "Too."
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    told = json.loads(run("--json", "--log", "log", "--log-level", "debug").stdout)
    assert told["reasons"] == {"a": ["label"], "b": ["text"]}
    assert told["ids"]["unchanged"] == ["c"]
    log = (tmp_path / "log").read_text()
    assert "updated a (label)\n" in log
    assert "updated b (text)\n" in log
    assert "unchanged c\n" in log
