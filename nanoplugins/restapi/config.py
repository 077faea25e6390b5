"""Settings of ``[restapi]``."""

from __future__ import annotations

from dataclasses import dataclass

from nanocore.config import setting


@dataclass(frozen=True, kw_only=True)
class RestapiConfig:
    """Where the API listens and what it takes from one client."""

    listen_address: str = setting("0.0.0.0", "Address to listen on; `::` for IPv6 as well")  # noqa: S104  TLS, password
    port: int = setting(5870, "Port of the API and the portal; 0 for any free one", minimum=0)
    certificate_file: str = setting("", "Certificate chain (PEM); empty: one made by this node")
    key_file: str = setting("", "Key of `certificate_file` (PEM)")
    max_connections: int = setting(2000, "Connections at once; further ones are closed", minimum=1)
    max_body_bytes: int = setting(1024 * 1024, "Longest JSON body of a request", minimum=1024)
    idle_seconds: float = setting(75.0, "A connection without a request is closed after this", minimum=1)
    stall_seconds: float = setting(60.0, "A client that neither sends nor reads is cut off after this", minimum=1)
    max_sockets_per_user: int = setting(100, "WebSockets (events, consoles) of one user at once", minimum=1)
