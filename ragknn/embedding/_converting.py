"""From a loaded model to one that OpenVINO runs, if it gives the same vectors; kept on disk for later processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ragknn._logs import EMBEDDING as logger  # noqa: N811
from ragknn.embedding import _graph_cache as cache
from ragknn.embedding._facts import Facts
from ragknn.embedding._graph_cache import Converted
from ragknn.embedding._inputs import Padding, why_not
from ragknn.embedding._models import copy_tokenizer
from ragknn.embedding._openvino import OpenVinoModel, convert, load_openvino, quickest_precisions, write
from ragknn.embedding._probe import AGREEMENT, PROBE, agreement
from ragknn.embedding._tokens import Tokens
from ragknn.embedding._torch import probed


def converted(model: Any, name: str, place: Path | None) -> Converted:
    """Convert a model of sentence-transformers that is loaded on the CPU, and compare the vectors of both.

    Args:
        model: the model, in float32.
        name: its name, for messages.
        place: folder in which it is kept; None: nowhere.
    """
    expected = probed(model)
    made = Converted(
        facts=replace(Facts.of(model), dim=expected.shape[1]),  # whatever of it is kept
        tokenizer=copy_tokenizer(model, name).to_str(),
        padding=Padding.of(model),
        precision="",
        agreement=0.0,
        refused=why_not(model) or "",
    )
    with cache.drafting(place) as draft:
        draft.mkdir()
        if not made.refused:
            logger.info("converting %s, so that it runs quicker; this is done once", name)
            made = _tried(model, made, draft, expected)
        return cache.keep(draft, place, made)


def _tried(model: Any, made: Converted, draft: Path, expected: Any) -> Converted:
    try:
        write(convert(model), draft / cache.GRAPH)
        graph = load_openvino().Core().read_model(draft / cache.GRAPH)
        for precision in quickest_precisions():
            made = replace(made, graph=graph, precision=precision)
            found = _vectors(ready(replace(made, compiled=draft / cache.COMPILED)))
            made = replace(made, agreement=agreement(found, expected))
            if made.agreement >= AGREEMENT:
                return made
    except Exception as error:  # a model may be of any code, and fail in any way where it is traced
        refused = f"it cannot be converted: {type(error).__name__}: {_first_line(error)}"
    else:
        refused = f"its vectors would be others, with a mean cosine of {made.agreement:.5f}"
    return replace(made, graph=None, refused=refused)


def ready(made: Converted, texts_per_call: int | None = None, tokens: Tokens | None = None) -> OpenVinoModel:
    """Return a converted model, ready to embed."""
    tokens = tokens or tokens_of(made)
    return OpenVinoModel(made.graph, tokens, made.padding, made.precision, made.compiled, texts_per_call)


def tokens_of(made: Converted) -> Tokens:
    """Return the tokens of a converted model."""
    from tokenizers import Tokenizer  # late, since an index of ready vectors needs none

    return Tokens(Tokenizer.from_str(made.tokenizer), made.facts.limit)


def _vectors(model: OpenVinoModel) -> Any:
    """Return the vectors of the probe, some from calls of their own: other code runs for one text than for many."""
    texts = [("", text) for text in PROBE]
    half = len(texts) // 2
    alone = [model.embed([text]) for text in texts[:half]]
    return np.concatenate([*alone, model.embed(texts)[half:]])


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
