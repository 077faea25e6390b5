"""Fetches a file by HTTP for an import. Blocks, in a thread of its own; nothing of it trusts the other side.

Every address that a name stands for is checked, the connection goes to the very address that was checked, and each
redirect begins anew. ``http.client`` is used without its own way of connecting, which would resolve the name again.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from nanocore.errors import ErrorCode, NanoError

MAX_REDIRECTS = 5
READ_BYTES = 1024 * 1024
SILENCE_SECONDS = 30.0
MAX_REASON = 300
PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OK = 200


@dataclass
class Fetch:
    """One fetch; ``run`` is called once. ``stop`` may be called by another thread at any time."""

    url: str
    refuse: Callable[[str], str | None]
    """Says why an address may not be connected to, or ``None``."""
    on_size: Callable[[int | None], None]
    """Told the announced length before the first byte; may raise."""
    on_bytes: Callable[[bytes], None]
    timeout_seconds: float
    received: int = 0
    _stopped: threading.Event = field(default_factory=threading.Event)
    _socket: socket.socket | None = None

    def stop(self) -> None:
        """End it soon, whatever it waits for."""
        self._stopped.set()
        self._cut()

    def _cut(self) -> None:
        connected = self._socket
        if connected is not None:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Fetch; raise ``invalid_argument`` for what the other side did, ``deadline_exceeded``, ``cancelled``."""
        ends = time.monotonic() + self.timeout_seconds
        url = check_url(self.url)
        # A site that sends a byte now and then, in a header say, is silent for no time at all.
        alarm = threading.Timer(self.timeout_seconds, self._cut)
        alarm.daemon = True
        alarm.start()
        try:
            for _ in range(MAX_REDIRECTS + 1):
                target = self._get(url, ends)
                if target is None:
                    return
                url = _redirected(url, target)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._check_going(ends)
            raise _failed(url, f"{error or type(error).__name__}") from error
        finally:
            alarm.cancel()
        raise _failed(url, f"it was redirected more than {MAX_REDIRECTS} times")

    def _get(self, url: SplitResult, ends: float) -> str | None:
        """Return where a redirect leads, or ``None`` when everything has come."""
        connection = self._connect(url, ends)
        response: http.client.HTTPResponse | None = None
        try:
            path = urlunsplit(("", "", url.path or "/", url.query, ""))
            connection.request("GET", path, headers={"User-Agent": "nano", "Accept-Encoding": "identity"})
            response = connection.getresponse()
            if response.status in _REDIRECTS:
                location = response.getheader("Location")
                if not location:
                    raise _failed(url, f"it answered {response.status} without saying where to go")
                return location
            if response.status != _OK:
                raise _failed(url, f"it answered {response.status} {response.reason}")
            if response.getheader("Content-Encoding", "identity").lower() != "identity":
                raise _failed(url, "it sent the file in an encoding that was not asked for")
            self._take(response, url, ends)
        finally:
            if response is not None:
                response.close()
            connection.close()
            self._socket = None
        return None

    def _take(self, response: http.client.HTTPResponse, url: SplitResult, ends: float) -> None:
        announced = response.length
        self.on_size(announced)
        while True:
            self._check_going(ends)
            data = response.read1(READ_BYTES)
            if not data:
                break
            self.received += len(data)
            self.on_bytes(data)
        self._check_going(ends)
        if announced is not None and self.received != announced:
            raise _failed(url, f"it ended after {self.received} of {announced} bytes")

    def _connect(self, url: SplitResult, ends: float) -> http.client.HTTPConnection:
        host, port = url.hostname or "", url.port or PORTS[url.scheme]
        addresses = [info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        for address in addresses:
            reason = self.refuse(str(address))
            if reason is not None:
                raise NanoError(
                    ErrorCode.INVALID_ARGUMENT,
                    f"{host} stands for {address}, which {reason}; images are imported from public addresses, and from "
                    "what [images] import_allowed_networks names",
                    reason="images.import_address",
                    field="import_url",
                )
        connected = socket.create_connection((str(addresses[0]), port), timeout=SILENCE_SECONDS)
        self._socket = connected
        connection: http.client.HTTPConnection
        try:
            if url.scheme == "https":
                context = ssl.create_default_context()
                # The handshake comes after, so that it can be cut as well.
                connected = context.wrap_socket(connected, server_hostname=host, do_handshake_on_connect=False)
                self._socket = connected
                self._check_going(ends)
                connected.do_handshake()
                connection = http.client.HTTPSConnection(host, port)
            else:
                self._check_going(ends)
                connection = http.client.HTTPConnection(host, port)
        except BaseException:
            connected.close()
            raise
        connection.auto_open = 0  # never by name again
        connection.sock = connected
        return connection

    def _check_going(self, ends: float) -> None:
        if self._stopped.is_set():
            raise NanoError(ErrorCode.CANCELLED, "the import was ended", reason="images.import_stopped")
        if time.monotonic() > ends:
            raise NanoError(
                ErrorCode.DEADLINE_EXCEEDED,
                f"the file did not come within {self.timeout_seconds:g} s ([images] import_timeout_seconds)",
                reason="images.import_slow",
            )


def check_url(text: str) -> SplitResult:
    """Return the parts of an address that can be fetched; ``invalid_argument`` says what is wrong with it."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise _bad(text, "its host or port can't be read") from error
    if url.scheme not in PORTS:
        raise _bad(text, "it must begin with http:// or https://")
    if not url.hostname or port == 0:
        raise _bad(text, "it names nobody to connect to")
    if url.username is not None or url.password is not None:
        raise _bad(text, "it holds a name or a password, which would end up in logs; use an address without")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise _bad(text, "it holds characters that have to be percent-encoded")
    return url


def shown(text: str) -> str:
    """Return ``text`` without its query, where signatures and tokens are."""
    url = urlsplit(text)
    return urlunsplit((url.scheme, url.netloc, url.path, "", ""))


def _redirected(url: SplitResult, location: str) -> SplitResult:
    target = check_url(urljoin(url.geturl(), location))
    if url.scheme == "https" and target.scheme == "http":
        raise _failed(url, "it redirects to an address without encryption")
    return target


def _bad(text: str, why: str) -> NanoError:
    return NanoError(
        ErrorCode.INVALID_ARGUMENT, f"{_harmless(text)[:200]!r} can't be imported from: {why}", field="import_url"
    )


def _harmless(text: str) -> str:
    """Return what may be told of an address that can't be taken apart: nothing before an ``@``, no query."""
    plain = re.split("[?#]", text, maxsplit=1)[0]
    before, _, after = plain.rpartition("@")
    scheme = before.partition("://")[0] + "://" if "://" in before else ""
    return scheme + after


def _failed(url: SplitResult, why: str) -> NanoError:
    """Return the error; what the other side said may be in ``why``, however long and unprintable."""
    why = "".join(letter if letter.isprintable() else "?" for letter in why[:MAX_REASON])
    return NanoError(
        ErrorCode.INVALID_ARGUMENT,
        f"{shown(url.geturl())[:200]} could not be fetched: {why}",
        reason="images.import_failed",
        field="import_url",
    )
