import csv
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragknn import ReadError, read_documents
from ragknn.evaluation.questions import Questions, read_questions

CORPORA = Path(__file__).parent.parent.parent / "corpora"
HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.fixture
def make(tmp_path: Path):
    """Writes a folder in BEIR's layout: what stands in queries.jsonl, and in the judgements below their header."""

    def write(queries: str, judgements: str, header: str = HEADER, split: str = "test") -> Path:
        (tmp_path / "qrels").mkdir(exist_ok=True)
        (tmp_path / "queries.jsonl").write_text(queries, encoding="utf-8")
        (tmp_path / "qrels" / f"{split}.tsv").write_text(header + judgements, encoding="utf-8")
        return tmp_path

    return write


QUERIES = '{"_id": "q1", "text": "one"}\n{"_id": "q2", "text": "two", "metadata": {}}\n{"_id": 3, "text": "three"}\n'


def test_the_handbook_has_its_questions_in_the_order_of_the_file():
    questions = read_questions(CORPORA / "handbook")
    lines = (CORPORA / "handbook" / "queries.jsonl").read_text().splitlines()
    assert questions.queries == {row["_id"]: row["text"] for row in map(json.loads, lines)}
    assert list(questions.grades) == list(questions.queries)
    assert questions.grades["q001"]["maintenance/error-codes.md"] == 2
    assert repr(questions) == "Questions(171 queries, 231 judgements)"


def test_queries_without_judgements_are_left_out_and_numbers_are_ids(make):
    questions = read_questions(make(QUERIES, "3\tb\t1\nq1\ta\t2\nq1\tb\t0\nq1\tc\t-1\n"))
    assert questions.queries == {"q1": "one", "3": "three"}
    assert questions.grades == {"q1": {"a": 2, "b": 0, "c": -1}, "3": {"b": 1}}
    assert list(questions.grades) == ["q1", "3"]


def test_a_split_can_be_chosen(make):
    make(QUERIES, "q1\ta\t1\n")
    folder = make(QUERIES, "q2\tb\t1\n", split="dev")
    assert list(read_questions(str(folder), "dev").queries) == ["q2"]


def test_a_byte_order_mark_blank_lines_and_windows_line_ends_are_taken(make):
    folder = make(
        "\ufeff" + QUERIES.replace("\n", "\r\n\r\n"), "q1\ta\t1\r\n\r\n", "\ufeffquery-id\tcorpus-id\tscore\r\n"
    )
    assert read_questions(folder).grades == {"q1": {"a": 1}}


def test_a_judgement_may_stand_twice_but_not_with_two_grades(make):
    assert read_questions(make(QUERIES, "q1\ta\t1\nq1\ta\t1\n")).grades == {"q1": {"a": 1}}
    with pytest.raises(ReadError, match=r"test.tsv:3: expected one grade of 'a' for query 'q1', got 1 and 2"):
        read_questions(make(QUERIES, "q1\ta\t1\nq1\ta\t2\n"))


