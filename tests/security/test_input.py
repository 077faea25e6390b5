"""Input that nobody sends by mistake is refused, cheaply, with a reason that names it; nothing fails inside."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.security.site import API, NOBODY, Site, problem_of

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

MIB = 1024**2
NAMES = {
    "markup": "<img src=x onerror=alert(1)>",
    "dash": "-rf",
    "path": "../../etc/passwd",
    "absolute": "/etc/passwd",
    "xml": "&lt;!ENTITY x SYSTEM 'file:///etc/passwd'&gt;",
    "template": "${jndi:ldap://x}{{7*7}}",
    "shell": "a;reboot",
    "upper": "Web",
    "line": "web\n",
    "crlf": "web\r\nSet-Cookie: a=b",
    "nul": "web\0",
    "escape": "\x1b]0;owned\x07",
    "right to left": "\u202egnp.exe",
    "long": "a" * 64,
    "10 kB": "é" * 5000,
    "empty": "",
    "blank": " ",
    "number": 7,
    "nothing": None,
    "list": ["web"],
    "object": {"$ne": ""},
}
NUMBERS: dict[str, list[Any]] = {
    "vcpus": [0, -1, 2**31, 2**63, 1.5, "1", True, None, 1e308, [1]],
    "memory_bytes": [0, -1, 1, 2**63 - 1, 2**64, "64 MiB", 64.5],
    "disk_size_bytes": [0, -1, 1, 2**63 - 1, 2**64, "1G"],
}


@pytest.fixture(scope="session")
def image_id(besieged: Site, small_image: Path) -> str:
    return str(besieged.kernel.client.upload_disk_image(small_image, "security")["id"])


def new(image_id: str, **changes: Any) -> dict[str, Any]:
    return {"name": "honest", "image_id": image_id, "memory_bytes": 64 * MIB} | changes


def test_names(site: Site, image_id: str) -> None:
    with site.client(site.admin) as client:
        for what, name in NAMES.items():
            for path, body in (("/instances", new(image_id, name=name)), ("/compute-pools", {"name": name})):
                answer = client.post(path, json=body)
                assert answer.status_code == 400, (what, path, answer.text)
                assert answer.json()["code"] == "invalid_argument"
                assert "name" in answer.json()["errors"], (what, answer.text)
                assert len(answer.content) < 2000
            # As a path part and as a filter it is somebody who is not there.
            if isinstance(name, str) and name.strip():
                answer = client.get("/instances", params={"name": name, "q": name[:256]})
                assert answer.status_code == 200, (what, answer.text)
                assert answer.json()["total"] == 0
    assert not site.instance_names()


def test_numbers(site: Site, image_id: str) -> None:
    with site.client(site.admin) as client:
        for field, values in NUMBERS.items():
            for value in values:
                if value is None:
                    continue  # the same as saying nothing
                answer = client.post("/instances", json=new(image_id, **{field: value}))
                assert answer.status_code == 400, (field, value, answer.text)
                assert field in answer.text
    assert not site.instance_names()


def test_fields_that_are_not_the_callers(site: Site, image_id: str) -> None:
    """Mass assignment: what the core or the API sets is nobody else's to set."""
    with site.client(site.admin) as client:
        for field in ("id", "state", "node", "created_at", "owner", "idempotency_key", "expect_revision", "__class__"):
            answer = client.post("/instances", json=new(image_id, **{field: NOBODY}))
            assert answer.status_code == 400, (field, answer.text)
            assert list(answer.json()["errors"]) == [field]
        answer = client.post("/session", json={"username": "admin", "password": "x", "address": "127.0.0.9"})
        assert list(answer.json()["errors"]) == ["address"]
        # Nothing named is nothing, never everything.
        for path in (
            "/instances/",
            "/instances//",
            "/tokens/",
            "/nodes/",
            "/instances/*",
            "/instances/%20",
            "/nodes/%2a",
        ):
            assert client.delete(path).status_code in {404, 405}, path


