"""Clients that stall, vanish, come in crowds or speak something else; WebSockets and files for those who should not."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from nanocore.testing.kernel_process import wait_until
from tests.security.site import API, CONFIG, NOBODY, Site, read_all, start

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

MIB = 1024**2
CUT_SECONDS = 2.0
LOGIN = '{"username":"admin","password":"x"}'


@pytest.fixture(scope="session")
def instance_id(besieged: Site, small_image: Path) -> Iterator[str]:
    """A running instance."""
    client = besieged.kernel.client
    image = client.upload_disk_image(small_image, "clients")["id"]
    body = {"name": "web-1", "image_id": image, "memory_bytes": 64 * MIB}
    instance_id = str(client.wait(client.request("POST", "/instances", json=body))["result"]["instance_id"])
    yield instance_id
    client.wait(client.request("DELETE", f"/instances/{instance_id}"))


def open_socket(site: Site, path: str, token: str | None = None, **headers: str) -> ClientConnection:
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return connect(f"wss://{site.host}{path}", ssl=site.tls, additional_headers=headers, open_timeout=10, legacy=True)


def refused(site: Site, path: str, token: str | None = None, **headers: str) -> int:
    with pytest.raises(InvalidStatus) as caught:
        open_socket(site, path, token, **headers)
    return caught.value.response.status_code


def ticket(site: Site, instance_id: str, token: str, kind: str = "serial") -> str:
    with site.client(token) as client:
        answer = client.post(f"/instances/{instance_id}/console", json={"kind": kind})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["ws_path"])


# -- slow, gone, many


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Site]:
    """A node of its own: connections that others keep open would be cut as well."""
    kernel = start(tmp_path, CONFIG.replace("[restapi]\n", "[restapi]\nidle_seconds = 2\n"))
    try:
        yield Site(kernel)
    finally:
        kernel.stop()


def test_slow_and_silent_clients_are_cut_and_hold_up_nobody(impatient: Site) -> None:
    site = impatient
    begin = time.monotonic()
    silent = [socket.create_connection(("localhost", site.port), timeout=10) for _ in range(40)]
    with site.connection() as idle, site.connection() as slow, site.connection() as half_a_body:
        head = f"POST {API}/session HTTP/1.1\r\nHost: {site.host}\r\nContent-Type: application/json\r\n"
        half_a_body.sendall(head.encode() + b"Content-Length: 1000\r\n\r\n{")
        slow.sendall(b"GET / HTTP/1.1\r\nX: ")
        with site.client(site.admin) as client:
            for _ in range(20):
                asked = time.monotonic()
                assert client.get("/system").status_code == 200
                assert time.monotonic() - asked < 1
        for connection in (idle, slow, *silent):
            assert read_all(connection) == b""
            connection.close()
    assert time.monotonic() - begin < 8  # four times idle_seconds, for busy machines


def test_clients_that_vanish(site: Site, instance_id: str) -> None:
    who = f"Host: x\r\nAuthorization: Bearer {site.admin}\r\n"
    requests = [
        f"GET {API}/instances HTTP/1.1\r\n{who}\r\n",
        f"GET {API}/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET {API}/operations/{NOBODY}?wait=30 HTTP/1.1\r\n{who}\r\n",
        f"POST {API}/instances HTTP/1.1\r\n{who}Content-Length: 9\r\n\r\n{{",
        f"POST {API}/session HTTP/1.1\r\n{who}Content-Type: application/json\r\nContent-Length: 35\r\n\r\n{LOGIN}",
    ]
    for number, text in enumerate(requests * 8):
        with site.connection() as connection:
            connection.sendall(text.encode() * (1 + number % 3))
            linger = b"\1\0\0\0\0\0\0\0"
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)  # a reset instead of an end
    for kind in ("serial", "screen"):
        console = open_socket(site, ticket(site, instance_id, site.admin, kind), site.admin)
        console.recv(timeout=5)
        console.socket.shutdown(socket.SHUT_RDWR)
        console.socket.close()
    with site.client(site.admin) as client:
        assert client.get(f"/instances/{instance_id}").json()["state"]["observed"] == "running"


def test_something_else_than_tls(site: Site) -> None:
    for data in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\xff\xff",
        b"\0" * 1000,
        b"SSH-2.0-x\r\n",
        b"\x16\x03\x01\0\5abcde",
    ):
        with socket.create_connection(("localhost", site.port), timeout=10) as plain:
            plain.sendall(data)
            with contextlib.suppress(OSError):  # it may have been cut already
                plain.shutdown(socket.SHUT_WR)
            assert b"HTTP/1.1 200" not in read_all(plain)
    old = ssl.create_default_context(cafile=str(site.kernel.root / "var/lib/nano/restapi/tls/ca.pem"))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("localhost", site.port), timeout=10) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        old.wrap_socket(plain, server_hostname="localhost")


def test_a_hundred_connections_at_once(site: Site) -> None:
    statuses: list[int] = []
    waits: list[float] = []
    request = (
        f"GET {API}/instances HTTP/1.1\r\nHost: {site.host}\r\nAuthorization: Bearer {site.admin}\r\n\r\n".encode()
    )
    everybody = threading.Barrier(100)

    def one() -> None:
        with site.connection() as connection:
            everybody.wait(30)
            begin = time.monotonic()
            for _ in range(3):
                connection.sendall(request)
                statuses.append(int(connection.recv(65536).split(b" ", 2)[1]))
            waits.append(time.monotonic() - begin)

    threads = [threading.Thread(target=one) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"100 connections, 3 requests each: worst {max(waits):.2f} s")
    assert statuses == [200] * 300


# -- WebSockets


def test_sockets_of_other_sites(site: Site, instance_id: str) -> None:
    with site.client() as client:
        login = client.post("/session", json={"username": "admin", "password": site.password})
    cookie = {"Cookie": f"__Host-nano_session={login.cookies['__Host-nano_session']}"}
    origins = ["https://evil.example", "null", f"https://{site.host}.evil.example", "https://localhost", "http://[", ""]
    for origin in origins:
        assert refused(site, f"{API}/events", Origin=origin, **cookie) == 403, origin
        path = ticket(site, instance_id, site.admin)
        assert refused(site, path, site.admin, Origin=origin) == 403, origin
    with open_socket(site, f"{API}/events", Origin=f"https://{site.host}", **cookie) as events:
        assert json.loads(events.recv(timeout=5))["type"] == "hello"
    assert refused(site, f"{API}/events") == 401
    assert refused(site, f"{API}/events?topics=nothing", site.admin) == 400
    assert refused(site, f"{API}/events?topics=node-invites,instances", site.viewer) in {400, 403}


def test_tickets_fit_their_own_lock_once(site: Site, instance_id: str) -> None:
    assert refused(site, f"{API}/consoles/{instance_id}/serial", site.admin) == 403
    assert refused(site, f"{API}/consoles/{instance_id}/serial?ticket=", site.admin) == 403
    stolen = ticket(site, instance_id, site.admin)
    assert refused(site, stolen) == 401
    assert refused(site, stolen, site.viewer) == 403
    assert refused(site, stolen, site.admin) == 403  # the thief's try has used it up
    for change in ((instance_id, NOBODY), ("serial", "screen"), ("/serial", "/serial%00")):
        path = ticket(site, instance_id, site.admin).replace(*change)
        assert refused(site, path, site.admin) in {400, 403, 404}, change
    path = ticket(site, instance_id, site.admin)
    with open_socket(site, path, site.admin) as console:
        assert b"web-1" in console.recv(timeout=5)
        assert refused(site, path, site.admin) == 403
        console.send(b"x" * 900_000)
        console.send(b"\0\xff\x1b]0;x\7")
    with site.client(site.viewer) as client:
        assert client.post(f"/instances/{instance_id}/console", json={"kind": "serial"}).status_code == 403


@pytest.mark.parametrize("way", ["token", "session"])
def test_what_a_login_opened_ends_with_it(site: Site, instance_id: str, way: str) -> None:
    headers: dict[str, str] = {}
    made: dict[str, Any] = {}
    if way == "token":
        made = site.new_token()
        headers["Authorization"] = f"Bearer {made['token']}"
    else:
        with site.client() as client:
            login = client.post("/session", json={"username": "admin", "password": site.password})
        cookie = f"__Host-nano_session={login.cookies['__Host-nano_session']}"
        headers = {"Cookie": cookie, "X-CSRF-Token": login.json()["csrf_token"]}
    with site.client(**headers) as client:
        paths = []
        for kind in ("serial", "screen"):
            answer = client.post(f"/instances/{instance_id}/console", json={"kind": kind})
            assert answer.status_code == 201, answer.text
            paths.append(answer.json()["ws_path"])
        unused = client.post(f"/instances/{instance_id}/console", json={"kind": "serial"}).json()["ws_path"]
        opened = [open_socket(site, path, **headers) for path in (*paths, f"{API}/events")]
        for one in opened:
            one.recv(timeout=5)
        begin = time.monotonic()
        if way == "token":
            site.kernel.client.request("DELETE", f"/tokens/{made['id']}")
        else:
            assert client.delete("/session").status_code == 204
    for one in opened:
        with pytest.raises(ConnectionClosed):
            while True:
                one.recv(timeout=CUT_SECONDS)
    print(f"cut after {time.monotonic() - begin:.2f} s")
    assert time.monotonic() - begin < CUT_SECONDS
    assert refused(site, unused, **headers) == 401


def test_sockets_that_misbehave(site: Site, instance_id: str) -> None:
    for rubbish in (b"\xff" * 64, b"\x81\x7f" + b"\xff" * 8, b"\x82\x05hello", b"\x89\xfe\xff\xff" + b"x" * 200):
        console = open_socket(site, ticket(site, instance_id, site.admin), site.admin)
        console.socket.sendall(rubbish)
        console.socket.close()
    huge = open_socket(site, ticket(site, instance_id, site.admin), site.admin)
    with pytest.raises(ConnectionClosed):
        huge.send(b"x" * 3 * MIB)
        while True:
            huge.recv(timeout=5)
    deaf = [open_socket(site, f"{API}/events", site.admin) for _ in range(20)]
    for number in range(20):
        pool = site.kernel.client.request("POST", "/compute-pools", json={"name": f"noise-{number}"})
        site.kernel.client.request("DELETE", f"/compute-pools/{pool['id']}")
    for one in deaf:
        one.socket.close()


# -- cookies and files


def test_login(site: Site) -> None:
    with site.client(Cookie="__Host-nano_session=fixed-by-the-attacker-0123456789") as client:
        answer = client.post("/session", json={"username": "admin", "password": site.password})
        assert answer.status_code == 201
        cookie = answer.headers["Set-Cookie"]
        assert re.fullmatch(r"__Host-nano_session=[\w-]{43}; Path=/; Secure; HttpOnly; SameSite=Strict", cookie)
    session = {"Cookie": cookie.split(";")[0]}
    csrf = {"X-CSRF-Token": answer.json()["csrf_token"]}
    elsewhere = {"Origin": "https://evil.example"}
    for method, path, body in (("POST", "/compute-pools", {"name": "csrf"}), ("DELETE", "/session", None)):
        for headers in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "x" * 43}, csrf | elsewhere, {"X-CSRF-Token": "é"}):
            with site.client(**session) as client:
                sent = {name: value.encode() for name, value in headers.items()}
                answer = client.request(method, path, json=body, headers=sent)  # type: ignore[arg-type]
                assert answer.status_code == 403, (path, headers, answer.text)
    with site.client(**session, **csrf) as client:
        assert client.delete("/session").status_code == 204
    with site.client(**session) as client:
        assert client.get("/session").status_code == 401


def test_nothing_outside_the_portal_is_a_file(site: Site) -> None:
    secret = site.password.encode()
    ups = ["../" * 12, "..%2f" * 12, "%2e%2e/" * 12, "..%5c" * 12, "....//" * 12, "%252e%252e/" * 12, "..;/" * 12]
    targets = ["etc/passwd", f"{str(site.kernel.root)[1:]}/var/lib/nano/identity_local/admin-password"]
    begins = ["/", "/assets/", "/api/", f"{API}/", "//", "/%00/", "/\\"]
    for begin in begins:
        for up in ups:
            for target in targets:
                status, answer = site.request("GET", f"{begin}{up}{target}", token=None, api="")
                assert b"root:x:" not in answer, (begin, up)
                assert secret not in answer, (begin, up)
                assert status in {200, 400, 404}, (begin, up, answer[:100])
    for path in (
        "/etc/passwd%00.html",
        "//etc/passwd",
        "/file:///etc/passwd",
        f"/{site.kernel.root}/etc/nano/nano.toml",
    ):
        status, answer = site.request("GET", path, token=None, api="")
        assert b"root:x:" not in answer
        assert b"[kernel]" not in answer
        assert status in {200, 400, 404}
    status, answer = site.request("GET", "//evil.example/%2e%2e", token=None, api="")
    assert status not in {301, 302, 307, 308}
    status, answer = site.request("GET", "/", token=None, api="")
    assert status == 200
    policy = re.search(rb"Content-Security-Policy: (.*)\r\n", answer)
    assert policy is not None
    assert b"frame-ancestors 'none'" in policy[1]
    assert b"unsafe-inline" not in policy[1]


def test_secrets_on_disk_are_their_owners(site: Site) -> None:
    secrets = re.compile(r"\.key$|key\.pem$|password$|\.db|\.sock$|token")
    found = [path for path in site.kernel.root.rglob("*") if secrets.search(path.name)]
    assert len(found) >= 5
    for path in found:
        assert path.stat().st_mode & 0o077 == 0, path
    wait_until(lambda: site.kernel.client.get("/system"), what="the local socket")
