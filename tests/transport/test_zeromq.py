"""What ZeroMQ does by itself, measured, and what ours does about it. Raw sockets play those who mean harm."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import pytest
import zmq

from nanocore.clock import SystemClock
from nanocore.errors import ErrorCode, NanoError
from nanocore.testing.cluster import QUICK, recording_log, wait_for
from nanocore.testing.faults import TcpProxy
from nanocore.transport import zeromq
from nanocore.transport.base import TransportLimits
from nanocore.transport.curve import Authenticator, KeyPair
from nanocore.transport.zeromq import ZeroMqFabric, ZeroMqTransport

from .test_transport import Party, Seen, World, world

HUB_KEYS = KeyPair.generate()
SMALL = replace(QUICK, max_frame_bytes=10_000, max_frames=5, max_message_bytes=30_000)


@contextmanager
def raw_context() -> Iterator[zmq.Context[Any]]:
    context = zmq.Context()
    try:
        yield context
    finally:
        context.destroy(linger=0)


def raw_dealer(context: zmq.Context[Any], port: int, keys: KeyPair, server_key: str, routing_id: bytes = b"") -> Any:
    dealer = context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.curve_publickey, dealer.curve_secretkey = keys.public.encode(), keys.secret.encode()
    dealer.curve_serverkey = server_key.encode()
    if routing_id:
        dealer.routing_id = routing_id
    dealer.connect(f"tcp://127.0.0.1:{port}")
    return dealer


async def answers(socket: Any, seconds: float) -> bool:
    """Return whether a message came within ``seconds``, without blocking the loop."""
    return bool(await asyncio.to_thread(socket.poll, int(seconds * 1000)))


@asynccontextmanager
async def hub_with_friend(limits: TransportLimits = SMALL) -> AsyncIterator[tuple[World, Party, Party]]:
    """Give a hub and an honest node linked with it, which must not suffer from what others do."""
    async with world("curve") as made:
        hub = await made.party("hub", bind="127.0.0.1:0", limits=limits)
        friend = await made.party("friend", limits=limits)
        friend.dial(hub)
        await wait_for(lambda: friend.seen.ups, "link")
        yield made, hub, friend
        before = len(hub.seen.messages)
        friend.transport.send("hub", [b"still here"])
        await wait_for(lambda: len(hub.seen.messages) > before, "the honest node is still heard")
        assert hub.seen.messages[-1] == ("friend", [b"still here"])
        hub.transport.send("friend", [b"fine"])
        await wait_for(lambda: ("hub", [b"fine"]) in friend.seen.messages, "and answered")


# -- the authenticator


def test_libzmq_alone_lets_strangers_in() -> None:
    """The reason for everything below: CURVE without an authenticator only hides what is said."""
    with raw_context() as context:
        router = context.socket(zmq.ROUTER)
        router.curve_server = True
        router.curve_publickey, router.curve_secretkey = HUB_KEYS.public.encode(), HUB_KEYS.secret.encode()
        port = router.bind_to_random_port("tcp://127.0.0.1")
        dealer = raw_dealer(context, port, KeyPair.generate(), HUB_KEYS.public)
        dealer.send(b"let me in")
        assert router.poll(3000)


def test_without_its_authenticator_nobody_gets_in() -> None:
    async def main() -> None:
        async with hub_with_friend() as (made, hub, _):
            authenticator = hub.fabric._authenticator  # type: ignore[attr-defined]
            authenticator.stop()
            known = await made.party("late")
            known.dial(hub)
            with raw_context() as context:
                stranger = raw_dealer(context, hub.transport.port or 0, KeyPair.generate(), hub.keys.public)
                assert not await answers(stranger, 0.5)
            assert not known.seen.ups
            authenticator.start()
            await wait_for(lambda: known.seen.ups, "the known node, once somebody answers for it")

    asyncio.run(main())


def test_a_look_up_that_raises_means_no_and_the_next_is_answered() -> None:
    async def main() -> None:
        async with hub_with_friend() as (made, hub, _):
            late = await made.party("late")
            failures: list[str] = []

            def fails_once(key: str) -> str | None:
                if not failures:
                    failures.append(key)
                    raise RuntimeError("the registry is on fire")
                return made.known.get(key)

            hub.fabric._authenticator.allow("nano.messages", fails_once)  # type: ignore[attr-defined]
            late.dial(hub)
            await wait_for(lambda: failures, "the look-up that raises")
            # After a refusal libzmq would give up for good; the transport dials again.
            await wait_for(lambda: late.seen.ups, "the next look-up")
            assert [line for line in made.log if "look-up failed" in line["event"]]

    asyncio.run(main())


def test_another_domain_is_refused() -> None:
    async def main() -> None:
        with raw_context() as context:
            log: list[dict[str, Any]] = []
            authenticator = Authenticator(context, SystemClock(), recording_log(log))
            authenticator.allow("nano.messages", lambda _: "somebody")
            authenticator.start()
            router = context.socket(zmq.ROUTER)
            router.curve_server = True
            router.curve_publickey, router.curve_secretkey = HUB_KEYS.public.encode(), HUB_KEYS.secret.encode()
            router.setsockopt_string(zmq.ZAP_DOMAIN, "nano.other")
            port = router.bind_to_random_port("tcp://127.0.0.1")
            dealer = raw_dealer(context, port, KeyPair.generate(), HUB_KEYS.public)
            dealer.send(b"let me in")
            await wait_for(lambda: any(line.get("domain") == "nano.other" for line in log), "refused by name")
            assert not router.poll(0)
            authenticator.stop()

    asyncio.run(main())


@pytest.mark.parametrize("mechanism", ["NULL", "PLAIN"])
def test_other_mechanisms_do_not_get_through(mechanism: str) -> None:
    async def main() -> None:
        async with hub_with_friend() as (_, hub, _friend):
            with raw_context() as context:
                dealer = context.socket(zmq.DEALER)
                if mechanism == "PLAIN":
                    dealer.plain_username, dealer.plain_password = b"admin", b"admin"
                dealer.connect(f"tcp://127.0.0.1:{hub.transport.port}")
                dealer.send(b"let me in")
                assert not await answers(dealer, 0.5)
            assert all(peer == "friend" for peer, _ in hub.seen.messages)

    asyncio.run(main())


def test_strangers_are_logged_once_a_minute_each() -> None:
    async def main() -> None:
        async with hub_with_friend() as (made, hub, _):
            keys = KeyPair.generate()
            for _ in range(2):
                with raw_context() as context:
                    dealer = raw_dealer(context, hub.transport.port or 0, keys, hub.keys.public)
                    await wait_for(lambda: any(line.get("public_key") == keys.public for line in made.log), "refused")
                    dealer.close()
            other = KeyPair.generate()
            with raw_context() as context:
                dealer = raw_dealer(context, hub.transport.port or 0, other, hub.keys.public)
                await wait_for(lambda: any(line.get("public_key") == other.public for line in made.log), "refused")
                dealer.close()
            assert len([line for line in made.log if line.get("public_key") == keys.public]) == 1

    asyncio.run(main())


# -- routing ids


def test_a_routing_id_of_ones_own_choice_is_refused_and_named() -> None:
    async def main() -> None:
        async with hub_with_friend() as (made, hub, _):
            keys = KeyPair.generate()
            made.known[keys.public] = "mallory"
            with raw_context() as context:
                dealer = raw_dealer(context, hub.transport.port or 0, keys, hub.keys.public, routing_id=b"friend")
                dealer.send(b"I am your friend")
                await wait_for(lambda: hub.seen.violations, "violation")
                peer, reason = hub.seen.violations[0]
                assert peer == "mallory"
                assert "friend" in reason
            assert ("mallory", [b"I am your friend"]) not in hub.seen.messages
            assert not hub.transport.is_linked("mallory")

    asyncio.run(main())


def test_an_absent_nodes_route_does_not_give_its_name() -> None:
    """Whoever dials gets the name of its key, and an absent node's mail goes nowhere."""

    async def main() -> None:
        async with hub_with_friend() as (made, hub, _):
            absent = await made.party("absent")
            absent.dial(hub)
            await wait_for(lambda: absent.seen.ups, "link")
            absent.transport.send("hub", [b"hello"])
            await wait_for(lambda: hub.transport.is_linked("absent"), "known")
            route = hub.transport._peers["absent"].route  # type: ignore[attr-defined]
            await made.end(absent)
            await wait_for(lambda: not hub.transport.is_linked("absent"), "gone")
            keys = KeyPair.generate()
            made.known[keys.public] = "mallory"
            with raw_context() as context:
                dealer = raw_dealer(context, hub.transport.port or 0, keys, hub.keys.public, routing_id=route)
                dealer.send(b"hello")
                await wait_for(lambda: ("mallory", [b"hello"]) in hub.seen.messages, "under its own name")
                with pytest.raises(NanoError) as caught:
                    hub.transport.send("absent", [b"secret"])
                assert caught.value.code is ErrorCode.UNAVAILABLE
                assert not await answers(dealer, 0.2)

    asyncio.run(main())


