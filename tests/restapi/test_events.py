"""The feed, pure and through WebSockets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tornado import httpclient, websocket

from nanocore.contracts.listing import ResourceChanged
from nanoplugins.restapi.feed import MAX_PENDING, RING_LENGTH, Feed
from tests.restapi.conftest import Serve, Site
from tests.restapi.toys import instance, run


def change(id: str, revision: int = 1, noun: str = "instances") -> ResourceChanged:
    return ResourceChanged(noun=noun, id=id, revision=revision)


def test_events_are_coalesced_by_object() -> None:
    feed = Feed("e")
    inbox = feed.open({"instances"}, "")
    for revision, id in enumerate(["a", "b", "a", "c"], 1):
        feed.record(change(id, revision))
    feed.record(change("x", 9, "nodes"))
    events = inbox.take(feed.cursor)
    assert [(event["id"], event["revision"]) for event in events] == [("b", 2), ("a", 3), ("c", 4)]
    assert [event["cursor"] for event in events] == ["e-2", "e-3", "e-4"]
    assert inbox.take(feed.cursor) == []


def test_a_cursor_goes_on_where_it_was() -> None:
    feed = Feed("e")
    for id in "abc":
        feed.record(change(id))
    assert [event["id"] for event in feed.open({"instances"}, "e-1").take("")] == ["b", "c"]
    assert feed.open({"instances"}, "e-3").take("") == []
    for unreachable in ("f-1", "e-4", "e-99999999999999999999", "e-x", "nonsense", "-"):
        assert feed.open({"instances"}, unreachable).take("now") == [{"type": "reset", "cursor": "now"}]
    for number in range(RING_LENGTH):
        feed.record(change(str(number)))
    assert feed.open({"instances"}, "e-1").take("now") == [{"type": "reset", "cursor": "now"}]


def test_a_slow_client_costs_a_bounded_memory() -> None:
    feed = Feed("e")
    inbox = feed.open({"instances"}, "")
    for number in range(MAX_PENDING + 10):
        feed.record(change(str(number)))
    assert [event["type"] for event in inbox.take(feed.cursor)] == ["reset"]
    feed.record(change("new"))
    assert [event["id"] for event in inbox.take(feed.cursor)] == ["new"]
    feed.close(inbox)
    feed.record(change("unseen"))
    assert inbox.take(feed.cursor) == []


async def read(socket: websocket.WebSocketClientConnection) -> dict[str, Any]:
    message = await socket.read_message()
    assert message is not None
    event: dict[str, Any] = json.loads(message)
    return event


async def refused(site: Site, path: str, **headers: str) -> int:
    with pytest.raises(httpclient.HTTPClientError) as caught:
        await site.websocket(path, **headers)
    return caught.value.code


def test_websocket(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site:
            bearer = {"Authorization": f"Bearer {await site.token()}"}
            socket = await site.websocket("/api/v2/events?topics=instances", **bearer)
            hello = await read(socket)
            assert hello["type"] == "hello"
            one = instance("web-1")
            site.toy.table.put(one)
            event = await read(socket)
            assert set(event) == {"type", "cursor", "topic", "id", "revision", "is_deleted"}
            assert (event["type"], event["topic"], event["id"]) == ("event", "instances", one.id)
            site.toy.table.delete(one.id)
            assert (await read(socket))["is_deleted"] is True
            socket.close()
            # Back again: nothing was missed.
            socket = await site.websocket(f"/api/v2/events?topics=instances&cursor={event['cursor']}", **bearer)
            assert (await read(socket))["type"] == "hello"
            assert (await read(socket))["is_deleted"] is True
            socket.close()
            socket = await site.websocket("/api/v2/events?cursor=other-7", **bearer)
            assert [(await read(socket))["type"] for _ in range(2)] == ["hello", "reset"]
            socket.close()

    run(main)


def test_who_may_follow(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site:
            await site.user("none")
            bearer = {"Authorization": f"Bearer {await site.token()}"}
            # A user without a role has no token of their own, but has a session.
            async with site.client() as client:
                await site.login(client, "none")
                cookie = {"Cookie": f"__Host-nano_session={client.cookies['__Host-nano_session']}"}
            assert await refused(site, "/api/v2/events") == 401
            assert await refused(site, "/api/v2/events", Authorization="Bearer nano_wrong") == 401
            assert await refused(site, "/api/v2/events?topics=instances,nonsense", **bearer) == 400
            assert await refused(site, "/api/v2/events", Origin="https://evil.example", **bearer) == 403
            assert await refused(site, "/api/v2/events", **cookie) == 403
            socket = await site.websocket("/api/v2/events", Origin=site.base, **bearer)
            assert (await read(socket))["type"] == "hello"
            socket.close()
            async with site.client() as client:
                assert (await client.get("/events")).status_code == 426

    run(main)


def test_a_revoked_login_ends_its_sockets(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client, site.client() as admin:
            await site.login(client)
            cookie = {"Cookie": f"__Host-nano_session={client.cookies['__Host-nano_session']}"}
            by_session = await site.websocket("/api/v2/events", **cookie)
            assert (await read(by_session))["type"] == "hello"
            await site.login(admin)
            made = (await admin.post("/tokens", json={"name": "x"})).json()
            by_token = await site.websocket("/api/v2/events", Authorization=f"Bearer {made['token']}")
            assert (await read(by_token))["type"] == "hello"
            assert (await client.delete("/session")).status_code == 204
            assert await by_session.read_message() is None
            assert by_session.close_code == 4401
            # Nobody tells this API that a token was revoked; it asks.
            assert (await admin.delete(f"/tokens/{made['id']}")).status_code == 204
            assert await by_token.read_message() is None
            assert by_token.close_code == 4401

    run(main)


def test_sockets_of_one_user_are_limited(serve: Serve) -> None:
    async def main() -> None:
        async with serve(max_sockets_per_user=2) as site:
            bearer = {"Authorization": f"Bearer {await site.token()}"}
            sockets = [await site.websocket("/api/v2/events", **bearer) for _ in range(3)]
            assert (await read(sockets[0]))["type"] == "hello"
            assert await sockets[2].read_message() is None
            assert sockets[2].close_code == 1013
            for socket in sockets:
                socket.close()

    run(main)
