"""What every transport promises, over memory and over CURVE on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from nanocore.clock import SystemClock
from nanocore.errors import ErrorCode, NanoError
from nanocore.testing.cluster import QUICK, recording_log, wait_for
from nanocore.transport.base import Fabric, Frame, Transport, TransportLimits
from nanocore.transport.curve import KeyPair
from nanocore.transport.memory import MemoryFabric, MemoryNetwork
from nanocore.transport.zeromq import ZeroMqFabric

SMALL = replace(QUICK, max_frame_bytes=10_000, max_frames=5, max_message_bytes=30_000, queue_length=10)


@dataclass
class Seen:
    """A receiver that remembers; ``raises`` makes it fail on such a first frame."""

    messages: list[tuple[str, list[bytes]]] = field(default_factory=list)
    ups: list[str] = field(default_factory=list)
    downs: list[tuple[str, str]] = field(default_factory=list)
    violations: list[tuple[str, str]] = field(default_factory=list)
    raises: bytes = b"\0raise"

    def on_frames(self, peer: str, frames: list[Frame]) -> None:
        if bytes(frames[0]) == self.raises:
            raise RuntimeError("as the test asked")
        self.messages.append((peer, [bytes(frame) for frame in frames]))

    def on_link_up(self, peer: str) -> None:
        self.ups.append(peer)

    def on_link_down(self, peer: str, reason: str) -> None:
        self.downs.append((peer, reason))

    def on_violation(self, peer: str, reason: str) -> None:
        self.violations.append((peer, reason))


@dataclass
class Party:
    """One node: its transport and what it saw."""

    name: str
    keys: KeyPair
    fabric: Fabric
    transport: Transport
    seen: Seen = field(default_factory=Seen)

    def dial(self, hub: Party, *, key: str | None = None) -> None:
        self.transport.dial(hub.name, f"127.0.0.1:{hub.transport.port}", key or hub.keys.public)


@dataclass
class World:
    """Makes parties that know each other's keys."""

    over: str
    known: dict[str, str] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    network: MemoryNetwork = field(default_factory=MemoryNetwork)
    parties: list[Party] = field(default_factory=list)

    async def party(
        self,
        name: str,
        *,
        bind: str | None = None,
        limits: TransportLimits = SMALL,
        keys: KeyPair | None = None,
        is_known: bool = True,
    ) -> Party:
        keys = keys or KeyPair.generate()
        if is_known:
            self.known[keys.public] = name
        log = recording_log(self.log).bind(node=name)
        fabric: Fabric = (
            MemoryFabric(self.network, keys, self.known.get, log)
            if self.over == "memory"
            else ZeroMqFabric(keys, self.known.get, SystemClock(), log)
        )
        party = Party(name, keys, fabric, fabric.transport("messages", bind=bind, limits=limits))
        self.parties.append(party)
        await fabric.open()
        await party.transport.start(party.seen)
        return party

    async def hub(self, *, bind: str = "127.0.0.1:0", keys: KeyPair | None = None) -> Party:
        return await self.party("hub", bind=bind, keys=keys)

    async def end(self, party: Party) -> None:
        self.parties.remove(party)
        await party.transport.stop()
        await party.fabric.close()


@asynccontextmanager
async def world(over: str) -> AsyncIterator[World]:
    made = World(over)
    try:
        yield made
    finally:
        for party in list(made.parties):
            await made.end(party)


Body = Callable[[World], Awaitable[None]]


@pytest.fixture(params=["memory", "curve"])
def play(request: pytest.FixtureRequest) -> Callable[[Body], None]:
    def run(body: Body) -> None:
        async def main() -> None:
            async with world(request.param) as made:
                await body(made)

        asyncio.run(main())

    return run


async def linked(made: World, name: str = "node-a") -> tuple[Party, Party]:
    hub = await made.hub()
    node = await made.party(name)
    node.dial(hub)
    await wait_for(lambda: node.seen.ups, "link")
    node.transport.send("hub", [b"hello"])
    await wait_for(lambda: hub.seen.messages, "hello")
    return hub, node


def test_messages_pass_both_ways_with_the_proven_name(play: Callable[[Body], None]) -> None:
    async def body(made: World) -> None:
        hub, node = await linked(made)
        assert hub.seen.messages == [("node-a", [b"hello"])]
        assert hub.seen.ups == ["node-a"]
        hub.transport.send("node-a", [b"head", b"", memoryview(b"blob")])
        await wait_for(lambda: node.seen.messages, "answer")
        assert node.seen.messages == [("hub", [b"head", b"", b"blob"])]

    play(body)


def test_messages_keep_their_order(play: Callable[[Body], None]) -> None:
    async def body(made: World) -> None:
        hub, node = await linked(made)
        for number in range(500):
            while True:
                try:
                    node.transport.send("hub", [b"%d" % number])
                    break
                except NanoError as error:
                    if error.code is not ErrorCode.BUSY:
                        raise
                    await asyncio.sleep(0)
        await wait_for(lambda: len(hub.seen.messages) == 501, "all messages")
        assert [frames[0] for _, frames in hub.seen.messages[1:]] == [b"%d" % number for number in range(500)]

    play(body)