# -- sizes


def test_a_frame_above_the_limit_is_named_and_its_link_cut() -> None:
    async def main() -> None:
        async with hub_with_friend() as (made, hub, _):
            keys = KeyPair.generate()
            made.known[keys.public] = "mallory"
            with raw_context() as context:
                dealer = raw_dealer(context, hub.transport.port or 0, keys, hub.keys.public)
                dealer.send_multipart([b"head", b"x" * 15_000])
                await wait_for(lambda: hub.seen.violations, "violation")
                assert hub.seen.violations == [("mallory", "sent a frame of 15000 bytes; 10000 are allowed")]
                assert [peer for peer, _ in hub.seen.downs] == ["mallory"]
            assert all(peer != "mallory" for peer, _ in hub.seen.messages)

    asyncio.run(main())


def test_a_huge_frame_never_reaches_memory() -> None:
    async def main() -> None:
        async with hub_with_friend() as (made, hub, _):
            keys = KeyPair.generate()
            made.known[keys.public] = "mallory"
            with raw_context() as context:
                dealer = raw_dealer(context, hub.transport.port or 0, keys, hub.keys.public)
                dealer.send(b"hello")
                await wait_for(lambda: ("mallory", [b"hello"]) in hub.seen.messages, "link")
                dealer.send(b"x" * 64 * 1024 * 1024)
                await wait_for(lambda: hub.seen.downs, "the link is cut while it arrives")
                assert hub.seen.downs[0][0] == "mallory"
            assert len([1 for peer, _ in hub.seen.messages if peer == "mallory"]) == 1

    asyncio.run(main())


