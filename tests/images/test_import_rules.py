"""Where an import may go, and what it makes of web sites that misbehave. Real HTTP on loopback."""

from __future__ import annotations

import http.server
import re
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from nanocore.errors import ErrorCode, NanoError
from nanoplugins.images.addresses import parse_networks, refusal
from nanoplugins.images.web_fetch import Fetch, check_url, shown

LOOPBACK = parse_networks(["127.0.0.0/8"])


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.0.0.1", "172.16.5.5", "192.168.1.1", "100.64.0.1", "169.254.169.254",
        "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::", "::1",
        "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:0:1::", "2001:db8::1", "::127.0.0.1",
    ],
)  # fmt: skip
def test_addresses_that_are_refused(address: str) -> None:
    assert refusal(address, [], []) is not None


@pytest.mark.parametrize("address", ["8.8.8.8", "151.101.2.132", "2a04:4e42::644", "::ffff:8.8.8.8"])
def test_addresses_that_are_public(address: str) -> None:
    assert refusal(address, [], []) is None
    platform = parse_networks(["8.0.0.0/8", "151.101.0.0/16", "2a04::/16"])
    assert refusal(address, [], platform) == "is in a network of this platform"
    assert refusal(address, platform, platform) is None


def test_setting_allows_what_it_names_only() -> None:
    assert refusal("127.0.0.1", LOOPBACK, []) is None
    assert refusal("::ffff:127.0.0.1", LOOPBACK, []) is None
    assert refusal("10.0.0.1", LOOPBACK, []) is not None
    with pytest.raises(NanoError, match="no network"):
        parse_networks(["10.0.0.1/8"])


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://example.org/x", "http"),
        ("file:///etc/passwd", "http"),
        ("/etc/passwd", "http"),
        ("gopher://example.org", "http"),
        ("http://", "nobody"),
        ("http:///x", "nobody"),
        ("http://user:secret@example.org/", "password"),
        ("http://user@example.org/", "password"),
        ("http://example.org:99999/", "(?i)port"),
        ("http://example.org:0/", "nobody"),
        ("http://example.org/a b", "percent"),
        ("http://example.org/\r\nX: y", "."),
        ("http://example.org/ü", "percent"),
        ("http://[::1", "."),
    ],
)
def test_addresses_that_are_none(url: str, why: str) -> None:
    with pytest.raises(NanoError, match=why) as caught:
        check_url(url)
    assert (caught.value.code, caught.value.details.get("field")) == (ErrorCode.INVALID_ARGUMENT, "import_url")


def test_signatures_are_not_shown() -> None:
    assert shown("https://example.org:8443/a/b.img?token=secret#x") == "https://example.org:8443/a/b.img"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/a.img?token=secret",
        "http://ada:secret@example.org/a.img",
        "ada:secret@example.org/a.img",
        "http://ada:se@cret@example.org:bad/a.img#secret",
        "http://example.org/a.img?token=secret key",
    ],
)
def test_a_refusal_holds_no_secret(url: str) -> None:
    with pytest.raises(NanoError, match="can't be imported from") as caught:
        check_url(url)
    assert "cret" not in caught.value.message


DATA = bytes(range(256)) * 1000
TARGETS = {
    "to-private": "http://10.255.0.1/x",
    "to-file": "file:///etc/passwd",
    "to-signed": "ftp://example.org/a.img?token=secret",
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers["Host"]))  # type: ignore[attr-defined]
        name = self.path.strip("/").partition("?")[0]
        if name.isdigit():
            self.send_response(302)
            self.send_header("Location", str(int(name) - 1) if name != "0" else "/file")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if name.startswith("to-"):
            self.send_response(301)
            self.send_header("Location", TARGETS[name])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if name == "wordy":
            self.send_response(500, "\x1b[31m" + "no " * 10_000)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(404 if name == "missing" else 200)
        if name == "gzip":
            self.send_header("Content-Encoding", "gzip")
        if name == "endless":
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            try:
                while True:
                    self.wfile.write(DATA)
            except OSError:
                return
        self.send_header("Content-Length", str(len(DATA) + (name == "short")))
        self.end_headers()
        if name == "silent":
            self.server.released.wait(30)  # type: ignore[attr-defined]
        self.wfile.write(DATA)
        self.close_connection = name == "short"


@pytest.fixture
def site() -> Iterator[Any]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    server.seen = []  # type: ignore[attr-defined]
    server.released = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    yield server
    server.released.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(site: Any, path: str, *, allowed: Any = LOOPBACK, timeout_seconds: float = 30.0) -> tuple[Fetch, bytearray]:
    got = bytearray()
    made = Fetch(
        url=f"http://127.0.0.1:{site.server_port}{path}",
        refuse=lambda address: refusal(address, allowed, []),
        on_size=lambda _size: None,
        on_bytes=got.extend,
        timeout_seconds=timeout_seconds,
    )
    return made, got


