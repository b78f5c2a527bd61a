"""What a model may ask for: the arguments of each tool, checked, with errors in words that it can act upon."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.json_schema import SkipJsonSchema

from ragknn import Mode

LONGEST_QUESTION = 10_000  # characters; what is longer is no question, and would keep the model busy for minutes
LONGEST_FILTER = 20_000  # characters as JSON
LONGEST_ID = 10_000  # characters
USUAL_K = 5

_T = TypeVar("_T", bound=BaseModel)


class RefusedArguments(Exception):
    """Arguments that mean nothing; the message is for the model."""


def _as_object(value: Any) -> Any:
    """Return a filter that came as JSON in a string, as some clients send it, as the object that it is."""
    if isinstance(value, str):
        try:
            value = json.loads(value or "{}")
        except (ValueError, RecursionError):
            return value
    if isinstance(value, dict):
        try:
            length = len(json.dumps(value))
        except RecursionError:
            length = LONGEST_FILTER + 1
        if length > LONGEST_FILTER:
            raise ValueError(f"a filter of at most {LONGEST_FILTER:,} characters is expected; ask for less at once")
    return value


# None is taken for what was not said, since clients send it; the schema that is shown need not speak of it.
_Filter = Annotated[dict[str, Any] | SkipJsonSchema[None], BeforeValidator(_as_object)]
_Name = str | SkipJsonSchema[None]


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")  # a misspelled filter must not find everything


class SearchArguments(_Arguments):
    """The arguments of `search`."""

    query: str = Field(
        min_length=1, max_length=LONGEST_QUESTION, description="What to look for, as a question or in a few words."
    )
    k: int = Field(USUAL_K, ge=1, description="How many passages to find")
    mode: Mode | SkipJsonSchema[None] = Field(
        None,
        description="vector: by meaning; text: passages that have the words, for names and numbers; hybrid: both.",
    )
    filter: _Filter = None
    index: _Name = None


class FetchArguments(_Arguments):
    """The arguments of `fetch`."""

    id: str = Field(min_length=1, max_length=LONGEST_ID, description="The id of a result, or of a document.")
    start: Annotated[int, Field(ge=0)] | SkipJsonSchema[None] = Field(
        None, description="For a long document: the character from which to go on, as next_start told."
    )


class ClassifyArguments(_Arguments):
    """The arguments of `classify`."""

    text: str = Field(min_length=1, max_length=LONGEST_QUESTION, description="The text to label.")
    k: int = Field(USUAL_K, ge=1, description="How many of the nearest labelled documents vote")
    filter: _Filter = None
    index: _Name = None


class ListArguments(_Arguments):
    """The arguments of `list_indexes`: none."""


def checked(kind: type[_T], arguments: Mapping[str, Any]) -> _T:
    """Return the arguments of a tool.

    Raises:
        RefusedArguments: they are others than it takes.
    """
    try:
        return kind.model_validate(arguments)
    except ValidationError as error:
        names = ", ".join(kind.model_fields) or "none"
        found = error.errors(include_url=False, include_input=False, include_context=False)
        wrong = dict.fromkeys(_in_words(str(one["loc"][0]), one["type"], one["msg"]) for one in found)
        raise RefusedArguments(f"{'; '.join(list(wrong)[:5])}. The arguments are: {names}.") from error


def _in_words(name: str, kind: str, message: str) -> str:
    shown = repr(name) if len(name) <= 50 else f"{name[:50]!r}..."
    if kind == "extra_forbidden":
        return f"there is no argument {shown}"
    if kind == "missing":
        return f"the argument {shown} is missing"
    return f"the argument {shown}: {message.removeprefix('Value error, ')}"