@pytest.mark.parametrize("frames", [[b"x"] * 8, [b"x" * 9_000] * 4])
def test_too_many_frames_and_bytes_are_named(frames: list[bytes]) -> None:
    async def main() -> None:
        async with hub_with_friend() as (made, hub, _):
            keys = KeyPair.generate()
            made.known[keys.public] = "mallory"
            with raw_context() as context:
                dealer = raw_dealer(context, hub.transport.port or 0, keys, hub.keys.public)
                dealer.send_multipart(frames)
                await wait_for(lambda: hub.seen.violations, "violation")
                assert hub.seen.violations[0][0] == "mallory"
                assert "more than" in hub.seen.violations[0][1]

    asyncio.run(main())


# -- slow and silent peers


def test_a_peer_that_does_not_read_is_busy_and_holds_nobody_up() -> None:
    limits = replace(QUICK, queue_length=20, high_water_mark=10)

    async def main() -> None:
        async with hub_with_friend(limits) as (made, hub, _):
            keys = KeyPair.generate()
            made.known[keys.public] = "sleeper"
            with raw_context() as context:
                dealer = raw_dealer(context, hub.transport.port or 0, keys, hub.keys.public)
                dealer.rcvhwm = 1
                dealer.send(b"hello")
                await wait_for(lambda: hub.transport.is_linked("sleeper"), "link")
                with pytest.raises(NanoError) as caught:
                    for _ in range(3000):
                        hub.transport.send("sleeper", [b"x" * 100_000])
                assert caught.value.code is ErrorCode.BUSY
                assert caught.value.details["retry_after_seconds"] == 1
                hub.transport.hang_up("sleeper")

    asyncio.run(main())


