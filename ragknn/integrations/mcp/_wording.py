"""Errors in words for the model, each with what to do next; and what it is told of the filters."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable

from ragknn import (
    ConnectionFailed,
    IncompleteRetrieval,
    IndexNotFound,
    ManifestMissing,
    RagKNNError,
    TextTooLong,
)
from ragknn.integrations.mcp._arguments import RefusedArguments
from ragknn.integrations.mcp._facts import Facts, Field
from ragknn.integrations.mcp._served import OwnFilterRefused

logger = logging.getLogger(__name__)

LONGEST = 600  # characters of an error


def in_words(error: Exception, index: str) -> str:
    """Return what an error of an index means to the model.

    Of what only the one who runs the server can mend, the details are in the log alone: they name other indexes,
    addresses and folders.
    """
    match error:
        case RefusedArguments():
            return shortened(str(error))
        case OwnFilterRefused():
            return (
                f"The filter of this server itself is missing, or does not fit index {index}. Tell the user that "
                "whoever started the server has to look into its log, and start it with another --where."
            )
        case ManifestMissing():
            advice = f"`ragknn info {index}` says what is wrong"
            return _of_the_server(error, index, f"Index {index} is damaged", advice)
        case IndexNotFound():
            advice = f"`ragknn index {index} FOLDER` makes it"
            return _of_the_server(error, index, f"There is no index {index} on the server", advice)
        case ConnectionFailed():
            return _of_the_server(error, index, f"The Redis of index {index} does not answer", "`ragknn doctor` looks")
        case IncompleteRetrieval():
            return (
                "The server ran out of time before the answer was complete. Call again, or ask for less: a smaller k."
            )
        case TextTooLong():
            return f"{shortened(str(error))}. Ask with a shorter text."
        case RagKNNError():
            return _of_the_server(error, index, f"Index {index} cannot be used", "the log of the server says why")
        case ValueError() | TypeError():
            return shortened(str(error))
        case _:
            logger.error("unforeseen %s in index %s", type(error).__name__, index, exc_info=error)
            return (
                f"Something failed in index {index} that was not foreseen. Tell the user to look into the server's log."
            )


def _of_the_server(error: Exception, index: str, what: str, advice: str) -> str:
    logger.warning("index %s: %s", index, error)
    return f"{what}. Tell the user; {advice}. Then call again, nothing else needs to be started anew."


def shortened(text: str) -> str:
    """Return an error as one line that is not too long."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"


_OPERATORS = (
    'Only passages that match, such as {"FIELD": VALUE}; {"FIELD": {"$in": [A, B]}}; numbers and dates also '
    '{"FIELD": {"$gte": A, "$lt": B}}. $ne, $nin, $not, $and, $or work too. {"document_id": {"$prefix": "TEXT"}} finds '
    "documents whose ids begin so."
)


def about_filters(known: Iterable[Facts], several: bool) -> str:
    """Return the description of a filter: how it is written, and the fields of each index that is known."""
    lines = [_OPERATORS]
    for facts in known:
        lines.append(f"Fields of index {facts.name}:" if several else "Fields:")
        lines += [f"- {_of_field(field)}" for field in facts.fields]
        if facts.labels:
            label = Field("label", "tag", tuple(facts.labels)[:20], whole=len(facts.labels) <= 20)
            lines.append(f"- {_of_field(label)}")
        lines.append("- document_id (tag)")
        if facts.any_field:
            lines.append("- any other entry of the metadata (tag)")
    return "\n".join(lines)


def _of_field(field: Field) -> str:
    name = json.dumps(field.name, ensure_ascii=False)
    values = [_of_value(value) for value in field.values]
    if field.kind == "text":
        return f'{name} (text: {{"$contains": "word"}})'
    if not values:
        return f"{name} ({field.kind})"
    if field.kind == "numeric":
        return f"{name} (number: {' to '.join(values)})"
    return f"{name} (tag: {', '.join(values)}{'' if field.whole else ', ...'})"


def _of_value(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False)
