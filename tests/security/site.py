"""A real node that is attacked from outside: its API over TLS, raw bytes to its port, and its log."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx2

from nanocore.testing.kernel_process import SIM_CONFIG, KernelProcess, wait_until

API = "/api/v2"
NOBODY = "00000000-0000-0000-0000-000000000000"
CONFIG = SIM_CONFIG.replace('plugins = ["*", "-webportal"]', 'plugins = ["*"]') + (
    "\n[identity_local]\nlogin_attempts = 1000\nlogin_attempts_per_address = 1000\n"
)
"""As shipped, with room for logins from one address."""


class Site:
    """The node and what an outsider knows of it."""

    def __init__(self, kernel: KernelProcess) -> None:
        self.kernel = kernel
        self.port = int(next(line["port"] for line in kernel.log_lines() if line["event"] == "listening"))
        facts = next(line for line in kernel.log_lines() if line["event"] == "node ready")
        self.node_id = str(facts["node_id"])
        self.message_port = int(facts["message_port"])
        self.stream_port = int(facts["stream_port"])
        self._seen = 0

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    @cached_property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.kernel.root / "var/lib/nano/restapi/tls/ca.pem"))

    @property
    def password(self) -> str:
        return (self.kernel.root / "var/lib/nano/identity_local/admin-password").read_text().strip()

    @cached_property
    def admin(self) -> str:
        """A token that may everything."""
        return self.token()

    @cached_property
    def viewer(self) -> str:
        """A token that may read."""
        return self.token(roles=["viewer"])

    def token(self, **options: Any) -> str:
        """Return a new token's secret."""
        return str(self.new_token(**options)["token"])

    def new_token(self, **options: Any) -> dict[str, Any]:
        """Return the answer that made a new token of the administrator."""
        made: dict[str, Any] = self.kernel.client.request("POST", "/tokens", json={"name": "test", **options})
        return made

    def client(self, token: str | None = None, **headers: str) -> httpx2.Client:
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return httpx2.Client(base_url=f"https://{self.host}{API}", verify=self.tls, headers=headers, timeout=15)

    def invite(self, **options: Any) -> dict[str, Any]:
        body = {"roles": ["cell"], **options}
        answer: dict[str, Any] = self.kernel.client.request("POST", "/node-invites", json=body)
        return answer

    # -- raw bytes

    @contextmanager
    def connection(self) -> Iterator[ssl.SSLSocket]:
        plain = socket.create_connection(("localhost", self.port), timeout=10)
        with self.tls.wrap_socket(plain, server_hostname="localhost") as connection:
            yield connection

    def raw(self, data: bytes) -> tuple[int, bytes]:
        """Send bytes as they are; return the answer's status (0 for none) and all of it."""
        with self.connection() as connection:
            connection.sendall(data)
            answer = read_all(connection)
        return (int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0), answer

    def request(
        self, method: str, path: str, *lines: bytes, body: bytes = b"", token: str | None = "admin", api: str = API
    ) -> tuple[int, bytes]:
        """Send a request whose path, header lines and body no client library would send."""
        head = [f"{method} {api}{path} HTTP/1.1".encode(), f"Host: {self.host}".encode(), b"Connection: close"]
        if token is not None:
            head.append(f"Authorization: Bearer {self.admin if token == 'admin' else token}".encode())
        if body:
            head += [b"Content-Type: application/json", b"Content-Length: %d" % len(body)]
        return self.raw(b"\r\n".join([*head, *lines, b"", body]))

    # -- afterwards

    def instance_names(self) -> set[str]:
        """Return the names of all instances but the one that some tests look at."""
        return {str(item["name"]) for item in self.kernel.client.get("/instances")["items"]} - {"web-1"}

    def check_serving(self) -> None:
        """Use it over the network as an honest client does."""
        self.kernel.check_alive()
        with self.client(self.admin) as client:
            answer = client.get("/system")
            assert answer.status_code == 200, answer.text
            assert client.get("/instances").status_code == 200

    def new_log(self) -> list[dict[str, Any]]:
        """Return what was logged since the last call."""
        lines = list(self.kernel.log_lines())
        self._seen, since = len(lines), self._seen
        return lines[since:]

    def wait_for_log(self, found: Callable[[Mapping[str, Any]], bool], what: str) -> dict[str, Any]:
        """Return the first line that fits, once it is there."""
        return wait_until(lambda: next((line for line in self.kernel.log_lines() if found(line)), None), what=what)


def read_all(connection: socket.socket) -> bytes:
    """Return everything until the other side ends; an abrupt end is one as well."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except (ConnectionError, ssl.SSLError):
        pass
    return received


def problem_of(answer: bytes) -> dict[str, Any]:
    """Return the problem in a raw answer."""
    parsed: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return parsed


def start(root: Path, config: str = CONFIG, *, name: str = "core-1") -> KernelProcess:
    """Return a node that serves."""
    process = KernelProcess(root, config, name=name)
    process.start()
    process.wait_ready()
    return process
