import time
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from made_files import failure, only, outcomes, write

from ragknn.records import Document
from ragknn.reports import Failure

YAML = "expected YAML between the --- lines"
OTHER_LABEL = "correct it, or name another field with label_field"
LABEL = "a string, number or boolean"


def test_a_markdown_file_keeps_its_source(tmp_path: Path) -> None:
    path = write(tmp_path, "a.md", "# Key\n\n*Bring* it.\n\n---\n\nEnd\n")
    assert outcomes(path) == [Document("a.md", "# Key\n\n*Bring* it.\n\n---\n\nEnd\n")]


def test_markdown_front_matter_gives_title_label_id_and_metadata(tmp_path: Path) -> None:
    front = "title: Keys\nlabel: 3\nid: 7\ndate: 2024-05-01\nat: 2024-05-01 10:30:00\ntags: [a, b]\nempty:\n1: x"
    path = write(tmp_path, "a.markdown", f"---\n{front}\n---\n# keys\nBring it.\n")
    metadata = {"title": "Keys", "date": "2024-05-01", "at": "2024-05-01 10:30:00", "tags": ["a", "b"], "1": "x"}
    assert outcomes(path) == [Document("7", "# keys\nBring it.\n", 3, metadata)]


def test_a_rule_at_the_top_of_markdown_is_no_front_matter(tmp_path: Path) -> None:
    assert outcomes(write(tmp_path, "a.md", "---\nBring it.\n")) == [Document("a.md", "---\nBring it.\n")]
    assert outcomes(write(tmp_path, "b.md", "---\n---\nBring it.\n")) == [Document("b.md", "Bring it.\n")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a: 1\nb: [\n", f"a.md:4: {YAML}, got expected the node content, but found '<stream end>'; correct it"),
        ("a: b: c\n", f"a.md:2: {YAML}, got mapping values are not allowed here; correct it"),
        ("a: \a\n", f"a.md:2: {YAML}, got unacceptable character #x0007: special characters are not allowed in"),
        ("a: !!float .nan\n", f"a.md:2: {YAML}, got nan, which is not a finite number; correct it"),
        ("a: 1\nb: 2\na: 3\n", f"a.md:4: {YAML}, got the key 'a' twice; correct it"),
        ("m:\n  a: 1\n  a: 3\n", f"a.md:4: {YAML}, got the key 'a' twice; correct it"),
        ("a: !!binary aGk=\n", f"a.md:2: {YAML}, got a value of type bytes; correct it"),
        ("a: &x [*x]\n", f"a.md:2: {YAML}, got more than 100 levels, aliases followed; write less"),
        ("a: !!timestamp 2024-13-45\n", f"a.md:2: {YAML}, got month must be in 1..12; correct it"),
        (
            "a: !!python/name:os.system\n",
            f"a.md:2: {YAML}, got could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/name:os.system'; correct it",
        ),
        ("label: [a]\n", f"a.md: expected 'label' as {LABEL}, got ['a']; {OTHER_LABEL}"),
    ],
)
def test_bad_front_matter_is_reported_with_its_line(tmp_path: Path, content: str, expected: str) -> None:
    bad = failure(write(tmp_path, "a.md", f"---\n{content}---\nText\n"))
    # Some releases of Python add the value to the end of its own message.
    assert str(bad).startswith(expected.removesuffix("; correct it"))


# Without surprises


def front(folder: Path, content: str, name: str = "a.md") -> Document:
    return only(write(folder, name, f"---\n{content}\n---\nText.\n"))


def test_what_could_be_a_surprise_stays_text(tmp_path: Path) -> None:
    written = {
        **{"label": "no", "opens": "10:30", "zip": "02700", "version": "1.10", "on": "yes", "off": "OFF"},
        **{
            "hex": "0x1F",
            "octal": "0o17",
            "binary": "0b1",
            "sum": "1_000",
            "power": "1e3",
            "nan": ".nan",
            "inf": "-.inf",
        },
        **{"day": "2024-05-01", "bad": "2024-13-45", "moment": "2024-05-01 10:30:00", "plus": "+49", "zero": "-0"},
        **{"long": "12345678901234567890", "price": "9.90", "dot": "1.", "ip": "10.0.0.1"},
    }
    document = front(tmp_path, "id: 010\n" + "\n".join(f"{name}: {value}" for name, value in written.items()))
    assert (document.id, document.label) == ("010", "no")
    assert document.metadata == {name: value for name, value in written.items() if name != "label"}


