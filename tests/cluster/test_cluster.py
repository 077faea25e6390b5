"""Several nodes: joining, calls, events, streams, loss; the same over memory and over CURVE on loopback."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import pytest
import structlog

from nanocore.contracts.handler import Call, Handler, Reply, Subscription
from nanocore.contracts.node import (
    CreateInvite,
    DeleteInvite,
    ListInvites,
    ListPeers,
    NodeInfo,
    NodeJoined,
    NodeLost,
    NodeRole,
    RevokeNode,
)
from nanocore.contracts.stream import MAX_CHUNK_BYTES, Stream
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import NodeId, new_id
from nanocore.kernel.enrolment import join
from nanocore.kernel.messenger import Messenger, MessengerSettings
from nanocore.kernel.trust import Identity
from nanocore.testing.cluster import QUICK, Cluster, TokenAuthorizer, cluster, recording_log, wait_for
from nanocore.testing.faults import TcpProxy
from nanocore.wire import Command, Event, Query

pytestmark = pytest.mark.cluster

ANY = frozenset({NodeRole.CORE, NodeRole.CELL, NodeRole.FRONTEND})


class Echo(Query[str], frozen=True, kw_only=True):
    op: ClassVar[str] = "test.echo"

    text: str = ""


class Change(Command[int], frozen=True, kw_only=True):
    op: ClassVar[str] = "test.change"

    by: int = 1


class UserThing(Query[str], frozen=True, kw_only=True):
    op: ClassVar[str] = "test.user_thing"
    permission: ClassVar[str | None] = "thing.read"


class Pipe(Command[None], frozen=True, kw_only=True):
    op: ClassVar[str] = "test.pipe"

    mode: str = "echo"


class Ticked(Event, frozen=True, kw_only=True):
    op: ClassVar[str] = "test.ticked"

    number: int


class Whispered(Event, frozen=True, kw_only=True):
    op: ClassVar[str] = "test.whispered"
    is_forwarded: ClassVar[bool] = False


class Plugin:
    """Handlers for the tests; ``gate`` holds them up."""

    def __init__(self, node: Messenger, *, allow: frozenset[NodeRole] = ANY) -> None:
        self.node = node
        self.calls: list[Call] = []
        self.total = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.cancelled = 0
        self.streams: list[Stream] = []
        handlers = (
            Handler(Echo, self._echo, allow=allow),
            Handler(Change, self._change, allow=allow),
            Handler(UserThing, self._user_thing, allow=allow),
            Handler(Pipe, self._pipe, allow=allow, is_stream=True),
        )
        node.register({handler.op: handler for handler in handlers})

    async def _hold(self, call: Call) -> None:
        self.calls.append(call)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def _echo(self, message: Echo, call: Call) -> Reply[str]:
        await self._hold(call)
        return Reply(message.text, call.blobs)

    async def _change(self, message: Change, call: Call) -> int:
        await self._hold(call)
        self.total += message.by
        return self.total

    async def _user_thing(self, _message: UserThing, call: Call) -> str:
        self.calls.append(call)
        return call.actor.username if call.actor else "nobody"

    async def _pipe(self, message: Pipe, call: Call) -> None:
        stream = call.stream
        assert stream is not None
        self.streams.append(stream)
        if message.mode == "refuse":
            raise NanoError(ErrorCode.NOT_FOUND, "no such image")
        if message.mode == "hang":
            await asyncio.Event().wait()
        while (chunk := await stream.receive()) is not None:
            if message.mode == "fail":
                raise NanoError(ErrorCode.NO_CAPACITY, "the disk is full")
            if message.mode == "crash":
                raise RuntimeError("password hunter2")
            await stream.send(chunk)
        await stream.end()


Body = Callable[[Cluster], Awaitable[None]]


@pytest.fixture(params=["memory", "curve"])
def play(request: pytest.FixtureRequest) -> Callable[..., None]:
    def run(body: Body, cells: int = 1, **settings: Any) -> None:
        async def main() -> None:
            async with asyncio.timeout(30), cluster(cells, over=request.param, **settings) as nodes:
                await body(nodes)

        asyncio.run(main())

    return run


async def refusal(work: Awaitable[object]) -> NanoError:
    with pytest.raises(NanoError) as caught:
        await work
    return caught.value


async def crash(node: Messenger) -> None:
    """End a node's connections as ``kill -9`` would: without a good-bye."""
    assert node._presence._timer is not None
    node._presence._timer.cancel()
    await node._exchange.transport.stop()
    await node._streams._transport.stop()


