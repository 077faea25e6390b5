"""Several nodes: joining, calls and loss; the same over memory and over CURVE on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

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
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import NodeId, new_id
from nanocore.kernel.enrolment import join
from nanocore.kernel.trust import Identity
from nanocore.testing.cluster import QUICK, Cluster, TokenAuthorizer, recording_log, wait_for
from nanocore.wire import Event
from tests.cluster.cast import ANY, Change, Echo, Plugin, UserThing, crash, refusal

pytestmark = pytest.mark.cluster

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
        assert invite.command == f"./quickstart --role cell --join {invite.token}"
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