def test_a_half_open_link_is_noticed_by_the_one_who_dialled() -> None:
    async def main() -> None:
        async with world("curve") as made:
            hub = await made.party("hub", bind="127.0.0.1:0")
            node = await made.party("node")
            async with TcpProxy("127.0.0.1", hub.transport.port or 0) as proxy:
                node.transport.dial("hub", f"127.0.0.1:{proxy.port}", hub.keys.public)
                await wait_for(lambda: node.seen.ups, "link")
                node.transport.send("hub", [b"hello"])
                await wait_for(lambda: hub.seen.ups, "link")
                before = proxy.passed
                # The hub learns from a first ping how long silence may last.
                await wait_for(lambda: proxy.passed > before + 2, "a heartbeat and its answer")
                proxy.stall()
                await wait_for(lambda: node.seen.downs, "the dialling side notices", seconds=3)
                await wait_for(lambda: hub.seen.downs, "the hub's heartbeat time to live ends", seconds=4)

    asyncio.run(main())


def test_idle_connections_are_cut_after_the_handshake_time() -> None:
    async def main() -> None:
        async with hub_with_friend(replace(SMALL, handshake_seconds=0.3)) as (_, hub, _friend):
            reader, writer = await asyncio.open_connection("127.0.0.1", hub.transport.port)
            async with asyncio.timeout(3):
                while await reader.read(1024):
                    pass
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


# -- nobody goes deaf


@pytest.mark.timeout(120)
def test_no_wake_up_is_lost_under_random_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sends in and out of handlers, handlers that raise; the watchdog that would hide a deaf socket is off."""
    monkeypatch.setattr(zeromq, "_WATCHDOG_SECONDS", 3600.0)
    dice = random.Random(7)
    nodes, messages = 60, 40

    class Echo(Seen):
        transport: ZeroMqTransport

        def on_frames(self, peer: str, frames: list[Any]) -> None:
            self.transport.send(peer, frames)
            super().on_frames(peer, frames)
            if dice.random() < 0.2:
                raise RuntimeError("after the answer")

    async def main() -> None:
        known = {HUB_KEYS.public: "hub"}
        log = recording_log([])
        fabric = ZeroMqFabric(HUB_KEYS, known.get, SystemClock(), log)
        hub = fabric.transport("messages", bind="127.0.0.1:0", limits=QUICK)
        echo = Echo()
        echo.transport = hub
        await fabric.open()
        await hub.start(echo)
        # One context for all the nodes: as many sockets, fewer threads.
        keys = KeyPair.generate()
        others = ZeroMqFabric(keys, lambda _: None, SystemClock(), log)
        clients: list[tuple[ZeroMqTransport, Seen]] = []
        made = []
        for _ in range(nodes):
            pair = KeyPair.generate()
            known[pair.public] = pair.public
            made.append((pair, others.transport("messages", bind=None, limits=QUICK)))
        await others.open()
        for pair, client in made:
            seen = Seen()
            others.keys = pair
            await client.start(seen)
            client.dial("hub", f"127.0.0.1:{hub.port}", HUB_KEYS.public)
            clients.append((client, seen))
        try:
            await wait_for(lambda: all(seen.ups for _, seen in clients), "all links", seconds=20)
            for number in range(messages):
                for client, _ in dice.sample(clients, len(clients)):
                    client.send("hub", [b"%d" % number])
                    if dice.random() < 0.1:
                        await asyncio.sleep(0)
            wanted = [b"%d" % number for number in range(messages)]
            await wait_for(lambda: all(len(seen.messages) == messages for _, seen in clients), "every echo", seconds=30)
            assert all([frames[0] for _, frames in seen.messages] == wanted for _, seen in clients)
        finally:
            for client, _ in clients:
                await client.stop()
            await others.close()
            await hub.stop()
            await fabric.close()

    asyncio.run(main())


def test_one_turn_never_takes_more_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood is taken in turns, so that timers and other sockets get theirs."""
    turns: list[int] = []
    drain = zeromq._Reader.drain

    def counted(reader: Any) -> None:
        before = len(hub_seen.messages)
        drain(reader)
        turns.append(len(hub_seen.messages) - before)

    hub_seen = Seen()
    monkeypatch.setattr(zeromq._Reader, "drain", counted)

    async def main() -> None:
        nonlocal hub_seen
        async with hub_with_friend(QUICK) as (_, hub, friend):
            hub_seen = hub.seen
            for number in range(900):
                friend.transport.send("hub", [b"%d" % number])
            await wait_for(lambda: len(hub.seen.messages) == 900, "all of them")

    asyncio.run(main())
    assert max(turns) <= zeromq.TURN
