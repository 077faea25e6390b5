"""Requests and answers, over real TLS, against a real node."""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import Any

import httpx2
import pytest

from nanocore.errors import ErrorCode
from nanoplugins.restapi.problems import STATUS, TITLES
from tests.restapi.conftest import Serve
from tests.restapi.toys import instance, run, until

IMAGE = "6f1c2a5e-0b7d-4c1e-9a55-3f0e8a1d2b4c"
NEW = {"name": "web-1", "image_id": IMAGE}


def check_problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert {"type", "title", "detail"} <= set(problem)
    assert set(problem) <= {
        "type", "title", "status", "detail", "code", "reason", "field", "errors", "request_id", "incident"
    }  # fmt: skip
    return problem


def test_every_code_has_status_and_title() -> None:
    assert set(STATUS) == set(TITLES) == set(ErrorCode)


def test_problems_of_http_itself(serve: Serve) -> None:
    async def main() -> None:
        async with serve(max_body_bytes=2048) as site, site.client() as client:
            await site.login(client)
            check_problem(await client.get("/nothing"), 404, "not_found")
            check_problem(await client.get("/instances/a/b/c"), 404, "not_found")
            answer = await client.put("/instances")
            check_problem(answer, 405, "unsupported")
            assert answer.headers["Allow"] == "GET, HEAD, OPTIONS, POST"
            headers = {"Content-Type": "application/json"}
            check_problem(await client.post("/instances", content=b"{nope", headers=headers), 400, "invalid_argument")
            check_problem(await client.post("/instances", content=b"[1]", headers=headers), 400, "invalid_argument")
            check_problem(await client.post("/instances", content=b"\xff", headers=headers), 400, "invalid_argument")
            deep = b'{"tags":' + b"[" * 400 + b"]" * 400 + b"}"
            check_problem(await client.post("/instances", content=deep, headers=headers), 400, "invalid_argument")
            check_problem(await client.post("/instances", content=b"name=x"), 415, "invalid_argument")
            big = json.dumps({"name": "a" * 5000}).encode()
            check_problem(await client.post("/instances", content=big, headers=headers), 413, "invalid_argument")

            async def chunks() -> Any:
                for _ in range(50):
                    yield b" " * 100

            check_problem(await client.post("/instances", content=chunks(), headers=headers), 413, "invalid_argument")
            assert not site.toy.created
            # The connection and the node live on.
            assert (await client.get("/instances")).status_code == 200

    run(main)