# -- joining and presence


def test_nodes_join_and_know_each_other(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        peers = (await nodes.core.call_reply(ListPeers())).body
        assert {(peer.info.name, peer.is_reachable, peer.is_revoked) for peer in peers} == {
            ("core", True, False),
            ("cell-1", True, False),
            ("cell-2", True, False),
        }
        cell = next(peer for peer in peers if peer.info.name == "cell-1")
        assert cell.info.roles == [NodeRole.CELL]
        assert cell.registered_at is not None
        assert [peer.name for peer in nodes.cells[0].reachable_peers()] == ["core"]
        assert (await nodes.core.call_reply(ListInvites())).body == []

    play(body, cells=2)


def test_an_invite_is_shown_once_used_once_and_can_be_withdrawn(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        invite = (await nodes.core.call_reply(CreateInvite(name="web"))).body
        assert invite.command == f"nano join {invite.token}"
        listed = (await nodes.core.call_reply(ListInvites())).body
        assert [(item.id, item.token, item.command) for item in listed] == [(invite.id, None, None)]
        await nodes.core.call_reply(DeleteInvite(id=invite.id))
        assert invite.token is not None
        error = await refusal(_join(nodes, invite.token, "web"))
        assert error.code is ErrorCode.PERMISSION_DENIED

        token = await nodes.invite()
        await _join(nodes, token, "first")
        error = await refusal(_join(nodes, token, "second"))
        assert error.code is ErrorCode.PERMISSION_DENIED
        names = {peer.info.name for peer in (await nodes.core.call_reply(ListPeers())).body}
        assert names == {"core", "first"}

    play(body, cells=0)


async def _join(nodes: Cluster, token: str, name: str) -> None:
    log = recording_log(nodes.log)
    made = nodes._fabric_of(name)
    await join(token, Identity.new(), name=name, clock=nodes.clock, log=log, fabric=made, timeout_seconds=5)


def test_a_core_that_is_not_there_is_named(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        token = await nodes.invite()
        await nodes.core.stop()
        log = recording_log(nodes.log)
        made = nodes._fabric_of("late")
        error = await refusal(
            join(token, Identity.new(), name="late", clock=nodes.clock, log=log, fabric=made, timeout_seconds=0.3)
        )
        assert error.code is ErrorCode.UNAVAILABLE
        assert "core core does not answer at 127.0.0.1:" in error.message

    play(body, cells=0)


def test_a_killed_cell_is_seen_within_two_seconds_and_comes_back(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        cell = nodes.cells[0]
        heard: list[Event] = []

        async def hear(event: Event, _source: NodeInfo) -> None:
            heard.append(event)

        for kind in (NodeJoined, NodeLost):
            nodes.core.subscribe(Subscription(kind, hear, "test"))
        # The beats' own work is measured, from the node's last one on.
        start = asyncio.get_running_loop().time()
        await crash(cell)
        await wait_for(lambda: nodes.lost, "the core notices", seconds=2.0)
        assert asyncio.get_running_loop().time() - start < 2.0
        assert nodes.lost == [("cell-1", "missed two beats")]
        assert not nodes.core.is_reachable(cell.info.id)
        await nodes.start("cell-1", nodes.identities["cell-1"], [NodeRole.CELL])
        await wait_for(lambda: len(heard) == 2, "both events")
        assert [type(event) for event in heard] == [NodeLost, NodeJoined]

    play(body)


def test_a_node_that_stops_says_good_bye(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        await nodes.cells[0].stop()
        await wait_for(lambda: nodes.lost, "the core is told", seconds=1.0)
        assert nodes.lost == [("cell-1", "said good-bye")]
        assert nodes.core.is_reachable(nodes.cells[1].info.id)

    play(body, cells=2)


def test_a_restarted_core_gets_its_cells_back(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        cell, old = nodes.cells[0], nodes.core
        ports = old.message_port or 0, old.stream_port or 0
        await crash(old)
        await old.stop()
        await wait_for(lambda: not cell.is_reachable(old.info.id), "the cell notices")
        core = await nodes.start_core(message_port=ports[0], stream_port=ports[1])
        Plugin(core)
        await wait_for(lambda: cell.is_reachable(core.info.id) and core.is_reachable(cell.info.id), "both are back")
        assert (await cell.call_reply(Echo(text="again"))).body == "again"

    play(body)


# -- calls


def test_calls_find_their_way_in_every_direction(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        first, second = nodes.cells
        plugins = {node.info.id: Plugin(node) for node in (nodes.core, second)}
        ways = [(first, None), (nodes.core, second), (nodes.core, None), (first, second), (second, second)]
        for source, target in ways:
            dst = target.info.id if target is not None else None
            blobs = [b"blob", b"x" * 300_000]
            reply = await source.call_reply(Echo(text="hi"), dst=dst, blobs=blobs)
            assert reply.body == "hi"
            assert [bytes(blob) for blob in reply.blobs] == blobs
            call = plugins[(target or nodes.core).info.id].calls[-1]
            assert call.source.id == source.info.id
            assert set(call.source.roles) == set(source.info.roles)

    play(body, cells=2)


def test_a_message_that_was_passed_on_has_only_the_roles_that_the_core_vouches_for(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        first, second = nodes.cells
        Plugin(second, allow=frozenset({NodeRole.CORE, NodeRole.FRONTEND}))
        error = await refusal(first.call_reply(Echo(), dst=second.info.id))
        assert error.code is ErrorCode.PERMISSION_DENIED
        assert (await nodes.core.call_reply(Echo(text="x"), dst=second.info.id)).body == "x"

    play(body, cells=2)


def test_an_unknown_op_and_an_unknown_node_answer_at_once(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        async with asyncio.timeout(1):
            for node, dst in ((nodes.core, None), (nodes.cells[0], None), (nodes.core, nodes.cells[0].info.id)):
                error = await refusal(node.call_reply(Echo(), dst=dst))
                assert error.code is ErrorCode.UNIMPLEMENTED
            for node in (nodes.core, nodes.cells[0]):
                error = await refusal(node.call_reply(Echo(), dst=NodeId(new_id())))
                assert error.code is ErrorCode.UNAVAILABLE

    play(body)


def test_errors_and_traces_cross_nodes_whole(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        async def handle(_message: Echo, _call: Call) -> str:
            raise NanoError(ErrorCode.QUOTA_EXCEEDED, "no more", reason="test.quota", left=0)

        nodes.core.register({Echo.op: Handler(Echo, handle, allow=ANY)})
        error = await refusal(nodes.cells[0].call_reply(Echo()))
        assert (error.code, error.message, error.reason) == (ErrorCode.QUOTA_EXCEEDED, "no more", "test.quota")
        assert error.details == {"left": 0}

    play(body)


@pytest.mark.parametrize("result", [object(), 2**70, Reply("text", ("no bytes",))])  # type: ignore[arg-type]
def test_a_result_that_can_not_be_sent_is_an_internal_error(play: Callable[..., None], result: object) -> None:
    async def body(nodes: Cluster) -> None:
        async def handle(_message: Echo, _call: Call) -> object:
            return result

        nodes.core.register({Echo.op: Handler(Echo, handle, allow=ANY)})
        nodes.core._dispatcher._is_strict = False
        assert (await refusal(nodes.cells[0].call_reply(Echo()))).code is ErrorCode.INTERNAL
        Plugin(nodes.cells[0])
        assert (await nodes.core.call_reply(Echo(text="fine"), dst=nodes.cells[0].info.id)).body == "fine"

    play(body)


def test_details_that_can_not_be_sent_do_not_hide_the_error(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        async def handle(_message: Echo, _call: Call) -> str:
            raise NanoError(ErrorCode.NO_CAPACITY, "full", reason="test.full", culprit=object())

        nodes.core.register({Echo.op: Handler(Echo, handle, allow=ANY)})
        error = await refusal(nodes.cells[0].call_reply(Echo()))
        assert (error.code, error.message, error.reason) == (ErrorCode.NO_CAPACITY, "full", "test.full")

    play(body)


def test_the_trace_of_the_work_that_calls_reaches_the_other_node(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        plugin = Plugin(nodes.core)
        with structlog.contextvars.bound_contextvars(trace="trace-7"):
            await nodes.cells[0].call_reply(Echo())
        assert plugin.calls[0].trace == "trace-7"
        await nodes.cells[0].call_reply(Echo(), request_id="request-8")
        assert plugin.calls[1].trace == "request-8"

    play(body)


def test_time_is_bounded_on_both_nodes(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        plugin = Plugin(nodes.core)
        plugin.gate.clear()
        cell = nodes.cells[0]
        query = await refusal(cell.call_reply(Echo(), timeout_seconds=0.2))
        command = await refusal(cell.call_reply(Change(), timeout_seconds=0.2))
        assert (query.code, command.code) == (ErrorCode.DEADLINE_EXCEEDED, ErrorCode.UNKNOWN_OUTCOME)
        await wait_for(lambda: plugin.cancelled == 2, "both handlers are stopped")
        assert (await refusal(cell.call_reply(Echo(), timeout_seconds=0))).code is ErrorCode.DEADLINE_EXCEEDED

    play(body)


def test_a_repeated_command_is_done_once(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        plugin = Plugin(nodes.core)
        cell = nodes.cells[0]
        answers = [(await cell.call_reply(Change(), request_id="once")).body for _ in range(3)]
        answers.append((await cell.call_reply(Change(), request_id="twice")).body)
        answers.append((await nodes.core.call_reply(Change(), request_id="once")).body)
        assert answers == [1, 1, 1, 2, 3]
        assert len(plugin.calls) == 3

    play(body)


def test_a_caller_that_gives_up_stops_its_query_elsewhere(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        plugin = Plugin(nodes.core)
        plugin.gate.clear()
        for node in (nodes.cells[0], nodes.core):
            waiting = asyncio.create_task(node.call_reply(Echo()))
            await wait_for(lambda: plugin.calls, "running")
            waiting.cancel()
            before = plugin.cancelled
            await asyncio.gather(waiting, return_exceptions=True)
            await wait_for(lambda before=before: plugin.cancelled == before + 1, "stopped")  # type: ignore[misc]
            plugin.calls.clear()
        waiting = asyncio.create_task(nodes.cells[0].call_reply(Change()))
        await wait_for(lambda: plugin.calls, "running")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        plugin.gate.set()
        await wait_for(lambda: plugin.total == 1, "the command is carried on")

    play(body)


def test_a_lost_peer_fails_what_waits_for_it_at_once(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        cell = nodes.cells[0]
        plugin = Plugin(cell)
        plugin.gate.clear()
        waiting = [
            asyncio.create_task(nodes.core.call_reply(message, dst=cell.info.id, timeout_seconds=20))
            for message in (Echo(), Change())
        ]
        await wait_for(lambda: len(plugin.calls) == 2, "running")
        await crash(cell)
        async with asyncio.timeout(2):
            errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert [error.code for error in errors if isinstance(error, NanoError)] == [
            ErrorCode.UNAVAILABLE,
            ErrorCode.UNKNOWN_OUTCOME,
        ]
        error = await refusal(nodes.core.call_reply(Change(), dst=cell.info.id))
        assert error.code is ErrorCode.UNAVAILABLE

    play(body)


def test_a_user_is_resolved_on_the_core_alone(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        Plugin(nodes.core)
        frontend = await nodes.join("front", NodeRole.FRONTEND)
        assert (await frontend.call_reply(UserThing(), credential="anna")).body == "anna"
        for credential, code in (
            ("carl", ErrorCode.PERMISSION_DENIED),
            ("wrong", ErrorCode.UNAUTHENTICATED),
            (None, ErrorCode.UNAUTHENTICATED),
            ("local", ErrorCode.UNAUTHENTICATED),
        ):
            error = await refusal(frontend.call_reply(UserThing(), credential=credential))
            assert error.code is code
        assert (await nodes.core.call_reply(UserThing())).body == "system"

    tokens = TokenAuthorizer({"anna": frozenset({"thing.read"}), "carl": frozenset()})
    play(body, cells=0, authorizer=tokens)


def test_a_cell_sends_only_what_its_role_may(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        for message in (CreateInvite(), RevokeNode(id=nodes.core.info.id), ListPeers()):
            error = await refusal(nodes.cells[0].call_reply(message, dst=nodes.core.info.id))
            assert error.code is ErrorCode.PERMISSION_DENIED

    play(body)


def test_what_is_too_large_is_refused_by_name_and_the_link_stays(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        Plugin(nodes.core)
        cell = nodes.cells[0]
        error = await refusal(cell.call_reply(Echo(text="x" * (QUICK.max_frame_bytes + 1))))
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert "use a stream" in error.message
        assert (await cell.call_reply(Echo(text="fine"))).body == "fine"

    play(body)


# -- events


def test_events_of_a_cell_reach_the_core_in_order(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        here: list[tuple[int, str]] = []
        there: list[tuple[int, str]] = []
        whispers: list[str] = []

        def hearing(sink: list[tuple[int, str]]) -> Subscription:
            async def hear(event: Ticked, source: NodeInfo) -> None:
                sink.append((event.number, source.name))

            return Subscription(Ticked, hear, "test")

        async def overhear(_event: Whispered, source: NodeInfo) -> None:
            whispers.append(source.name)

        cell = nodes.cells[0]
        cell.subscribe(hearing(here))
        nodes.core.subscribe(hearing(there))
        nodes.core.subscribe(Subscription(Whispered, overhear, "test"))
        await cell.publish(Whispered())
        for number in range(50):
            await cell.publish(Ticked(number=number))
        await wait_for(lambda: len(there) == 50, "all on the core")
        assert there == here == [(number, "cell-1") for number in range(50)]
        assert whispers == []
        await nodes.core.publish(Ticked(number=99))
        await wait_for(lambda: there[-1] == (99, "core"), "the core's own")
        assert len(here) == 50

    play(body)


def test_a_core_tells_its_frontends(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        frontend = await nodes.join("front", NodeRole.FRONTEND)
        heard: list[int] = []

        async def hear(event: Ticked, _source: NodeInfo) -> None:
            heard.append(event.number)

        frontend.subscribe(Subscription(Ticked, hear, "test"))
        await nodes.core.publish(Ticked(number=5))
        await wait_for(lambda: heard == [5], "the event")

    play(body, cells=0)


# -- streams


async def copy(stream: Stream, chunks: int) -> str:
    """Send ``chunks`` through an echoing stream and return the digest of what came back."""

    async def feed() -> None:
        for number in range(chunks):
            await stream.send(bytes([number % 251]) * MAX_CHUNK_BYTES)
        await stream.end()

    feeding = asyncio.create_task(feed())
    digest = hashlib.sha256()
    while (chunk := await stream.receive()) is not None:
        digest.update(chunk)
    await feeding
    return digest.hexdigest()


def test_streams_carry_bytes_in_every_direction(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        first, second = nodes.cells
        Plugin(nodes.core)
        Plugin(second)
        expected = hashlib.sha256(b"".join(bytes([n % 251]) * MAX_CHUNK_BYTES for n in range(24))).hexdigest()
        for source, target in (
            (first, nodes.core),
            (nodes.core, second),
            (first, second),
            (nodes.core, nodes.core),
        ):
            stream = await source.open_stream(Pipe(), dst=target.info.id)
            assert await copy(stream, 24) == expected
            await stream.close()
        for node in (nodes.core, first, second):
            await wait_for(lambda node=node: not node._streams._entries, "nothing is left")  # type: ignore[misc]

    play(body, cells=2)


def test_many_streams_share_a_link(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        Plugin(nodes.core)
        streams = [await nodes.cells[0].open_stream(Pipe()) for _ in range(10)]
        digests = await asyncio.gather(*(copy(stream, 6) for stream in streams))
        assert len(set(digests)) == 1

    play(body)


@pytest.mark.parametrize("is_local", [True, False])
def test_a_handler_that_refuses_a_stream_is_heard_by_the_opener(play: Callable[..., None], *, is_local: bool) -> None:
    async def body(nodes: Cluster) -> None:
        Plugin(nodes.core)
        node = nodes.core if is_local else nodes.cells[0]
        error = await refusal(node.open_stream(Pipe(mode="refuse")))
        assert (error.code, error.message) == (ErrorCode.NOT_FOUND, "no such image")
        assert (await refusal(node.open_stream(Echo()))).code is ErrorCode.INVALID_ARGUMENT
        error = await refusal(node.open_stream(Pipe(mode="hang"), timeout_seconds=0.2))
        assert error.code in {ErrorCode.DEADLINE_EXCEEDED, ErrorCode.UNKNOWN_OUTCOME}
        assert not node._streams._entries

    play(body)


@pytest.mark.parametrize("is_local", [True, False])
@pytest.mark.parametrize(("mode", "code"), [("fail", ErrorCode.NO_CAPACITY), ("crash", ErrorCode.INTERNAL)])
def test_a_handler_that_fails_midway_is_heard_by_both_calls(
    play: Callable[..., None], mode: str, code: ErrorCode, *, is_local: bool
) -> None:
    async def body(nodes: Cluster) -> None:
        Plugin(nodes.core)
        stream = await (nodes.core if is_local else nodes.cells[0]).open_stream(Pipe(mode=mode))
        await stream.send(b"first")
        error = await refusal(stream.receive())
        assert error.code is code
        assert "hunter2" not in str(error)
        assert (await refusal(stream.send(b"more"))).code is code

    play(body)


@pytest.mark.parametrize("dies", ["cell", "core"])
def test_a_lost_node_wakes_the_other_end_of_its_stream(play: Callable[..., None], dies: str) -> None:
    async def body(nodes: Cluster) -> None:
        plugin = Plugin(nodes.core)
        stream = await nodes.cells[0].open_stream(Pipe())
        await stream.send(b"x")
        assert await stream.receive() == b"x"
        left, dead = (plugin.streams[0], nodes.cells[0]) if dies == "cell" else (stream, nodes.core)
        waiting = asyncio.create_task(stream.receive()) if dies == "core" else None
        await crash(dead)
        living = nodes.core if dies == "cell" else nodes.cells[0]
        await wait_for(lambda: not living._streams._entries, "the living end is over")
        for work in (waiting, left.receive(), left.send(b"y")):
            if work is not None:
                assert (await refusal(work)).code is ErrorCode.UNAVAILABLE

    play(body)


def test_a_lost_link_wakes_both_ends_of_a_stream_that_was_passed_on(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        first, second = nodes.cells
        Plugin(second)
        stream = await first.open_stream(Pipe(), dst=second.info.id)
        await stream.send(b"x")
        assert await stream.receive() == b"x"
        waiting = asyncio.create_task(stream.receive())
        await crash(second)
        async with asyncio.timeout(3):
            error = await refusal(waiting)
        assert error.code is ErrorCode.UNAVAILABLE
        assert not nodes.core._streams._passing

    play(body, cells=2)


def test_an_upload_delays_no_request(play: Callable[..., None]) -> None:
    async def body(nodes: Cluster) -> None:
        Plugin(nodes.core)
        cell = nodes.cells[0]
        upload = asyncio.create_task(copy(await cell.open_stream(Pipe()), 100))
        answered = 0
        while not upload.done():
            assert (await cell.call_reply(Echo(text="quick"), timeout_seconds=2)).body == "quick"
            answered += 1
        await upload
        assert answered > 5
        assert cell.is_reachable(nodes.core.info.id)
        assert nodes.lost == []

    play(body)


# -- bad networks


def test_doubled_and_late_messages_change_nothing() -> None:
    async def main() -> None:
        async with asyncio.timeout(30), cluster(1, over="memory") as nodes:
            plugin = Plugin(nodes.core)
            nodes.network.faults.double = 0.5
            nodes.network.faults.jitter_seconds = 0.02
            replies = await asyncio.gather(*(nodes.cells[0].call_reply(Change()) for _ in range(100)))
            assert sorted(reply.body for reply in replies) == list(range(1, 101))
            assert plugin.total == 100
            nodes.network.faults.double = nodes.network.faults.jitter_seconds = 0.0

    asyncio.run(main())


def test_lost_messages_end_in_time_and_a_repeat_counts_once() -> None:
    async def main() -> None:
        async with asyncio.timeout(30), cluster(1, over="memory") as nodes:
            plugin = Plugin(nodes.core)
            nodes.network.faults.drop = 0.3

            async def change(number: int) -> int:
                for _ in range(50):
                    try:
                        reply = await nodes.cells[0].call_reply(Change(), request_id=f"c-{number}", timeout_seconds=0.2)
                    except NanoError as error:
                        if error.code is not ErrorCode.UNKNOWN_OUTCOME:
                            raise
                    else:
                        return reply.body
                raise AssertionError(number)

            results = await asyncio.gather(*(change(number) for number in range(30)))
            nodes.network.faults.drop = 0.0
            assert plugin.total == 30
            assert sorted(results) == list(range(1, 31))

    asyncio.run(main())


def test_a_silent_network_is_seen_on_both_sides_and_heals() -> None:
    async def main() -> None:
        settings = MessengerSettings(bind_host="127.0.0.1", is_strict=True, limits=QUICK)
        async with asyncio.timeout(40), cluster(0, over="curve", settings=settings) as nodes:
            Plugin(nodes.core)
            async with TcpProxy("127.0.0.1", nodes.core.message_port or 0) as proxy:
                cell = await nodes.join("far", address=f"127.0.0.1:{proxy.port}")
                await wait_for(lambda: proxy.passed > 12, "beats and heartbeats pass")
                proxy.stall()
                await wait_for(lambda: not nodes.core.is_reachable(cell.info.id), "core", seconds=2.0)
                await wait_for(lambda: not cell.is_reachable(nodes.core.info.id), "cell", seconds=2.0)
                proxy.reset()
                proxy.flow()
                await wait_for(lambda: nodes.core.is_reachable(cell.info.id), "back")
                await wait_for(lambda: cell.is_reachable(nodes.core.info.id), "back")
                assert (await cell.call_reply(Echo(text="again"))).body == "again"

    asyncio.run(main())


def test_beats_stretch_with_the_number_of_nodes() -> None:
    async def main() -> None:
        async with asyncio.timeout(30), cluster(2, over="memory") as nodes:
            nodes.core._presence.membership._stretch_above = 1
            await wait_for(lambda: all(cell._presence._beat_seconds == 2.25 for cell in nodes.cells), "told")
            third = await nodes.join("cell-3")
            await wait_for(lambda: third._presence._beat_seconds == 2.25, "a newcomer is told too")
            nodes.core._presence.membership._stretch_above = 100
            await wait_for(lambda: all(cell._presence._beat_seconds == 0.75 for cell in nodes.cells), "told back")
            assert nodes.lost == []

    asyncio.run(main())
