"""The settings of the process, and which Redis they mean; both are looked for late."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragknn.server._urls import with_password

if TYPE_CHECKING:
    from ragknn.settings import Settings


def load_own_settings() -> Settings:
    """Return the settings of the process."""
    # Late, because pydantic-settings takes longer to import than all the rest of ragknn.
    from ragknn.settings import load_settings

    return load_settings()


def resolve_url(url: str | None, settings: Settings) -> str:
    """Return the URL to use; starts the embedded server where none is named."""
    if url := url or settings.url:
        return with_password(url, settings.password.get_secret_value() if settings.password else None)
    # Late, because those who run their own Redis need nothing of it.
    from ragknn.server.embedded import shared_server

    return shared_server(settings).url
