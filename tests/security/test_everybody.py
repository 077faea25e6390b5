"""Every operation of the published description, for those who may not."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

import pytest

from nanoplugins.identity_local.roles import is_permitted, permissions_of
from tests.security.site import API, NOBODY, Site

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

PUBLIC = {("post", "/session"), ("get", "/system")}
OWN = {("post", "/session"), ("delete", "/session"), ("post", "/tokens"), ("delete", "/tokens/{id}")}
"""Writes that everybody who is logged in may do."""
VALUES = {"kind": "screen", "address": "10.9.9.9", "slot": "0"}
"""Of parameters that are no ids."""
WRITES = {"post", "put", "patch", "delete"}


def operations(site: Site) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path template and description of each."""
    with site.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    for path, item in paths.items():
        for method, operation in item.items():
            if method in {"get", "head", *WRITES} and path.startswith(API):
                yield method, path.removeprefix(API), operation


def requests(site: Site) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Yield method, path template, a path of nothing that is there, and the rest of a well-formed request."""
    for method, path, operation in operations(site):
        content = operation.get("requestBody", {}).get("content", {})
        example = content.get("application/json", {}).get("example", {})
        headers = {"Tus-Resumable": "1.0.0"} if "/uploads/" in path else {}
        if "/uploads/" in path and method == "patch":
            headers |= {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
        if path == "/events" or "/consoles/" in path:
            headers |= {"Upgrade": "websocket", "Connection": "Upgrade"}
        real = re.sub(r"\{(\w+)\}", lambda found: VALUES.get(found[1], NOBODY), path)
        needed = {
            item["name"]: item["example"]
            for item in operation["parameters"]
            if item["in"] == "query" and item.get("required")
        }
        arguments: dict[str, Any] = {"headers": headers} | ({"params": needed} if needed else {})
        if method in {"post", "put", "patch"} and "/uploads/" not in path:
            arguments["json"] = example
        assert "{" not in real, real
        yield method, path, real, arguments


def test_nobody_gets_anything(site: Site) -> None:
    expired = site.token(expires_in_seconds=0.001)
    ended = site.new_token()
    revoked = str(ended["token"])
    with site.client(revoked) as client:
        assert client.get("/session").status_code == 200
        assert client.delete(f"/tokens/{ended['id']}").status_code == 204
    credentials: list[dict[str, str]] = [
        {},
        {"Authorization": f"Bearer {expired}"},
        {"Authorization": f"Bearer {revoked}"},
        {"Authorization": f"Bearer nano_{secrets.token_urlsafe(32)}"},
        {"Authorization": f"Bearer {site.admin}x"},
        {"Authorization": f"Bearer {site.admin[:-1]}"},
        {"Authorization": f"bearer {site.admin} {site.admin}"},
        {"Authorization": "Bearer local"},
        {"Authorization": "Bearer system"},
        {"Authorization": f"Basic {site.admin}"},
        {"Cookie": f"__Host-nano_session={secrets.token_urlsafe(32)}"},
        {"Cookie": f"__Host-nano_session={site.admin}"},
        {"Cookie": "__Host-nano_session=local"},
    ]
    asked = 0
    with site.client() as client:
        for method, path, real, arguments in requests(site):
            if (method, path) in PUBLIC:
                continue
            for headers in credentials:
                answer = client.request(method, real, **{**arguments, "headers": arguments["headers"] | headers})
                assert answer.status_code == 401, (method, path, headers, answer.status_code, answer.text)
                if method != "head":
                    assert answer.json()["code"] == "unauthenticated"
                assert "Set-Cookie" not in answer.headers
                asked += 1
        assert asked > 400
        assert set(client.get("/system").json()) == {"name", "version"}
        assert client.get("/system", headers=credentials[1]).status_code == 401


def test_a_viewer_changes_nothing(site: Site) -> None:
    def state() -> dict[str, Any]:
        nouns = ("instances", "compute-pools", "disk-images", "nodes", "node-invites", "operations", "networks")
        answers = {noun: site.kernel.client.get(f"/{noun}") for noun in nouns}
        return {noun: [item["id"] for item in answer["items"]] for noun, answer in answers.items()}

    before = state()
    forbidden = 0
    with site.client(site.viewer) as client:
        assert client.get("/session").json()["user"]["roles"] == ["viewer"]
        for method, path, real, arguments in requests(site):
            answer = client.request(method, real, **arguments)
            if method in WRITES and (method, path) not in OWN:
                assert answer.status_code == 403, (method, path, answer.status_code, answer.text)
                assert answer.json()["code"] == "permission_denied"
                forbidden += 1
            elif method == "get" and path.count("/") == 1 and path not in {"/events", "/node-invites"}:
                assert answer.status_code == 200, (method, path, answer.text)
        assert forbidden > 15
        assert not is_permitted(permissions_of(["viewer"]), "node.invite")
        for roles in (["admin"], ["operator"], ["viewer", "admin"], ["root"]):
            answer = client.post("/tokens", json={"name": "more", "roles": roles})
            assert answer.status_code in {400, 403}, answer.text
    assert state() == before


def permissions() -> dict[tuple[str, str], str]:
    """Return what each route takes, by method and path."""
    found = {}
    for point in entry_points(group="nano.plugins"):
        routes = getattr(point.load()(), "nano_rest_routes", None)
        for route in routes() if routes is not None else ():
            found[route.method.lower(), route.path] = route.message.permission
    return found


ADMIN_ONLY = {
    "node.invite",
    "node.delete",
    "node.stop",
    "storage_pool.create",
    "storage_pool.update",
    "storage_pool.delete",
}
"""What opens or closes the zone itself, or names folders of its hosts."""


def test_every_role_may_what_its_list_says_and_nothing_else(site: Site) -> None:
    wanted = permissions()
    of_operator = permissions_of(["operator"])
    denied = {permission for permission in wanted.values() if not is_permitted(of_operator, permission)}
    assert denied - {"public"} == ADMIN_ONLY
    refused, let_in = set(), set()
    tokens = {"operator": site.token(roles=["operator"]), "admin": site.admin}
    for role, token in tokens.items():
        with site.client(token) as client:
            for method, path, real, arguments in requests(site):
                permission = wanted.get((method, path), "public")
                may = permission == "public" or is_permitted(permissions_of([role]), permission)
                # What may make something with the example's values is only asked of those who may not.
                if (
                    "/consoles/" in path
                    or (may and (method == "post" and "{id}" not in path))
                    or (method, path) in OWN | PUBLIC
                ):
                    continue
                answer = client.request(method, real, **arguments)
                assert (answer.status_code == 403) is not may, (role, method, path, answer.status_code, answer.text)
                assert answer.status_code not in {401, 500}, (role, method, path, answer.text)
                (let_in if may else refused).add((role, method, path))
    assert {role for role, _, _ in refused} == {"operator"}
    assert len(refused) >= 5
    assert len(let_in) > 100


def test_a_repeat_needs_a_login_that_still_lives(site: Site) -> None:
    made = site.new_token()
    body = {"name": "made-once"}
    headers = {"Authorization": f"Bearer {made['token']}", "Idempotency-Key": "k-1"}
    with site.client(**headers) as client:
        first = client.post("/tokens", json=body)
        assert first.status_code == 201
        assert client.post("/tokens", json=body).text == first.text
        site.kernel.client.request("DELETE", f"/tokens/{made['id']}")
        answer = client.post("/tokens", json=body)
        assert answer.status_code == 401, answer.text
    # What it made has ended with it.
    with site.client(first.json()["token"]) as child:
        assert child.get("/session").status_code == 401
