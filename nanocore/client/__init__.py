"""The SDK over the public API: ``Client`` and ``AsyncClient``, with the errors of ``nanocore.errors``."""

from nanocore.client.asynchronous import AsyncClient
from nanocore.client.endpoint import Endpoint
from nanocore.client.synchronous import Client

__all__ = ["AsyncClient", "Client", "Endpoint"]