def test_a_request_learns_all_its_errors_at_once(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            await site.login(client)
            body = {"name": "Web 1", "vcpus": "2", "memory_bytes": 1, "nonsense": True, "tags": ["a", 3]}
            problem = check_problem(await client.post("/instances", json=body), 400, "invalid_argument")
            assert set(problem["errors"]) == {"name", "vcpus", "memory_bytes", "nonsense", "tags[1]"}
            assert problem["field"] in problem["errors"]
            assert not site.toy.created
            # `$` in a pattern is not to let a line feed through.
            problem = check_problem(
                await client.post("/instances", json={**NEW, "name": "web\n"}), 400, "invalid_argument"
            )
            assert set(problem["errors"]) == {"name"}
            problem = check_problem(
                await client.post("/instances", json={**NEW, "disk_size_bytes": 2**70}), 400, "invalid_argument"
            )
            assert set(problem["errors"]) == {"disk_size_bytes"}
            check_problem(await client.get(f"/instances?since_revision={2**64}"), 400, "invalid_argument")
            # What the API itself sets, nobody else does.
            for field in ("idempotency_key", "id"):
                problem = check_problem(
                    await client.post("/instances", json={**NEW, field: "x"}), 400, "invalid_argument"
                )
                assert set(problem["errors"]) == {field}

    run(main)


def test_long_work_is_an_operation(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            await site.login(client)
            answer = await client.post("/instances", json=NEW)
            assert answer.status_code == 202
            operation = answer.json()
            assert answer.headers["Location"] == f"/api/v2/operations/{operation['id']}"
            assert operation["state"] == "pending"
            id = operation["resources"][0]["id"]
            answer = await client.post(f"/instances/{id}/actions/stop", json={"grace_seconds": 3})
            assert (answer.status_code, answer.json()["kind"]) == (202, "instance.stop")
            # An empty body is an empty object.
            assert (await client.post(f"/instances/{id}/actions/start")).status_code == 202
            check_problem(await client.post(f"/instances/{id}/actions/melt"), 404, "not_found")
            assert (await client.delete(f"/instances/{id}")).status_code == 202
            check_problem(await client.get(f"/instances/{id}"), 404, "not_found")

    run(main)


def test_lists(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            await site.login(client)
            for number in range(5):
                site.toy.table.put(instance(f"web-{number}"))
            answer = await client.get("/instances?limit=2&sort=-name")
            page = answer.json()
            assert [item["name"] for item in page["items"]] == ["web-4", "web-3"]
            assert page["total"] == 5
            assert answer.headers["ETag"] == f'"{page["revision"]}"'
            answer = await client.get("/instances", params={"limit": 2, "sort": "-name", "cursor": page["next_cursor"]})
            assert answer.status_code == 200, answer.text
            page = answer.json()
            assert len(page["items"]) == 2
            # Filters: any field of an item, alternatives by comma or by repeating.
            page = (await client.get("/instances?name=web-1,web-2")).json()
            assert page["total"] == 2
            page = (await client.get("/instances?name=web-1&name=web-3&state.observed=running")).json()
            assert {item["name"] for item in page["items"]} == {"web-1", "web-3"}
            problem = check_problem(
                await client.get("/instances?colour=red&limit=0&sort=colour"), 400, "invalid_argument"
            )
            assert set(problem["errors"]) == {"colour", "limit", "sort"}
            check_problem(await client.get("/instances?limit=2&limit=3"), 400, "invalid_argument")
            check_problem(await client.get("/instances?cursor=!!"), 400, "invalid_argument")
            # Changes since a revision, with tombstones.
            revision = page["revision"]
            gone = page["items"][0]["id"]
            site.toy.table.delete(gone)
            page = (await client.get(f"/instances?since_revision={revision}")).json()
            assert (page["items"], page["deleted"], page["is_reset"]) == ([], [gone], False)

    run(main)


def test_conditional_requests(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            await site.login(client)
            one = instance("web-1")
            site.toy.table.put(one)
            answer = await client.get(f"/instances/{one.id}")
            etag = answer.headers["ETag"]
            answer = await client.get(f"/instances/{one.id}", headers={"If-None-Match": etag})
            assert (answer.status_code, answer.content) == (304, b"")
            path = f"/instances/{one.id}"
            answer = await client.patch(path, json={"description": "new"}, headers={"If-Match": etag})
            assert (answer.status_code, answer.json()["description"]) == (200, "new")
            answer = await client.patch(path, json={"description": "newer"}, headers={"If-Match": etag})
            check_problem(answer, 412, "conflict")
            answer = await client.patch(path, json={}, headers={"If-Match": "rubbish"})
            check_problem(answer, 400, "invalid_argument")
            # What can't be made conditional says so, instead of ignoring the condition.
            answer = await client.delete(path, headers={"If-Match": etag})
            check_problem(answer, 422, "unsupported")
            assert (await client.get("/instances", headers={"If-None-Match": '"1"'})).status_code == 200

    run(main)


def test_idempotency_key(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client, site.client() as other:
            await site.user("eve", "operator")
            await site.login(client)
            await site.login(other, "eve")
            key = {"Idempotency-Key": "abc"}
            site.toy.gate.clear()
            waiting = [asyncio.create_task(client.post("/instances", json=NEW, headers=key)) for _ in range(5)]
            site.toy.gate.set()
            answers = await asyncio.gather(*waiting)
            assert {answer.status_code for answer in answers} == {202}
            assert len({answer.json()["id"] for answer in answers}) == 1
            assert len(site.toy.created) == 1
            sent = site.toy.created[0].idempotency_key
            assert sent is not None
            problem = check_problem(
                await client.post("/instances", json={**NEW, "vcpus": 2}, headers=key), 400, "invalid_argument"
            )
            assert problem["reason"] == "http.idempotency_key"
            # Somebody else's key is another key.
            answer = await other.post("/instances", json=NEW, headers=key)
            assert answer.status_code == 202
            assert len(site.toy.created) == 2
            assert site.toy.created[1].idempotency_key != sent
            # Without a field for it the answer is kept here: the same token, once.
            tokens = [await client.post("/tokens", json={"name": "a"}, headers=key) for _ in range(2)]
            assert tokens[0].json()["id"] == tokens[1].json()["id"]
            assert (await client.get("/tokens")).json()["total"] == 1
            # A failure is not kept.
            bad = {"Idempotency-Key": "later"}
            check_problem(await client.post("/tokens", json={"nam": "a"}, headers=bad), 400, "invalid_argument")
            check_problem(await client.post("/tokens", json={"nam": "a"}, headers=bad), 400, "invalid_argument")
            answer = await client.post("/tokens", json={"name": "b"}, headers=bad)
            assert answer.status_code == 201
            odd = {"Idempotency-Key": "x" * 300}
            check_problem(await client.post("/instances", json=NEW, headers=odd), 400, "invalid_argument")

    run(main)


def test_a_client_that_leaves_cancels_nothing(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            await site.login(client)
            site.toy.gate.clear()
            request = asyncio.create_task(client.post("/instances", json=NEW))
            await until(lambda: len(site.toy.created) == 0 and not request.done())
            async with site.client() as second:
                await site.login(second)  # the first request has been read by now
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
            site.toy.gate.set()
            await until(lambda: len(site.toy.created) == 1)

    run(main)


def test_request_ids_and_log(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            await site.login(client)
            answer = await client.get("/instances?q=secret-query", headers={"X-Request-Id": "my-own-id-1"})
            assert answer.headers["X-Request-Id"] == "my-own-id-1"
            answer = await client.get("/instances", headers={"X-Request-Id": "bad id!"})
            assert len(answer.headers["X-Request-Id"]) == 36
            lines = [json.loads(line) for line in site.log.getvalue().splitlines()]
            line = next(line for line in lines if line.get("trace") == "my-own-id-1")
            assert (line["event"], line["path"], line["status"]) == ("request", "/api/v2/instances", 200)
            text = site.log.getvalue()
            assert "secret-query" not in text
            assert site.admin_password not in text
            assert client.cookies["__Host-nano_session"] not in text
            assert client.headers["X-CSRF-Token"] not in text

    run(main)


def test_headers_on_everything(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            for path in ("/api/v2/nothing", "/api/v2/system", "/healthz", "/readyz", "/api/v2/docs", "/metrics"):
                answer = await client.get(site.base + path)
                assert "Server" not in answer.headers
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Referrer-Policy"] == "no-referrer"
                assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
                assert "unsafe" not in answer.headers["Content-Security-Policy"]
                assert "X-Request-Id" in answer.headers
            answer = await client.options("/instances")
            assert (answer.status_code, answer.headers["Allow"]) == (204, "GET, HEAD, OPTIONS, POST")
            answer = await client.head("/system")
            assert (answer.status_code, answer.content) == (200, b"")

    run(main)


def test_system_health_and_metrics(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            answer = await client.get("/system")
            assert answer.json() == {"name": "Nano", "version": site.node.info.version}
            assert (await client.get(f"{site.base}/healthz")).json() == {"status": "ok"}
            ready = await client.get(f"{site.base}/readyz")
            assert (ready.status_code, ready.json()["status"]) == (200, "ready")
            check_problem(await client.get(f"{site.base}/metrics"), 401, "unauthenticated")
            await site.login(client)
            assert (await client.get("/system")).json()["nodes"] == 1
            text = (await client.get(f"{site.base}/metrics")).text
            assert 'nano_http_requests_total{method="GET",status="200"}' in text
            assert "nano_loop_lag_seconds " in text

    run(main)


def test_kernel_nouns(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            await site.login(client)
            names = {item["name"] for item in (await client.get("/plugins")).json()["items"]}
            assert {"restapi", "identity_local", "toy_compute"} <= names
            assert (await client.get("/operations?sort=-created_at&state=running")).json()["items"] == []
            check_problem(await client.get(f"/operations/{IMAGE}"), 404, "not_found")
            check_problem(await client.get(f"/operations/{IMAGE}?wait_seconds=x"), 400, "invalid_argument")
            answer = await client.post("/node-invites", json={"roles": ["cell"]})
            assert answer.status_code == 201, answer.text
            invite = answer.json()
            assert answer.headers["Location"] == f"/api/v2/node-invites/{invite['id']}"
            assert invite["command"]
            listed = (await client.get("/node-invites")).json()
            assert [item["id"] for item in listed["items"]] == [invite["id"]]
            assert listed["items"][0]["token"] is None
            assert (await client.delete(f"/node-invites/{invite['id']}")).status_code == 204
            assert (await client.get("/node-invites")).json()["total"] == 0

    run(main)


def test_local_socket(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site:
            path = site.root / "run/nano/api.sock"
            assert path.stat().st_mode & 0o777 == 0o600
            transport = httpx2.AsyncHTTPTransport(uds=str(path))
            async with httpx2.AsyncClient(transport=transport, base_url="http://local/api/v2") as client:
                session = (await client.get("/session")).json()
                assert (session["user"]["username"], session["user"]["permissions"]) == ("root", ["*"])
                assert (await client.post("/instances", json=NEW)).status_code == 202
                # A credential that is given is the one that counts.
                answer = await client.get("/session", headers={"Authorization": "Bearer nano_wrong"})
                check_problem(answer, 401, "unauthenticated")

    run(main)


def test_slow_and_idle_clients_are_cut_off(serve: Serve) -> None:
    async def main() -> None:
        async with serve(idle_seconds=1.0, max_connections=3) as site:
            context = ssl.create_default_context(cafile=str(site.ca_file))
            slow = await asyncio.open_connection("localhost", site.port, ssl=context)
            slow[1].write(b"GET /healthz HTTP/1.1\r\nHost: lo")
            raw = await asyncio.open_connection("localhost", site.port)  # never begins TLS
            assert await asyncio.wait_for(slow[0].read(), 10) == b""
            assert await asyncio.wait_for(raw[0].read(), 10) == b""
            slow[1].close()
            raw[1].close()
            # Beyond the limit a connection is closed at once; within it all is well.
            idle = [await asyncio.open_connection("localhost", site.port) for _ in range(3)]
            with pytest.raises((httpx2.TransportError, ssl.SSLError)):
                async with site.client() as client:
                    await client.get("/system")
            for _, writer in idle:
                writer.close()

    run(main)


def test_malformed_http_does_no_harm(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site:
            context = ssl.create_default_context(cafile=str(site.ca_file))
            for rubbish in (
                b"\r\n\r\n\r\n\r\n",
                b"GET\r\n\r\n",
                b"POST /api/v2/session HTTP/1.1\r\nHost: x\r\nContent-Length: -4\r\n\r\n",
                b"POST /api/v2/session HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{",
                b"POST /api/v2/session HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                b"GET /%ff%fe/../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20000 + b"\r\n",
            ):
                reader, writer = await asyncio.open_connection("localhost", site.port, ssl=context)
                writer.write(rubbish)
                writer.write_eof() if writer.can_write_eof() else None
                with_timeout = asyncio.wait_for(reader.read(), 10)
                try:
                    assert b" 200 " not in (await with_timeout)[:40]
                except (ConnectionError, ssl.SSLError):
                    pass
                finally:
                    writer.close()
            async with site.client() as client:
                assert (await client.get("/system")).status_code == 200

    run(main)
