"""WebSockets of the API, blocking: consoles and events. The home of ``websockets``."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from nanocore.client.endpoint import API, Endpoint
from nanocore.client.synchronous import Client
from nanocore.errors import ErrorCode, NanoError

OPEN_TIMEOUT_SECONDS = 15.0


def open_console(client: Client, instance_id: str, kind: str) -> ClientConnection:
    """Return a connection to an instance's ``screen`` or ``serial``; binary frames both ways."""
    ticket = client.request("POST", f"/instances/{instance_id}/console", json={"kind": kind})
    return _connect(client.endpoint, ticket["ws_path"])


def follow_events(client: Client, topics: list[str]) -> Iterator[dict[str, Any]]:
    """Yield events until the connection ends."""
    path = f"{API}/events?{urlencode({'topics': ','.join(topics)})}"
    with _connect(client.endpoint, path) as connection:
        try:
            for text in connection:
                yield json.loads(text)
        except ConnectionClosed:
            return


def _connect(endpoint: Endpoint, path: str) -> ClientConnection:
    headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
    try:
        if endpoint.socket is not None:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(endpoint.socket))
            return connect(
                f"ws://localhost{path}", sock=sock, additional_headers=headers, open_timeout=OPEN_TIMEOUT_SECONDS
            )
        parts = urlsplit(endpoint.url)
        return connect(
            f"wss://{parts.netloc}{path}",
            ssl=endpoint.tls(),
            additional_headers=headers,
            open_timeout=OPEN_TIMEOUT_SECONDS,
        )
    except (OSError, TimeoutError) as error:
        raise endpoint.unreachable(error) from error
    except Exception as error:
        raise NanoError(ErrorCode.UNAVAILABLE, f"the connection was refused: {error}") from error
