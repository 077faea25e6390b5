"""The SDK over the public API: ``Client`` and ``AsyncClient``, with the errors of ``nanocore.errors``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nanocore.client.endpoint import Endpoint
from nanocore.client.synchronous import Client

if TYPE_CHECKING:
    from nanocore.client.asynchronous import AsyncClient

__all__ = ["AsyncClient", "Client", "Endpoint"]


def __getattr__(name: str) -> Any:  # noqa: ANN401  a module's attribute
    """Import ``AsyncClient`` on first use: asyncio is a tenth of what a ``nano`` command takes."""
    if name == "AsyncClient":
        from nanocore.client.asynchronous import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