@pytest.mark.parametrize("path", ["/file", "/0", "/4", "/file?a=b"])
def test_file_comes_whole(site: Any, path: str) -> None:
    made, got = fetch(site, path)
    made.run()
    assert (bytes(got), made.received) == (DATA, len(DATA))
    assert {host for _, host in site.seen} == {f"127.0.0.1:{site.server_port}"}


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/missing", "answered 404"),
        ("/short", "ended after|IncompleteRead"),
        ("/gzip", "encoding"),
        ("/9", "redirected more than 5 times"),
        ("/to-private", r"10\.255\.0\.1, which is private"),
        ("/to-file", "must begin with http"),
    ],
)
def test_what_goes_wrong_is_said(site: Any, path: str, why: str) -> None:
    made, _ = fetch(site, path)
    with pytest.raises(NanoError, match=why) as caught:
        made.run()
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


def test_the_signature_of_a_refused_redirect_is_not_shown(site: Any) -> None:
    made, _ = fetch(site, "/to-signed")
    with pytest.raises(NanoError, match=r"'ftp://example\.org/a\.img' can't be imported") as caught:
        made.run()
    assert "secret" not in str(caught.value)


def test_nothing_is_sent_to_a_refused_address(site: Any) -> None:
    made, _ = fetch(site, "/file", allowed=[])
    with pytest.raises(NanoError, match="which is the core itself"):
        made.run()
    assert site.seen == []


def test_name_with_one_bad_address_is_refused(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may not mix a public address with a private one."""
    entry = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    answers = [(*entry, ("127.0.0.1", site.server_port)), (*entry, ("10.0.0.1", site.server_port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: answers)
    made, _ = fetch(site, "/file")
    with pytest.raises(NanoError, match=r"10\.0\.0\.1"):
        made.run()
    assert site.seen == []


def test_name_is_resolved_once_a_connection(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that changes between check and connection (rebinding) never counts."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: str, *args: Any, **more: Any) -> Any:
        if re.fullmatch(r"[\d.]+", host):
            return real(host, *args, **more)
        asked.append(host)
        return real("127.0.0.1" if len(asked) == 1 else "10.0.0.1", *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    made, got = fetch(site, "/file")
    made.url = f"http://images.example:{site.server_port}/file"
    made.run()
    assert (bytes(got), asked) == (DATA, ["images.example"])


def test_endless_file_ends_at_the_deadline(site: Any) -> None:
    made, _ = fetch(site, "/endless", timeout_seconds=0.2)
    with pytest.raises(NanoError) as caught:
        made.run()
    assert caught.value.code is ErrorCode.DEADLINE_EXCEEDED


def test_limit_of_size_ends_it(site: Any) -> None:
    made, _ = fetch(site, "/endless")

    def full(_data: bytes) -> None:
        if made.received > 1_000_000:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, "too large")

    made.on_bytes = full
    with pytest.raises(NanoError, match="too large"):
        made.run()


def test_silent_site_does_not_hold_a_cancel_up(site: Any) -> None:
    made, _ = fetch(site, "/silent")
    failed: list[NanoError] = []

    def run() -> None:
        try:
            made.run()
        except NanoError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    ends = time.monotonic() + 20
    while not site.seen and time.monotonic() < ends:
        thread.join(0.01)
    made.stop()
    thread.join(20)
    assert [error.code for error in failed] == [ErrorCode.CANCELLED]


@pytest.fixture
def dripping() -> Iterator[Any]:
    """Send a header byte by byte for 20 s; ``cut`` is set once the other side has ended that."""
    listener = socket.create_server(("127.0.0.1", 0))
    cut, released = threading.Event(), threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                for _ in range(1000):
                    connection.sendall(b"a")
                    if released.wait(0.02):
                        return
            except OSError:
                cut.set()

    thread = threading.Thread(target=serve)
    thread.start()
    yield SimpleNamespace(server_port=listener.getsockname()[1], cut=cut)
    released.set()
    thread.join()
    listener.close()


def test_header_that_drips_ends_at_the_deadline(dripping: Any) -> None:
    made, _ = fetch(dripping, "/", timeout_seconds=0.3)
    with pytest.raises(NanoError) as caught:
        made.run()
    assert caught.value.code is ErrorCode.DEADLINE_EXCEEDED
    assert dripping.cut.wait(10)


def test_what_a_site_says_is_shown_short_and_printable(site: Any) -> None:
    made, _ = fetch(site, "/wordy")
    with pytest.raises(NanoError) as caught:
        made.run()
    assert "answered 500" in caught.value.message
    assert len(caught.value.message) < 500
    assert caught.value.message.isprintable()
