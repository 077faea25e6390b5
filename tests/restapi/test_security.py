"""Every route as a stranger, a viewer and an operator; cross-site requests; tokens and sessions."""

from __future__ import annotations

import asyncio
import re
import ssl
import time

import httpx2
import pytest

from nanocore.capabilities.identity import CreateSession
from nanocore.capabilities.rest import Route
from nanocore.errors import NanoError
from nanocore.wire import PUBLIC
from nanoplugins.identity_local.roles import is_permitted, permissions_of
from nanoplugins.restapi.endpoints import Endpoint
from tests.restapi.conftest import Serve
from tests.restapi.test_api import IMAGE, NEW, check_problem
from tests.restapi.toys import instance, run


def test_every_route_as_everybody(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as nobody, site.client() as viewer, site.client() as operator:
            await site.user("vera", "viewer")
            await site.user("otto", "operator")
            await site.login(viewer, "vera")
            await site.login(operator, "otto")
            routes = list(site.node.collected(Route).values())
            assert len(routes) > 20
            for route in routes:
                path = re.sub(r"\{[a-z_]+\}", IMAGE, route.path)
                body = {} if route.method == "GET" else {"json": route.example or {}}
                permission = route.message.permission or ""
                if route.message is CreateSession:
                    continue
                for client, role in ((nobody, None), (viewer, "viewer"), (operator, "operator")):
                    if route.path == "/session" and route.method == "DELETE":
                        continue
                    answer = await client.request(
                        route.method, path, **(body if route.method in ("POST", "PUT", "PATCH") else {})
                    )
                    case = f"{route.key} as {role}: {answer.text}"
                    if role is None:
                        assert answer.status_code == (200 if route.path == "/system" else 401), case
                        if route.path == "/system":
                            assert set(answer.json()) == {"name", "version"}, case
                    elif permission != PUBLIC and not is_permitted(permissions_of([role]), permission):
                        assert answer.status_code == 403, case
                        assert answer.json()["code"] == "permission_denied", case
                    else:
                        assert answer.status_code not in (401, 403, 500), case
            assert (await operator.get("/node-invites")).status_code == 403
            assert (await viewer.post("/instances", json=NEW)).status_code == 403

    run(main)


def test_a_route_without_permission_is_not_served() -> None:
    from nanocore.contracts.node import ListPeers

    with pytest.raises(NanoError, match="declares no permission"):
        Endpoint(Route("GET", "/peers", ListPeers, "List peers"))
    from nanocore.contracts.operation import GetOperation

    with pytest.raises(NanoError, match="has no field nonsense"):
        Endpoint(Route("GET", "/operations/{nonsense}", GetOperation, "Get"))


def test_cross_site_requests(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            await site.login(client)
            token = client.headers.pop("X-CSRF-Token")
            problem = check_problem(await client.post("/instances", json=NEW), 403, "permission_denied")
            assert problem["reason"] == "http.csrf"
            wrong = {"X-CSRF-Token": token[:-1] + ("a" if token[-1] != "a" else "b")}
            check_problem(await client.post("/instances", json=NEW, headers=wrong), 403, "permission_denied")
            right = {"X-CSRF-Token": token}
            elsewhere = {**right, "Origin": "https://evil.example"}
            problem = check_problem(
                await client.post("/instances", json=NEW, headers=elsewhere), 403, "permission_denied"
            )
            assert problem["reason"] == "http.origin"
            here = {**right, "Origin": site.base}
            assert (await client.post("/instances", json=NEW, headers=here)).status_code == 202
            assert len(site.toy.created) == 1
            # A form of another site can't log anybody in either.
            form = {"Content-Type": "text/plain"}
            answer = await client.post("/session", content=b'{"username":"admin","password":"x"}', headers=form)
            check_problem(answer, 415, "invalid_argument")
            # Nothing tells a browser that other sites may read.
            answer = await client.get("/instances", headers={"Origin": "https://evil.example"})
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]

    run(main)


def test_cookie(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            body = {"username": "admin", "password": site.admin_password}
            answer = await client.post("/session", json=body)
            cookie = answer.headers["Set-Cookie"]
            assert re.fullmatch(r"__Host-nano_session=[\w-]{43}; Path=/; Secure; HttpOnly; SameSite=Strict", cookie)
            assert set(answer.json()) == {"user", "csrf_token", "expires_at"}
            assert cookie.split("=")[1].split(";")[0] not in answer.text
            client.headers["X-CSRF-Token"] = answer.json()["csrf_token"]
            again = (await client.get("/session")).json()
            assert again["csrf_token"] == answer.json()["csrf_token"]
            assert again["user"]["username"] == "admin"
            answer = await client.delete("/session")
            assert answer.status_code == 204
            assert "Max-Age=0" in answer.headers["Set-Cookie"]
            client.cookies.set("__Host-nano_session", cookie.split("=")[1].split(";")[0], domain="localhost.local")
            stolen = {"Cookie": cookie.split(";")[0]}
            check_problem(await client.get("/session", headers=stolen), 401, "unauthenticated")

    run(main)


def test_login_says_nothing_and_is_limited(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            texts = set()
            times: dict[str, list[float]] = {"admin": [], "nobody": []}
            for _ in range(4):
                for name, spent in times.items():
                    begin = time.perf_counter()
                    answer = await client.post("/session", json={"username": name, "password": "guess"})
                    spent.append(time.perf_counter() - begin)
                    problem = check_problem(answer, 401, "unauthenticated")
                    texts.add(problem["detail"])
            assert len(texts) == 1
            known, unknown = (min(times[name]) for name in ("admin", "nobody"))
            assert 0.5 < known / unknown < 2
            # Many at once count as well: the limit is on attempts, not on answers.
            guesses = [
                client.post("/session", json={"username": "admin", "password": str(number)}) for number in range(12)
            ]
            answers = await asyncio.gather(*guesses)
            assert sorted({answer.status_code for answer in answers}) == [401, 503]
            assert sum(answer.status_code == 401 for answer in answers) == 6
            refused = next(answer for answer in answers if answer.status_code == 503)
            check_problem(refused, 503, "busy")
            assert 1 <= int(refused.headers["Retry-After"]) <= 300
            # Also with the right password, or the limit would be an oracle.
            body = {"username": "admin", "password": site.admin_password}
            check_problem(await client.post("/session", json=body), 503, "busy")

    run(main)


def test_tokens(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            await site.login(client)
            made = (await client.post("/tokens", json={"name": "script", "roles": ["operator"]})).json()
            assert re.fullmatch(r"nano_[\w-]{43}", made["token"])
            bearer = {"Authorization": f"Bearer {made['token']}"}
            async with site.client(headers=bearer) as script:
                assert (await script.post("/instances", json=NEW)).status_code == 202
                # It makes no token that is more than itself.
                answer = await script.post("/tokens", json={"name": "x", "roles": ["admin"]})
                check_problem(answer, 403, "permission_denied")
                assert (await script.post("/tokens", json={"name": "less", "roles": ["viewer"]})).status_code == 201
                assert (await client.delete(f"/tokens/{made['id']}")).status_code == 204
                check_problem(await script.get("/instances"), 401, "unauthenticated")
            for bad in ("Bearer", "Basic YTpi", "Bearer nano_" + "x" * 600, "Bearer \xe9"):
                async with site.client(headers={"Authorization": bad.encode("latin1")}) as stranger:  # type: ignore[dict-item]
                    check_problem(await stranger.get("/instances"), 401, "unauthenticated")
            text = (site.root / "var/lib/nano/state_sqlite").rglob("*")
            stored = b"".join(path.read_bytes() for path in text if path.is_file())
            assert made["token"].encode() not in stored
            assert client.cookies["__Host-nano_session"].encode() not in stored
            for body in ({"name": ""}, {"name": "x", "expires_in_seconds": 0}, {"name": "x", "roles": ["root"]}):
                check_problem(await client.post("/tokens", json=body), 400, "invalid_argument")
            answer = await client.post("/tokens", json={"name": "x", "expires_in_seconds": 1e300})
            check_problem(answer, 400, "invalid_argument")
            check_problem(await client.delete(f"/tokens/{IMAGE}"), 404, "not_found")
            await site.user("vera", "viewer")
            async with site.client() as viewer:
                await site.login(viewer, "vera")
                mine = (await client.post("/tokens", json={"name": "mine"})).json()
                check_problem(await viewer.delete(f"/tokens/{mine['id']}"), 404, "not_found")
                assert (await viewer.get("/tokens")).json()["total"] == 0

    run(main)


def test_only_tls_1_3(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site:
            context = ssl.create_default_context(cafile=str(site.ca_file))
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.open_connection("localhost", site.port, ssl=context)
            with pytest.raises(httpx2.TransportError):
                async with httpx2.AsyncClient() as plain:
                    await plain.get(f"http://localhost:{site.port}/api/v2/system")

    run(main)


def test_names_with_markup_stay_text(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            await site.login(client)
            site.toy.table.put(instance("<script>alert(1)</script>"))
            answer = await client.get("/instances?q=<script>")
            assert answer.headers["Content-Type"] == "application/json"
            assert answer.json()["total"] == 1
            answer = await client.get("/instances/<script>alert(1)</script>")
            assert answer.headers["Content-Type"] == "application/problem+json"
            answer = await client.get("/instances/%0d%0aSet-Cookie:%20a=b")
            check_problem(answer, 404, "not_found")
            assert "Set-Cookie" not in answer.headers

    run(main)