def test_bodies(site: Site) -> None:
    bodies = {
        "no JSON": b"{",
        "no object": b"[]",
        "a text": b'"name"',
        "two": b"{}{}",
        "NaN": b'{"name":NaN}',
        "deep": b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "deep object": b'{"a":' * 400 + b"1" + b"}" * 400,
        "UTF-16": '{"name":"a"}'.encode("utf-16"),
        "not UTF-8": b'{"name":"\xff"}',
        "half a surrogate": b'{"name":"\\ud800"}',
        "many digits": b'{"vcpus":1' + b"0" * 5000 + b"}",
        "many values": b'{"tags":[' + b"{}," * 300_000 + b"{}]}",
        "many fields": b"{" + b",".join(b'"f%d":1' % number for number in range(60_000)) + b"}",
    }
    for what, body in bodies.items():
        for path in ("/instances", "/session"):
            begin = time.monotonic()
            status, answer = site.request("POST", path, body=body, token="admin" if path == "/instances" else None)
            assert status == 400, (what, path, answer[-300:])
            assert problem_of(answer)["code"] == "invalid_argument"
            assert len(answer) < 200_000, what
            assert time.monotonic() - begin < 2, f"{what} took {time.monotonic() - begin:.1f} s"
    for kind in (b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x"):
        lines = (b"Content-Type: " + kind, b"Content-Length: 2")
        status, _ = site.raw(
            f"POST {API}/session HTTP/1.1\r\nHost: {site.host}\r\nConnection: close\r\n".encode()
            + b"\r\n".join([*lines, b"", b"{}"])
        )
        assert status == 415, kind
    status, _ = site.request("POST", "/instances", body=b'"' + b"x" * 2 * MIB + b'"')
    assert status == 413


def test_a_costly_body_of_nobody_holds_up_nobody(site: Site) -> None:
    body = b'{"tags":[' + b"{}," * 300_000 + b"{}]}"
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            site.request("POST", "/instances", body=body, token=None)

    threads = [threading.Thread(target=flood) for _ in range(4)]
    waits = []
    with site.client(site.admin) as client:
        client.get("/system")
        for thread in threads:
            thread.start()
        try:
            for _ in range(30):
                begin = time.monotonic()
                assert client.get("/system").status_code == 200
                waits.append(time.monotonic() - begin)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    print(f"median {sorted(waits)[15]:.3f} s, worst {max(waits):.3f} s of 30")
    assert max(waits) < 2


def test_queries(site: Site) -> None:
    refused = [
        *("limit=0", "limit=-1", "limit=1e3", "limit=1001", f"limit={'9' * 5000}", "limit=%C2%B2", "limit=1&limit=2"),
        *("cursor=AAAA", f"cursor={'A' * 2000}", "cursor=eyJ4IjoxfQ", "sort=__class__", "sort=--name", "sort=name%00x"),
        *("__class__=x", "name.__class__=x", "unknown=1", f"q={'x' * 257}", "since_revision=99999999999999999999"),
        *("name=%ff", "&".join(f"a{number}=1" for number in range(200))),
    ]
    for query in refused:
        status, answer = site.request("GET", f"/instances?{query}")
        assert status == 400, (query[:60], status, answer[-300:])
        assert len(answer) < 20_000
    with site.client(site.admin) as client:
        node = client.get("/nodes").json()["items"][0]["id"]
        for query in ("from=nan", "from=-inf", "from=1e308", "step=0", "step=1e-300", "step=-1"):
            assert client.get(f"/nodes/{node}/metrics?{query}").status_code == 400, query
        for query in ("from=-1e308", "to=1e308", "step=1e300", "from=0&to=99999999999", "from=1e18&to=1e19"):
            assert client.get(f"/nodes/{node}/metrics?{query}").status_code == 200, query
        unending = client.get(f"/operations/{NOBODY}?wait=1e9")
        assert unending.status_code in {400, 404}


def test_paths(site: Site) -> None:
    parts = [
        "%00",
        "%ff%fe",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e",
        "..",
        "a" * 9000,
        "%F0%9F%92%A9",
        "-",
        "%0d%0aX:y",
        ";x",
    ]
    for part in parts:
        for path in (f"/instances/{part}", f"/nodes/{part}", f"/disk-images/{part}", f"/operations/{part}"):
            status, answer = site.request("GET", path)
            assert status in {400, 404}, (path[:60], status, answer[:200])
            assert b"\r\nX:y" not in answer
        status, _ = site.request(
            "PATCH",
            f"/uploads/{part}",
            *(b"Tus-Resumable: 1.0.0", b"Content-Type: application/offset+octet-stream", b"Upload-Offset: 0"),
            b"Content-Length: 0",
        )
        assert status in {400, 404}, part[:60]


def test_headers(site: Site) -> None:
    json_body = (b"Content-Type: application/json", b"Content-Length: 2")

    def post(*lines: bytes) -> int:
        head = f"POST {API}/instances HTTP/1.1\r\nHost: {site.host}\r\nConnection: close\r\n".encode()
        head += f"Authorization: Bearer {site.admin}\r\n".encode()
        return site.raw(head + b"\r\n".join([*lines, b"", b"{}"]))[0]

    assert post(*json_body) == 400
    for origin in (b"http://[::1", b"http://[x]", b"null", b"", b"https://evil.example", b"https://localhost", b"\xff"):
        assert post(*json_body, b"Origin: " + origin) == 403, origin
    for key in (b"\xff", b" ", b"x" * 201, b"a b"):
        assert post(*json_body, b"Idempotency-Key: " + key) == 400, key
    for length in (b"-1", b"\xb2", b"9" * 5000, b"1e3", b"0x10", b"1, 2"):
        assert post(b"Content-Type: application/json", b"Content-Length: " + length) in {400, 413}, length
    assert post(*json_body, b"Transfer-Encoding: chunked") == 400
    for match in (b"\xb2", b"9" * 5000, b'"' + b"9" * 30 + b'"', b"W/", b'""', b"-1", b"x"):
        status, answer = site.request("PATCH", f"/instances/{NOBODY}", b"If-Match: " + match, body=b"{}")
        assert status == 400, (match, answer[-300:])
    for offset in (b"\xb2", b"9" * 5000, b"-1", b""):
        lines = (b"Tus-Resumable: 1.0.0", b"Content-Type: application/offset+octet-stream", b"Content-Length: 0")
        status, _ = site.request("PATCH", f"/uploads/{NOBODY}", *lines, b"Upload-Offset: " + offset)
        assert status == 400, offset
    for given in (b"abcdefgh\r\n evil: 1", b"short", b"x" * 65, b"abcdefgh\x1b[2J", b"a\xffbcdefgh"):
        status, answer = site.request("GET", "/system", b"X-Request-Id: " + given)
        assert status in {200, 400}
        assert given.split(b"\r")[0] not in answer.partition(b"\r\n\r\n")[0], given
    for line in (b"Host: a", b"Upgrade: websocket", b"Expect: nothing", b"X: " + b"y" * 70_000, b"no colon"):
        status, _ = site.request("GET", "/system", line)
        assert status in {0, 200, 400, 431}, line[:40]
    for method in ("TRACE", "CONNECT", "PROPFIND", "x" * 5000, "GET\t"):
        assert site.request(method, "/instances")[0] in {0, 400, 405}, method[:20]


def test_what_is_logged_of_it_stays_one_line(site: Site) -> None:
    site.request("GET", "/instances/%0a%7B%22level%22:%22error%22%7D", b"User-Agent: a\x1b[31m")
    with site.client(site.admin) as client:
        client.get('/instances/x"%20,"level":"error')
        client.post("/compute-pools", json={"name": 'x\n{"level":"error"}'})
    text = site.kernel.log_file.read_text()
    for line in text.splitlines():
        assert line.startswith("{"), line
        json.loads(line)
    assert "\x1b" not in text


def test_secrets_are_not_in_the_log(site: Site) -> None:
    """Of everything that the tests of this folder did, and of what is done here."""
    invite = site.invite()
    secret = site.token()
    with site.client(secret) as client:
        client.get("/instances", params={"q": "x"})
        client.get(f"/consoles/{NOBODY}/screen?ticket={secret}")
    with site.client() as client:
        client.post("/session", json={"username": secret, "password": site.password})
        answer = client.post("/session", json={"username": "admin", "password": site.password})
        cookie = answer.cookies["__Host-nano_session"]
    text = site.kernel.log_file.read_text()
    for known in (site.password, secret, site.admin, site.viewer, cookie, invite["token"], answer.json()["csrf_token"]):
        assert known not in text


def test_what_a_name_shows_on_a_terminal(site: Site) -> None:
    """Names hold no control characters; free texts may, and the command line shows them as what they are."""
    evil = "\x1b]0;owned\x07\x1b[2Jred\u202e"
    with site.client(site.admin) as client:
        for path, body in (
            ("/tokens", {}),
            ("/disk-images", {"size_bytes": 512}),
            ("/media-images", {"size_bytes": 512}),
        ):
            answer = client.post(path, json={**body, "name": evil})
            assert answer.status_code == 400, (path, answer.text)
            assert "name" in answer.json()["errors"]
    pool = site.kernel.client.get("/compute-pools")["items"][0]
    site.kernel.client.request("PATCH", f"/compute-pools/{pool['id']}", json={"description": evil})
    nano = [str(Path(sys.executable).with_name("nano")), "--root", str(site.kernel.root)]
    command = [*nano, "compute-pool", "get", pool["name"]]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    site.kernel.client.request("PATCH", f"/compute-pools/{pool['id']}", json={"description": ""})
    assert "red" in shown
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)
