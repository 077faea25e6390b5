"""A frontend that is no core: its own process in production, here a second node over CURVE on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path

from nanocore.clock import SystemClock
from nanocore.contracts.authorizer import LOCAL
from nanocore.contracts.node import CreateInvite, NodeRole
from nanocore.kernel.enrolment import join
from nanocore.kernel.node import Node
from nanocore.kernel.root import NodeRoot
from nanocore.kernel.trust import Identity
from nanocore.loader.discover import PluginSource
from nanocore.logs import make_logger
from nanoplugins.identity_local.plugin import Plugin as IdentityLocal
from nanoplugins.restapi.plugin import Plugin as RestApi
from tests.restapi.conftest import Serve, Site
from tests.restapi.test_api import NEW, check_problem
from tests.restapi.test_events import read, refused
from tests.restapi.toys import ToyCompute, instance, run, until


@asynccontextmanager
async def frontend_of(core: Site, root: Path) -> AsyncIterator[Site]:
    """Join a frontend to ``core`` and run it."""
    log = StringIO()
    place = NodeRoot.at(root)
    place.prepare()
    identity = Identity.load(place.keys)
    invite = (await core.node.call_reply(CreateInvite(roles=[NodeRole.FRONTEND]), credential=LOCAL)).body
    assert invite.token is not None
    _, address = await join(invite.token, identity, name="front-1", clock=SystemClock(), log=make_logger(log))
    identity.joined(place.keys, address)
    toy, users, rest = ToyCompute(), IdentityLocal(), RestApi()
    plugins: dict[str, object] = {"identity_local": users, "restapi": rest}
    node = Node(
        root,
        log=make_logger(log),
        settings={
            "kernel": {"name": "front-1", "roles": ["frontend"], "plugins": list(plugins), "strict": True},
            "restapi": {"listen_address": "127.0.0.1", "port": 0},
        },
        sources=[PluginSource.in_process(name, plugin) for name, plugin in plugins.items()],
    )
    await node.start()
    site = None
    try:
        assert rest._service is not None
        assert rest._service.port is not None
        site = Site(node, root, rest._service.port, toy, users, rest, log)
        yield site
    finally:
        for socket in site.sockets if site else ():
            socket.close()
        await node.stop()
        print(log.getvalue())


def test_a_frontend_serves_what_the_core_knows(serve: Serve, tmp_path: Path) -> None:
    async def main() -> None:
        async with serve() as core, frontend_of(core, tmp_path / "front") as front, front.client() as client:
            token = await core.token()
            bearer = {"Authorization": f"Bearer {token}"}
            answer = await client.get("/session", headers=bearer)
            assert answer.json()["user"]["username"] == "admin", answer.text
            await front.login(client, "admin", core.admin_password)
            assert (await client.get("/session")).json()["user"]["username"] == "admin"
            # Only the core's routes that this node knows of are served here; those go all the way.
            assert (await client.get("/plugins")).json()["total"] >= 2
            check_problem(await client.post("/instances", json=NEW), 404, "not_found")
            made = (await client.post("/tokens", json={"name": "x"})).json()
            assert (await client.get("/tokens")).json()["total"] == 2
            ready = (await client.get(f"{front.base}/readyz")).json()
            assert {check["name"]: check["ok"] for check in ready["checks"]}["core"] is True
            # Root on a frontend's host is nobody on the core.
            assert (front.root / "run/nano/api.sock").exists()
            with_local = await refused_local(front)
            assert with_local == 401
            # A login that the core ends, ends the frontend's sockets.
            socket = await front.websocket("/api/v2/events", Authorization=f"Bearer {made['token']}")
            assert (await read(socket))["type"] == "hello"
            async with core.client() as admin:
                await core.login(admin)
                assert (await admin.delete(f"/tokens/{made['id']}")).status_code == 204
            while (message := await socket.read_message()) is not None:
                assert b"reset" in message.encode() if isinstance(message, str) else message
            assert socket.close_code == 4401
            assert await refused(front, "/api/v2/events", Authorization=f"Bearer {made['token']}") == 401

    run(main)


async def refused_local(front: Site) -> int:
    import httpx2

    transport = httpx2.AsyncHTTPTransport(uds=str(front.root / "run/nano/api.sock"))
    async with httpx2.AsyncClient(transport=transport, base_url="http://local/api/v2") as client:
        return (await client.get("/session")).status_code


def test_changes_reach_a_frontend(serve: Serve, tmp_path: Path) -> None:
    async def main() -> None:
        async with serve() as core, frontend_of(core, tmp_path / "front") as front:
            service = front.rest._service
            assert service is not None
            await until(lambda: service._core._core_id == core.node.info.id)
            inbox = service.feed.open(None, "")
            one = instance("web-1")
            core.toy.table.put(one)
            await asyncio.wait_for(inbox.woken.wait(), 10)
            events = inbox.take("")
            assert [(event["topic"], event["id"]) for event in events] == [("instances", one.id)]
            core.toy.table.delete(one.id)
            await asyncio.wait_for(inbox.woken.wait(), 10)
            assert inbox.take("")[0]["is_deleted"] is True
            service.note_peer(core.node.info)
            assert inbox.take("now") == [{"type": "reset", "cursor": "now"}]

    run(main)


def test_a_core_that_was_away_means_reading_again(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as core:
            service = core.rest._service
            assert service is not None
            inbox = service.feed.open(None, "")
            service.note_peer(core.node.info)
            assert not inbox.woken.is_set()  # the core itself misses nothing

    run(main)
