"""A little of the drill of bad input; `python -m drill_bad_input` tries as much as one likes."""

import drill_bad_input
import pytest
from servers import private_server


@pytest.mark.parametrize("seed", [11])
def test_whatever_is_wrong_is_refused_in_words_of_ours(tmp_path, monkeypatch, seed):
    monkeypatch.setenv("RAGKNN_DATA", str(tmp_path / "data"))
    with private_server(tmp_path) as url:
        found = drill_bad_input.drill(seed, 80, url, tmp_path)
    assert found.faults == {}
    assert (found.calls, found.commands) == (60, 20)
    assert found.refused > 40


def test_a_fault_would_be_found():
    def failing(error: Exception) -> str:
        try:
            raise error
        except Exception as raised:
            return drill_bad_input.kind_of(raised)

    assert failing(AttributeError("no such thing")).startswith("AttributeError at outside: no such")
    assert failing(RecursionError("too deep"))
    assert failing(OverflowError("too large"))
    assert failing(KeyError("a"))
    assert not failing(ValueError("expected another"))
    assert failing(UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "surrogates not allowed"))