def test_what_is_plain_is_what_it_looks_like(tmp_path: Path) -> None:
    content = "a: 7\nb: -3\nc: 1.5\nd: -0.25\ne: 0\nf: true\ng: False\nh: [1, x]\ni: '7'\nj: {k: null}\nm: ~\nn:"
    expected = {"a": 7, "b": -3, "c": 1.5, "d": -0.25, "e": 0, "f": True, "g": False, "h": [1, "x"], "i": "7"}
    assert front(tmp_path, content).metadata == {**expected, "j": {"k": None}}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(st.characters(codec="ascii"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=50)
@given(
    values=st.dictionaries(st.text("pqrs", min_size=1), json_values.filter(lambda value: value is not None), min_size=1)
)
def test_what_a_program_writes_as_yaml_is_read_back(tmp_path_factory, values: dict) -> None:
    document = front(tmp_path_factory.mktemp("md"), yaml.safe_dump(values, allow_unicode=True))
    assert document.metadata == values


@settings(deadline=None)
@given(word=st.text("0123456789.:-+_eExXobnyaf", min_size=1, max_size=8))
def test_a_word_of_digits_is_text_or_the_number_that_is_written_so(tmp_path_factory, word: str) -> None:
    path = write(tmp_path_factory.mktemp("md"), "a.md", f"---\n? k\n: {word}\n---\nText.\n")
    for document in outcomes(path):
        value = document.metadata.get("k", word) if isinstance(document, Document) else word
        assert str(value) == word or isinstance(value, dict | list)


@pytest.mark.parametrize(
    "content",
    [
        "---\n\nWe open at nine.\n\n---\n\nClosed on Monday.\n",
        "---\n# Slide one\n\nWe open at nine.\n\n---\n# Slide two\n",
        "---\n**Note:** We open at nine.\n---\nRest.\n",
        "---\n- a list\n---\nRest.\n",
        "---\n> a quote: here\n---\nRest.\n",
        "---\n![picture](a.png)\n---\n",
        "---\nSome words\n---\n",
        "+++\nSome words\n+++\n",
        "***\n\ntitle: x\n\n***\n",
        "text\n---\na: b\n---\n",
    ],
)
def test_a_text_between_thematic_breaks_is_text(tmp_path: Path, content: str) -> None:
    assert outcomes(write(tmp_path, "a.md", content)) == [Document("a.md", content)]


def test_toml_gives_fields_too(tmp_path: Path) -> None:
    content = '+++\n# of a site\ntitle = "Keys"\nid = "010"\ndate = 2024-05-01\n[extra]\nn = 1\n+++\nBring it.\n'
    metadata = {"title": "Keys", "date": "2024-05-01", "extra": {"n": 1}}
    assert outcomes(write(tmp_path, "a.md", content)) == [Document("010", "Keys\n\nBring it.\n", None, metadata)]
    bad = failure(write(tmp_path, "b.md", "+++\na = 1\na = 2\n+++\nx"))
    assert bad.source == "b.md:3"
    assert bad.reason.startswith("expected TOML between the +++ lines")


# Hostile ones


def bomb(first: str, follow: str) -> str:
    """Return nine levels of YAML in which each one names the one before it nine times."""
    names = "abcdefghij"
    pairs = pairwise(names)
    return "\n".join([first, *(follow.format(name=name, many=",".join([f"*{last}"] * 9)) for last, name in pairs)])


@pytest.mark.parametrize(
    "content",
    [
        bomb("a: &a [x,x,x]", "{name}: &{name} [{many}]"),
        bomb("a: &a {{k: 1}}".replace("{{", "{").replace("}}", "}"), "{name}: &{name}\n  <<: [{many}]\n  n{name}: 1"),
        "a: " + "[" * 700,
        "a: " + "{b: " * 1000,
        "a: &x [*x]",
        "a:\n" + "\n".join(" " * depth + "- " for depth in range(300)),
        "a: " + "x" * 70_000,
        "\n".join(f"k{number}: [1]" for number in range(7000)),
    ],
)
def test_hostile_fields_are_refused_in_no_time(tmp_path: Path, content: str) -> None:
    write(tmp_path, "a.md", f"---\n{content}\n---\nText.\n")
    write(tmp_path, "b.md", "Sound.")
    begin = time.process_time()
    bad, sound = outcomes(tmp_path)
    assert time.process_time() - begin < 1  # seconds
    assert (type(bad), sound) == (Failure, Document("b.md", "Sound."))
    tracemalloc.start()
    assert outcomes(tmp_path) == [bad, sound]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 * 2**20  # bytes