@pytest.mark.parametrize(
    ("queries", "judgements", "header", "message"),
    [
        ("{oops}\n", "", HEADER, "queries.jsonl:1: expected a JSON object per line, got '{oops}'"),
        ('\n["q1"]\n', "", HEADER, 'queries.jsonl:2: expected {"_id": "...", "text": "..."}, got \'["q1"]\''),
        ('{"_id": "q"}\n', "", HEADER, 'queries.jsonl:1: expected {"_id": "...", "text": "..."}'),
        ('{"_id": true, "text": "x"}\n', "", HEADER, 'queries.jsonl:1: expected {"_id": "...", "text": "..."}'),
        ('{"_id": "", "text": "x"}\n', "", HEADER, 'queries.jsonl:1: expected {"_id": "...", "text": "..."}'),
        ('{"_id": "q", "text": " "}\n', "", HEADER, "queries.jsonl:1: expected words in the text of query 'q'"),
        (QUERIES + '{"_id": "3", "text": "x"}\n', "", HEADER, "queries.jsonl:4: expected each query id once, got '3'"),
        ("[" * 100_000, "", HEADER, "queries.jsonl:1: expected a JSON object per line, got '[[["),
        (QUERIES, "", "", "test.tsv:1: expected the header query-id corpus-id score, separated by tabs, got an empty"),
        (QUERIES, "q1\ta\t1\n", "", r"test.tsv:1: expected the header query-id corpus-id score, separated by tabs, "),
        (QUERIES, "", HEADER, "test.tsv: expected judgements below the header, got none"),
        (QUERIES, "q1\ta\t1\nq1 a 1\n", HEADER, "test.tsv:3: expected query-id, corpus-id, score separated by tabs"),
        (QUERIES, "q1\t0\ta\t1\n", HEADER, "test.tsv:2: expected query-id, corpus-id, score separated by tabs"),
        (QUERIES, "q1\ta\t1.5\n", HEADER, "test.tsv:2: expected a whole number as score, got '1.5'"),
        (QUERIES, "q9\ta\t1\n", HEADER, "test.tsv:2: expected a query of queries.jsonl, got 'q9'; add it there"),
        (QUERIES, "q1\t\t1\n", HEADER, "test.tsv:2: expected a document id, got an empty one"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(make, queries, judgements, header, message):
    with pytest.raises(ReadError, match=re.escape(message)):
        read_questions(make(queries, judgements, header))


def test_missing_files_are_named(make, tmp_path: Path):
    with pytest.raises(ReadError, match=r"nowhere: expected a folder with queries.jsonl and qrels/test.tsv, got no"):
        read_questions(tmp_path / "nowhere")
    with pytest.raises(ReadError, match=r"queries.jsonl: expected a file with a line .* per query, got none"):
        read_questions(tmp_path)
    folder = make(QUERIES, "q1\ta\t1\n", split="dev")
    with pytest.raises(ReadError, match=r"test.tsv: expected judgements of the split 'test', there are dev; choose"):
        read_questions(folder)
    (folder / "qrels" / "dev.tsv").unlink()
    with pytest.raises(ReadError, match="there is none; add it"):
        read_questions(folder)


def test_other_encodings_are_refused(make):
    folder = make(QUERIES, "q1\ta\t1\n")
    (folder / "queries.jsonl").write_bytes('{"_id": "q1", "text": "Größe"}'.encode("latin-1"))
    with pytest.raises(ReadError, match="expected queries and judgements in UTF-8"):
        read_questions(folder)


def test_texts_and_grades_are_of_the_same_queries():
    with pytest.raises(ValueError, match="expected text and grades of the same queries, got only one of them for 'b'"):
        Questions({"a": "x"}, {"a": {"d": 1}, "b": {"d": 1}})


ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


@given(
    st.dictionaries(
        ids,
        st.tuples(st.text(min_size=1).filter(str.strip), st.dictionaries(ids, st.integers(-2, 3), min_size=1)),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_is_written_in_the_layout_comes_back(tmp_path_factory, questions):
    folder = tmp_path_factory.mktemp("beir")
    (folder / "qrels").mkdir()
    lines = [json.dumps({"_id": query, "text": text}) + "\n" for query, (text, _) in questions.items()]
    (folder / "queries.jsonl").write_text("".join(lines), encoding="utf-8")
    with (folder / "qrels" / "test.tsv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["query-id", "corpus-id", "score"])
        writer.writerows(
            [query, document, grade] for query, (_, g) in questions.items() for document, grade in g.items()
        )
    read = read_questions(folder)
    assert read.queries == {query: text for query, (text, _) in questions.items()}
    assert read.grades == {query: grades for query, (_, grades) in questions.items()}


# ---- as others write them --------------------------------------------------------------------------------------

JUDGED = {"q1": {"a": 2, "b": 0}, "3": {"b": 1}}
OTHERS = {
    "TREC with spaces": "q1 0 a 2\nq1 0 b 0\n3 0 b 1\n",
    "TREC with tabs": "q1\t0\ta\t2\nq1\t0\tb\t0\n3\t0\tb\t1\n",
    "TREC in columns": "q1   0  a   2\r\nq1   Q0 b   0\r\n\r\n3\t0 b\t1\r\n",
    "a byte order mark": "\ufeffq1 0 a 2\nq1 0 b 0\n3 0 b 1\n",
    "no newline at the end": "q1 0 a 2\nq1 0 b 0\n3 0 b 1",
    "underscores": "query_id\tcorpus_id\tscore\nq1\ta\t2\nq1\tb\t0\n3\tb\t1\n",
    "capitals": "Query-ID\tCorpus-ID\tScore\nq1\ta\t2\nq1\tb\t0\n3\tb\t1\n",
    "other names": "qid\tdocid\trelevance\nq1\ta\t2\nq1\tb\t0\n3\tb\t1\n",
    "MS MARCO": "qid\titer\tpid\trel\nq1\t0\ta\t2\nq1\t0\tb\t0\n3\t0\tb\t1\n",
    "another order": "doc_id\tgrade\ttopic\na\t2\tq1\nb\t0\tq1\nb\t1\t3\n",
    "commas": 'query-id,corpus-id,score\nq1,a,2\nq1,"b",0\n3,b,1\n',
    "quoted header": '"query-id","corpus-id","score"\n"q1","a",2\nq1,b,0\n3,b,1\n',
    "spaces below a header": "query-id corpus-id score\nq1 a 2\nq1 b 0\n3 b 1\n",
    "fractions of zero": "query-id\tcorpus-id\tscore\nq1\ta\t2.0\nq1\tb\t0.0\n3\tb\t1.00\n",
    "fractions of zero in TREC": "q1 0 a 2.0\nq1 0 b 0\n3 0 b +1\n",
}


@pytest.mark.parametrize("judgements", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("name", ["test.tsv", "test.txt", "test.qrels", "test"])
def test_judgements_are_read_as_others_write_them(make, judgements, name):
    folder = make(QUERIES, judgements, header="")
    (folder / "qrels" / "test.tsv").rename(folder / "qrels" / name)
    assert read_questions(folder).grades == JUDGED


def test_ids_with_spaces_are_read_between_tabs(make):
    assert read_questions(make(QUERIES, "q1\t0\ta file.md\t1\n", "")).grades == {"q1": {"a file.md": 1}}


@pytest.mark.parametrize(
    ("judgements", "message"),
    [
        ("q1 0 a 1\nq1 0 b\n", "test.tsv:2: expected query, 0, document and grade, got 'q1 0 b'"),
        ("q1 0 a 1\nq1 0 a file.md 1\n", "test.tsv:2: expected query, 0, document and grade, got 'q1 0 a file.md 1'"),
        ("q1 0 a 0.5\n", "test.tsv:1: expected a whole number as score, got '0.5'"),
        ("q1 0 a 1\n\nq1 0 b nan\n", "test.tsv:3: expected a whole number as score, got 'nan'"),
        ("q1 0 a 1\nq9 0 b 1\n", "test.tsv:2: expected a query of queries.jsonl, got 'q9'"),
        ("q1 0 a high\n", "test.tsv:1: expected the header query-id corpus-id score, separated by tabs, got 'q1 0 a"),
        (
            "q1 Q0 a 1 9.5 mine\n",
            "got 'q1 Q0 a 1 9.5 mine', which looks like a ranking of a system; or, as TREC has it",
        ),
        ("qid\tdocid\trel\nq1\ta\n", "test.tsv:2: expected qid, docid, rel separated by tabs, got 'q1 a'"),
        ("qid,docid,rel\nq1,a,x\n", "test.tsv:2: expected a whole number as score, got 'x'"),
        ("qid docid rel\nq1 a\n", "test.tsv:2: expected qid, docid, rel separated by spaces, got 'q1 a'"),
    ],
)
def test_what_is_no_judgement_of_others_is_named_with_its_line(make, judgements, message):
    with pytest.raises(ReadError, match=re.escape(message)):
        read_questions(make(QUERIES, judgements, ""))


@pytest.mark.parametrize(
    "queries",
    [
        'q1\tone "and" a half\n3\tthree\n',
        'query_id\ttext\nq1\tone "and" a half\n\n3\tthree\n',
        '\ufeffqid\tquery\r\nq1\tone "and" a half\r\n3\tthree\r\n',
        'title\tlanguage\tid\none "and" a half\ten\tq1\nthree\ten\t3\n',
    ],
)
def test_queries_are_read_from_a_file_with_tabs(make, queries):
    folder = make("", OTHERS["TREC with spaces"], "")
    (folder / "queries.jsonl").unlink()
    (folder / "queries.tsv").write_text(queries, encoding="utf-8")
    assert read_questions(folder).queries == {"q1": 'one "and" a half', "3": "three"}


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ("q1\tone\nq2\n", "queries.tsv:2: expected an id, a tab and a text, got 'q2'"),
        ("q1 one\n", "queries.tsv:1: expected an id, a tab and a text, got 'q1 one'"),
        ("q1\tone\n\ttwo\n", "queries.tsv:2: expected an id, a tab and a text"),
        ("q1\t \n", "queries.tsv:1: expected words in the text of query 'q1', got none"),
        ("q1\tone\nq1\ttwo\n", "queries.tsv:2: expected each query id once, got 'q1' again"),
        ("q2\ttwo\n", "test.tsv:1: expected a query of queries.tsv, got 'q1'"),
    ],
)
def test_what_is_no_query_in_a_file_with_tabs_is_named_with_its_line(make, queries, message):
    folder = make("", "q1 0 a 1\n", "")
    (folder / "queries.jsonl").unlink()
    (folder / "queries.tsv").write_text(queries, encoding="utf-8")
    with pytest.raises(ReadError, match=re.escape(message)):
        read_questions(folder)


words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=8)


@given(st.dictionaries(words, st.dictionaries(words, st.integers(-2, 3), min_size=1), min_size=1, max_size=4))
def test_whatever_trec_writes_comes_back(tmp_path_factory, grades):
    folder = tmp_path_factory.mktemp("trec")
    (folder / "qrels").mkdir()
    (folder / "queries.tsv").write_text("id\ttext\n" + "".join(f"{query}\ta text\n" for query in grades), "utf-8")
    lines = [f"{query} 0 {document} {grade}\n" for query, own in grades.items() for document, grade in own.items()]
    (folder / "qrels" / "test.txt").write_text("".join(lines), encoding="utf-8")
    assert read_questions(folder).grades == grades


def test_queries_and_judgements_of_others_are_no_documents(make):
    folder = make("", OTHERS["TREC with spaces"], "")
    (folder / "queries.jsonl").unlink()
    (folder / "queries.tsv").write_text("id\ttext\nq1\tone\n3\tthree\n")
    (folder / "corpus.jsonl").write_text('{"_id": "a", "text": "of the set"}\n')
    assert [document.id for document in read_documents(folder)] == ["a"]


@pytest.mark.parametrize(
    ("grades", "error", "message"),
    [
        ({"d": "1"}, TypeError, "expected the grade of 'd' for query 'q' as a number, got the str '1'"),
        ({"d": None}, TypeError, "expected the grade of 'd' for query 'q' as a number, got None"),
        ({"d": 1.5}, ValueError, "expected the grade of 'd' for query 'q' as a whole number, got 1.5"),
        ({"d": float("nan")}, ValueError, "expected the grade of 'd' for query 'q' as a whole number, got nan"),
        ({7: 1}, TypeError, "expected each document id for query 'q' of type str, got the int 7"),
    ],
)
def test_grades_that_are_no_whole_numbers_are_refused(grades, error, message):
    with pytest.raises(error, match=message):
        Questions({"q": "text"}, {"q": grades})
