"""A plain HTTP client for load, and the bare Tornado that it is pointed at as the limit."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tornado import httpserver, netutil, web

from bench.child import cpu_seconds

CONNECTIONS = 8


@dataclass(frozen=True)
class Target:
    """One thing to GET: over TLS at ``port``, or over the UNIX socket ``path``; ``pid`` answers."""

    pid: int
    resource: str
    port: int = 0
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def request(self, method: str = "GET", body: bytes = b"") -> bytes:
        headers = {"Host": "localhost", **self.headers}
        if body:
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        lines = [f"{method} {self.resource} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.path:
            return await asyncio.open_unix_connection(self.path, limit=2**22)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # loopback, and its certificate was made a moment ago
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=context, limit=2**22)


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    _, _, rest = head.lower().partition(b"content-length:")
    return int(head[9:12]), await reader.readexactly(int(rest.partition(b"\r\n")[0]))


async def load(target: Target, requests: int) -> tuple[float, float]:
    """Return requests a second over eight kept connections, and the CPU of the answering process for each in us."""
    request = target.request()

    async def worker(count: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(count):
            writer.write(request)
            status, _ = await read_answer(reader)
            assert status == 200

    streams = [await target.connect() for _ in range(CONNECTIONS)]
    await asyncio.gather(*(worker(2, *stream) for stream in streams))
    each = max(1, requests // CONNECTIONS)
    cpu, begun = cpu_seconds(target.pid), time.perf_counter()
    await asyncio.gather(*(worker(each, *stream) for stream in streams))
    seconds, cpu = time.perf_counter() - begun, cpu_seconds(target.pid) - cpu
    for _, writer in streams:
        writer.close()
    return each * CONNECTIONS / seconds, cpu / each / CONNECTIONS * 1e6


async def latencies(target: Target, requests: int) -> list[float]:
    """Return how long each of ``requests`` took, one after the other on one connection, in ms, the quickest first."""
    reader, writer = await target.connect()
    request, times = target.request(), []
    for _ in range(requests):
        begun = time.perf_counter()
        writer.write(request)
        status, _ = await read_answer(reader)
        assert status == 200
        times.append((time.perf_counter() - begun) * 1000)
    writer.close()
    return sorted(times)


async def send(target: Target, method: str, bodies: list[bytes]) -> list[tuple[int, bytes]]:
    """Send every body, eight at a time, and return the answers in their order."""
    answers: list[tuple[int, bytes]] = [(0, b"")] * len(bodies)
    waiting = iter(enumerate(bodies))

    async def worker() -> None:
        reader, writer = await target.connect()
        for number, body in waiting:
            writer.write(target.request(method, body))
            answers[number] = await read_answer(reader)
        writer.close()

    await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))
    return answers


async def get(target: Target) -> bytes:
    (status, body), *_ = await send(target, "GET", [b""])
    if status != 200:
        raise RuntimeError(f"GET {target.resource} was answered with {status}: {body[:300]!r}")
    return body


class _Ready(web.RequestHandler):
    """Writes bytes that are ready, without the hash over them that Tornado makes by default."""

    def initialize(self, body: bytes) -> None:
        self.body = body

    def get(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.write(self.body)

    def compute_etag(self) -> None:
        return None


@asynccontextmanager
async def bare_tornado(
    folder: str, page: str, certificate: str, key: str
) -> AsyncIterator[dict[str, Callable[..., Awaitable[Any]]]]:
    """A child: the page in the file ``page`` at ``/page`` and a greeting at ``/hello``, on TLS and a UNIX socket."""
    application = web.Application(
        [
            ("/page", _Ready, {"body": await asyncio.to_thread(Path(page).read_bytes)}),
            ("/hello", _Ready, {"body": b"Hello, world"}),
        ],
        log_function=lambda _: None,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    over_tls = httpserver.HTTPServer(application, ssl_options=context)
    sockets = netutil.bind_sockets(0, "127.0.0.1")
    over_tls.add_sockets(sockets)
    local = httpserver.HTTPServer(application)
    path = f"{folder}/bare.sock"
    local.add_socket(netutil.bind_unix_socket(path))

    async def where() -> dict[str, Any]:
        return {"port": sockets[0].getsockname()[1], "path": path}

    yield {"where": where}
    for server in (over_tls, local):
        server.stop()
        await server.close_all_connections()