def test_a_stranger_is_refused_and_named_by_its_key(play: Callable[[Body], None]) -> None:
    async def body(made: World) -> None:
        hub, _ = await linked(made)
        stranger = await made.party("stranger", is_known=False)
        stranger.dial(hub)
        await wait_for(
            lambda: any(line.get("public_key") == stranger.keys.public and line["node"] == "hub" for line in made.log),
            "the log names the stranger's key",
        )
        assert not stranger.transport.is_linked("hub")
        with pytest.raises(NanoError) as caught:
            stranger.transport.send("hub", [b"hello"])
        assert caught.value.code is ErrorCode.UNAVAILABLE
        assert [peer for peer, _ in hub.seen.messages] == ["node-a"]

    play(body)


def test_a_hub_with_another_key_is_never_believed(play: Callable[[Body], None]) -> None:
    async def body(made: World) -> None:
        hub, _ = await linked(made)
        node = await made.party("node-b")
        node.dial(hub, key=KeyPair.generate().public)
        other = await made.party("node-c")
        other.dial(hub)
        await wait_for(lambda: other.seen.ups, "the honest dial")
        assert not node.seen.ups

    play(body)


def test_a_peer_that_is_not_there_is_unavailable(play: Callable[[Body], None]) -> None:
    async def body(made: World) -> None:
        hub, _ = await linked(made)
        with pytest.raises(NanoError) as caught:
            hub.transport.send("node-z", [b"hello"])
        assert caught.value.code is ErrorCode.UNAVAILABLE

    play(body)


@pytest.mark.parametrize("frames", [[b"x" * 10_001], [b"x" * 9_000] * 4, [b"x"] * 6])
def test_a_message_beyond_the_limits_is_not_sent(play: Callable[[Body], None], frames: list[bytes]) -> None:
    async def body(made: World) -> None:
        hub, node = await linked(made)
        with pytest.raises(NanoError) as caught:
            node.transport.send("hub", frames)
        assert caught.value.code is ErrorCode.INVALID_ARGUMENT
        assert caught.value.reason == "transport.too_large"
        node.transport.send("hub", [b"x" * 10_000])
        await wait_for(lambda: len(hub.seen.messages) == 2, "the link still works")

    play(body)


def test_both_sides_notice_the_end_of_a_link(play: Callable[[Body], None]) -> None:
    async def body(made: World) -> None:
        hub, node = await linked(made)
        await made.end(node)
        await wait_for(lambda: hub.seen.downs, "the hub notices")
        assert hub.seen.downs[0][0] == "node-a"
        assert not hub.transport.is_linked("node-a")
        other = await made.party("node-b")
        other.dial(hub)
        await wait_for(lambda: other.seen.ups, "link")
        await made.end(hub)
        await wait_for(lambda: other.seen.downs, "the node notices")
        assert not other.transport.is_linked("hub")

    play(body)


def test_a_restarted_hub_is_dialled_again(play: Callable[[Body], None]) -> None:
    async def body(made: World) -> None:
        hub, node = await linked(made)
        port = hub.transport.port
        await made.end(hub)
        await wait_for(lambda: node.seen.downs, "the node notices")
        again = await made.hub(bind=f"127.0.0.1:{port}", keys=hub.keys)
        await wait_for(lambda: len(node.seen.ups) == 2, "link")
        node.transport.send("hub", [b"back"])
        await wait_for(lambda: again.seen.messages == [("node-a", [b"back"])], "message")

    play(body)


def test_hanging_up_cuts_a_live_link(play: Callable[[Body], None]) -> None:
    async def body(made: World) -> None:
        hub, node = await linked(made)
        del made.known[node.keys.public]
        hub.transport.hang_up("node-a")
        await wait_for(lambda: node.seen.downs, "the node notices")
        assert not hub.transport.is_linked("node-a")
        await wait_for(lambda: any(line.get("public_key") == node.keys.public for line in made.log), "refused")
        assert len(node.seen.ups) == 1

    play(body)


def test_the_newest_connection_of_a_key_is_its_link(play: Callable[[Body], None]) -> None:
    async def body(made: World) -> None:
        hub, node = await linked(made)
        twin = await made.party("node-a", keys=node.keys)
        twin.dial(hub)
        await wait_for(lambda: twin.seen.ups, "link")
        twin.transport.send("hub", [b"twin"])
        await wait_for(lambda: ("node-a", [b"twin"]) in hub.seen.messages, "message")
        hub.transport.send("node-a", [b"for the newest"])
        await wait_for(lambda: twin.seen.messages, "answer")
        assert not node.seen.messages

    play(body)


def test_a_receiver_that_raises_hears_the_next_message(play: Callable[[Body], None]) -> None:
    async def body(made: World) -> None:
        hub, node = await linked(made)
        for frame in (Seen.raises, b"one", Seen.raises, b"two"):
            node.transport.send("hub", [frame])
        await wait_for(lambda: len(hub.seen.messages) == 3, "both good messages")
        assert [line["level"] for line in made.log if "could not be taken" in line["event"]] == ["error"] * 2

    play(body)


def test_an_address_in_use_is_named(play: Callable[[Body], None]) -> None:
    async def body(made: World) -> None:
        hub = await made.hub()
        with pytest.raises(NanoError, match=rf"can't listen on 127\.0\.0\.1:{hub.transport.port}"):
            await made.party("second", bind=f"127.0.0.1:{hub.transport.port}")

    play(body)


def test_stopping_twice_is_harmless(play: Callable[[Body], None]) -> None:
    async def body(made: World) -> None:
        hub, node = await linked(made)
        for party in (node, hub):
            await party.transport.stop()
            await party.transport.stop()
            await party.fabric.close()
            await party.fabric.close()

    play(body)
