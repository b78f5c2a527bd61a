"""Settings from the environment; no other module reads the `RAGKNN_` variables."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from platformdirs import user_cache_path, user_data_path
from pydantic import AfterValidator, AliasChoices, Field, NonNegativeInt, PositiveFloat, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from ragknn._secrets import guarded_url
from ragknn.errors import ConfigurationError

_Url: TypeAlias = Annotated[str | None, AfterValidator(guarded_url)]

_NAMES = ("RAGKNN_", "OPENAI_")  # how variables begin that settings are read from
_LONGEST_TIMEOUT = 1e6  # seconds; what is far longer does not fit into the numbers of the system


class Settings(BaseSettings):
    """Settings from the environment: each variable is `RAGKNN_` and the name in capitals.

    An argument in code wins over the environment, the environment over the default.
    """

    model_config = SettingsConfigDict(
        env_prefix="RAGKNN_", env_ignore_empty=True, frozen=True, extra="ignore", populate_by_name=True
    )

    url: _Url = Field(None, description="Redis to use, e.g. redis://localhost:6379; none: the embedded server")
    password: SecretStr | None = Field(None, description="password of this Redis, where its URL has none")
    data: Path = Field(
        default_factory=lambda: user_data_path("ragknn"), description="folder of the embedded server's data"
    )
    model: str | None = Field(None, description="sentence-transformers model of new indexes; none: all-MiniLM-L6-v2")
    openai_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("RAGKNN_OPENAI_API_KEY", "OPENAI_API_KEY"),
        description="key of OpenAIEmbedder; none: OPENAI_API_KEY",
    )
    openai_base_url: _Url = Field(
        None,
        validation_alias=AliasChoices("RAGKNN_OPENAI_BASE_URL", "OPENAI_BASE_URL"),
        description="server of OpenAIEmbedder; none: OPENAI_BASE_URL, or OpenAI",
    )
    openai_model: str | None = Field(None, description="model of OpenAIEmbedder; none: text-embedding-3-small")
    backend: Literal["auto", "torch", "openvino"] = Field(
        "auto", description="what runs the model: torch, openvino, or auto for the quickest that is installed"
    )
    cache: Path = Field(
        default_factory=lambda: user_cache_path("ragknn"),
        description="folder of what can be made again, such as converted models",
    )
    device: str | None = Field(None, description="torch device of the model, e.g. cpu, cuda, mps; none: the best one")
    timeout: PositiveFloat = Field(
        10.0, le=_LONGEST_TIMEOUT, description="longest time for one search, or for one reply, in seconds"
    )
    protocol: int = Field(
        3, ge=2, le=3, description="RESP version; with 2 the server cannot report that it ran out of time"
    )
    bulk_bytes: NonNegativeInt = Field(
        2**30,
        description="most memory for the vectors of one index, so that many searches at once need not ask the server; "
        "0: none",
    )
    mcp_token: SecretStr | None = Field(
        None, description="what requests to `ragknn mcp --http` must bring; none: it listens on this machine alone"
    )
    trace_content: bool = Field(
        False, description="whether spans have the texts of queries and the ids of what was found"
    )
    redis_server: Path | None = Field(None, description="redis-server program (8 or later) for the embedded server")
    search_module: Path | None = Field(None, description="search module (redisearch.so) for the embedded server")


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        ConfigurationError: a variable has an invalid value.
    """
    ours = tuple(item for item in os.environ.items() if item[0].upper().startswith(_NAMES))
    return _read(ours, user_data_path("ragknn"), user_cache_path("ragknn"))


@lru_cache(maxsize=1)  # each index and each connection asks, and what they depend on hardly ever changes
def _read(_ours: tuple[tuple[str, str], ...], _data: Path, _cache: Path) -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "RAGKNN_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(f"{name}: {first['msg'].lower()}, got {first['input']!r}") from error
