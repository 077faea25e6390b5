"""The sockets: TLS on TCP, and the local socket that only root and this process's own user may use."""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path
from typing import Any

from tornado import httpserver, netutil, routing
from tornado.iostream import IOStream

from nanoplugins.restapi.config import RestapiConfig
from nanoplugins.restapi.handling import peer_uid

BACKLOG = 1024
MAX_HEADER_BYTES = 32 * 1024
BODY_SECONDS = 60.0
MAX_BUFFER_BYTES = 16 * 1024 * 1024
"""Tornado's read buffer of one connection; uploads are passed on in chunks and never fill it."""


class _Server(httpserver.HTTPServer):
    """Closes what is beyond the limit, before it costs more than an accept."""

    max_connections = 0
    is_local = False

    def handle_stream(self, stream: IOStream, address: Any) -> None:  # noqa: ANN401  Tornado's signature
        """Take a connection or close it; called by Tornado."""
        if len(self._connections) >= self.max_connections or not self._may_connect(stream):
            stream.close()
            return
        super().handle_stream(stream, address)

    def _may_connect(self, stream: IOStream) -> bool:
        if not self.is_local:
            return True
        connection = stream.socket
        return isinstance(connection, socket.socket) and peer_uid(connection) in (0, os.geteuid())


def tcp_server(
    router: routing.Router, config: RestapiConfig, context: ssl.SSLContext
) -> tuple[httpserver.HTTPServer, int]:
    """Listen for HTTPS; return the server and its port. Raises ``OSError``."""
    server = _make(router, config, ssl_options=context)
    sockets = _bind(config)
    server.add_sockets(sockets)
    return server, int(sockets[0].getsockname()[1])


def _bind(config: RestapiConfig) -> list[socket.socket]:
    if config.listen_address != "::":
        return netutil.bind_sockets(config.port, config.listen_address or None, backlog=BACKLOG)
    # Tornado would make it IPv6 only; here it means everybody.
    bound = socket.create_server(("::", config.port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    bound.setblocking(False)  # noqa: FBT003  socket's signature
    return [bound]


def local_server(router: routing.Router, config: RestapiConfig, path: Path) -> httpserver.HTTPServer:
    """Listen on the UNIX socket ``path``, mode 0600. Raises ``OSError``."""
    server = _make(router, config)
    server.is_local = True
    server.add_socket(netutil.bind_unix_socket(str(path), mode=0o600, backlog=BACKLOG))
    return server


def _make(router: routing.Router, config: RestapiConfig, **options: Any) -> _Server:  # noqa: ANN401  Tornado's options
    server = _Server(
        router,
        idle_connection_timeout=config.idle_seconds,
        body_timeout=BODY_SECONDS,
        max_header_size=MAX_HEADER_BYTES,
        max_body_size=config.max_body_bytes,
        max_buffer_size=MAX_BUFFER_BYTES,
        **options,
    )
    server.max_connections = config.max_connections
    return server
