"""Tickets and the bridge between a WebSocket and a console."""

from __future__ import annotations

import asyncio
import time

import pytest

from nanocore.capabilities.hypervisor import ConsoleKind
from nanocore.errors import NanoError
from nanocore.ids import InstanceId
from nanoplugins.restapi.tickets import LIFE_SECONDS, Tickets
from tests.restapi.conftest import Serve
from tests.restapi.test_api import IMAGE, check_problem
from tests.restapi.test_events import refused
from tests.restapi.toys import WHEN, instance, run, until


class Now:
    def __init__(self) -> None:
        self.at = 100.0

    def monotonic(self) -> float:
        return self.at

    def now(self) -> object:
        return WHEN


def test_a_ticket_fits_once_and_only_its_own_lock() -> None:
    clock = Now()
    tickets = Tickets(clock)  # type: ignore[arg-type]
    right = ("session:a", "i-1", "screen")
    for wrong in (("session:b", "i-1", "screen"), ("session:a", "i-2", "screen"), ("session:a", "i-1", "serial")):
        secret = tickets.issue("session:a", InstanceId("i-1"), ConsoleKind.SCREEN)
        with pytest.raises(NanoError, match="ticket"):
            tickets.redeem(secret, *wrong)
        with pytest.raises(NanoError, match="ticket"):
            tickets.redeem(secret, *right)  # a wrong try has used it up
    secret = tickets.issue("session:a", InstanceId("i-1"), ConsoleKind.SCREEN)
    assert tickets.redeem(secret, *right).kind is ConsoleKind.SCREEN
    with pytest.raises(NanoError, match="ticket"):
        tickets.redeem(secret, *right)
    secret = tickets.issue("session:a", InstanceId("i-1"), ConsoleKind.SCREEN)
    clock.at += LIFE_SECONDS
    with pytest.raises(NanoError, match="ticket"):
        tickets.redeem(secret, *right)


def test_console(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            one = instance("web-1")
            site.toy.table.put(one)
            bearer = {"Authorization": f"Bearer {await site.token()}"}
            answer = await client.post(f"/instances/{one.id}/console", json={"kind": "serial"}, headers=bearer)
            assert answer.status_code == 201, answer.text
            path = answer.json()["ws_path"]
            assert path == f"/api/v2/consoles/{one.id}/serial?ticket={answer.json()['ticket']}"
            other = {"Authorization": f"Bearer {await site.token()}"}
            assert await refused(site, path) == 401
            assert await refused(site, path, **other) == 403  # and this one try has used it up
            assert await refused(site, path, **bearer) == 403
            answer = await client.post(f"/instances/{one.id}/console", json={"kind": "serial"}, headers=bearer)
            path = answer.json()["ws_path"]
            socket = await site.websocket(path, **bearer, **{"Sec-WebSocket-Protocol": "binary"})
            assert socket.selected_subprotocol == "binary"
            assert await socket.read_message() == b"hello from serial"
            big = bytes(range(97, 123)) * 20_000
            await socket.write_message(big, binary=True)
            got = b""
            while len(got) < len(big):
                message = await socket.read_message()
                assert isinstance(message, bytes)
                got += message
            assert got == big.upper()
            assert await refused(site, path, **bearer) == 403
            socket.close()
            await asyncio.wait_for(site.toy.console_closed.wait(), 10)
            assert path.split("ticket=")[1] not in site.log.getvalue()

    run(main)


def test_who_gets_a_ticket(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client, site.client() as viewer:
            await site.user("vera", "viewer")
            await site.login(viewer, "vera")
            one, stopped = instance("web-1"), instance("web-2", has_console=False)
            site.toy.table.put(one)
            site.toy.table.put(stopped)
            path = f"/instances/{one.id}/console"
            check_problem(await client.post(path), 401, "unauthenticated")
            check_problem(await viewer.post(path), 403, "permission_denied")
            await site.login(client)
            problem = check_problem(await client.post(path, json={"kind": "printer"}), 400, "invalid_argument")
            assert set(problem["errors"]) == {"kind"}
            check_problem(await client.post(f"/instances/{IMAGE}/console"), 404, "not_found")
            check_problem(await client.post("/instances/nonsense/console"), 400, "invalid_argument")
            problem = check_problem(await client.post(f"/instances/{stopped.id}/console"), 409, "wrong_state")
            assert "it is stopped" in problem["detail"]
            assert (await client.post(path)).json()["ws_path"].split("?")[0].endswith("/screen")

    run(main)


def test_a_console_ends_with_its_login(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client, site.client() as admin:
            await site.login(admin)
            one = instance("web-1")
            site.toy.table.put(one)
            made = (await admin.post("/tokens", json={"name": "x"})).json()
            bearer = {"Authorization": f"Bearer {made['token']}"}
            answer = await client.post(f"/instances/{one.id}/console", headers=bearer)
            socket = await site.websocket(answer.json()["ws_path"], **bearer)
            assert await socket.read_message() == b"hello from screen"
            begin = time.monotonic()
            assert (await admin.delete(f"/tokens/{made['id']}")).status_code == 204
            assert await socket.read_message() is None
            await asyncio.wait_for(site.toy.console_closed.wait(), 10)
            assert time.monotonic() - begin < 2
            service = site.rest._service
            assert service is not None
            assert service._api is not None
            await until(lambda: service._api.identities.socket_count() == 0)  # type: ignore[union-attr]

    run(main)
