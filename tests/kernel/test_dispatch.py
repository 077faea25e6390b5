"""Every row of the design's table "from frames to a handler" that happens behind the socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import structlog

from nanocore.clock import Deadline, SystemClock
from nanocore.contracts.authorizer import ANONYMOUS, LOCAL, SYSTEM, Principal, ResourceRef
from nanocore.contracts.handler import CORE_ONLY, Call, Handler, Reply
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import NodeId, new_id
from nanocore.kernel import dispatch
from nanocore.kernel.dispatch import Dispatcher, Incoming
from nanocore.kernel.requests import Deadlines
from nanocore.testing.cluster import TokenAuthorizer, recording_log, wait_for
from nanocore.wire import PUBLIC, Command, Query, Request, encode
from nanocore.wire.envelope import Header, Kind


class Ask(Query[str], frozen=True, kw_only=True):
    op: ClassVar[str] = "test.ask"

    text: str = ""
    number: int = 0


class Change(Command[str], frozen=True, kw_only=True):
    op: ClassVar[str] = "test.change"

    text: str = ""


class UserAsk(Query[str], frozen=True, kw_only=True):
    op: ClassVar[str] = "test.user_ask"
    permission: ClassVar[str | None] = "thing.read"

    id: str = "1"


class Open(Query[str], frozen=True, kw_only=True):
    op: ClassVar[str] = "test.open"
    permission: ClassVar[str | None] = PUBLIC


CORE = NodeInfo(id=NodeId("core"), name="core", roles=[NodeRole.CORE])
CELL = NodeInfo(id=NodeId("cell"), name="cell", roles=[NodeRole.CELL])
FRONTEND = NodeInfo(id=NodeId("frontend"), name="frontend", roles=[NodeRole.FRONTEND])


@dataclass
class Desk:
    """A dispatcher with handlers that count their calls and wait where the test wants it."""

    is_strict: bool = False
    authorizer: TokenAuthorizer | None = field(
        default_factory=lambda: TokenAuthorizer(
            {"anna": frozenset({"thing.read"}), "bert": frozenset({"thing.read:1"}), "carl": frozenset()}
        )
    )
    calls: list[tuple[Request[Any], Call]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    result: Any = "done"

    def __post_init__(self) -> None:
        self.clock = SystemClock()
        self.deadlines = Deadlines(self.clock)
        self.gate.set()
        self.dispatcher = Dispatcher(
            clock=self.clock,
            log=recording_log(self.log),
            deadlines=self.deadlines,
            authorizer=self.authorizer,
            is_strict=self.is_strict,
        )
        users = frozenset({NodeRole.CORE, NodeRole.FRONTEND})
        handlers = (
            Handler(Ask, self._handle, allow=users),
            Handler(Change, self._handle, allow=CORE_ONLY),
            Handler(UserAsk, self._handle, allow=users, resource=lambda m: ResourceRef(kind="thing", id=m.id)),
            Handler(Open, self._handle, allow=users),
        )
        self.dispatcher.register({handler.op: handler for handler in handlers})

    async def _handle(self, message: Any, call: Call) -> Any:
        self.calls.append((message, call))
        await self.gate.wait()
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def submit(
        self,
        message: Request[Any] | bytes,
        *,
        op: str | None = None,
        source: NodeInfo = CORE,
        local: bool = False,
        id: str | None = None,
        actor: str = "",
        seconds: float = 5,
        blobs: tuple[bytes, ...] = (),
    ) -> asyncio.Future[Reply[Any]]:
        name = op or (message.op if isinstance(message, Request) else "")
        header = Header(kind=Kind.REQUEST, id=id or new_id(), op=name, src=source.id, actor=actor, trace="trace-1")
        body: Any = message if local or isinstance(message, bytes) else encode(message)
        deadline = Deadline.after(seconds, self.clock)
        return self.dispatcher.submit(Incoming(header, source, local, body, deadline, blobs))


def play(body: Callable[[Desk], Awaitable[None]], **settings: Any) -> None:
    async def main() -> None:
        desk = Desk(**settings)
        try:
            await body(desk)
        finally:
            await desk.dispatcher.stop()
            desk.deadlines.stop()

    asyncio.run(main())


async def refusal(what: Callable[[], asyncio.Future[Reply[Any]]]) -> NanoError:
    with pytest.raises(NanoError) as caught:
        await what()
    return caught.value


def test_a_request_reaches_its_handler_with_all_it_should_know() -> None:
    async def body(desk: Desk) -> None:
        reply = await desk.submit(Ask(text="hi"), id="r1", blobs=(b"blob",))
        assert reply == Reply("done")
        message, call = desk.calls[0]
        assert message == Ask(text="hi")
        assert (call.id, call.source, call.trace, call.actor) == ("r1", CORE, "trace-1", None)
        assert call.blobs == (b"blob",)
        assert 4 < call.deadline.remaining(desk.clock) <= 5

    play(body)


def test_a_handler_may_answer_with_blobs() -> None:
    async def body(desk: Desk) -> None:
        desk.result = Reply("with", (b"one", b"two"))
        assert await desk.submit(Ask()) == Reply("with", (b"one", b"two"))

    play(body)


# -- deadline


def test_no_time_left_is_refused_before_the_handler_runs() -> None:
    async def body(desk: Desk) -> None:
        error = await refusal(lambda: desk.submit(Ask(), seconds=0))
        assert error.code is ErrorCode.DEADLINE_EXCEEDED
        assert desk.calls == []

    play(body)


@pytest.mark.parametrize(
    ("message", "code"), [(Ask(), ErrorCode.DEADLINE_EXCEEDED), (Change(), ErrorCode.UNKNOWN_OUTCOME)]
)
def test_a_handler_beyond_its_deadline_is_stopped(message: Request[Any], code: ErrorCode) -> None:
    async def body(desk: Desk) -> None:
        desk.gate.clear()
        error = await refusal(lambda: desk.submit(message, seconds=0.1))
        assert error.code is code
        await wait_for(lambda: not desk.dispatcher._tasks, "the handler's task ends")

    play(body)


# -- duplicates


def test_the_same_id_attaches_to_the_running_handler() -> None:
    async def body(desk: Desk) -> None:
        desk.gate.clear()
        first, second = desk.submit(Change(), id="r1"), desk.submit(Change(), id="r1")
        await wait_for(lambda: desk.calls, "running")
        desk.gate.set()
        assert await first == await second == Reply("done")
        assert len(desk.calls) == 1

    play(body)


@pytest.mark.parametrize("outcome", ["done", NanoError(ErrorCode.WRONG_STATE, "it runs")])
def test_a_command_is_done_once_and_its_answer_repeated(outcome: Any) -> None:
    async def body(desk: Desk) -> None:
        desk.result = outcome
        answers = await asyncio.gather(
            *(desk.submit(Change(), id="r1") for _ in range(2)), return_exceptions=True
        ) + await asyncio.gather(desk.submit(Change(), id="r1"), return_exceptions=True)
        assert len({str(answer) for answer in answers}) == 1
        assert len(desk.calls) == 1
        desk.result = "again"
        assert await desk.submit(Change(), id="r2") == Reply("again")

    play(body)


def test_a_query_is_asked_again() -> None:
    async def body(desk: Desk) -> None:
        for _ in range(2):
            await desk.submit(Ask(), id="r1")
        assert len(desk.calls) == 2

    play(body)


def test_another_source_or_credential_never_gets_the_kept_answer() -> None:
    async def body(desk: Desk) -> None:
        await desk.submit(Change(), id="r1")
        other = NodeInfo(id=NodeId("core-2"), name="core-2", roles=[NodeRole.CORE])
        await desk.submit(Change(), id="r1", source=other)
        await desk.submit(Change(), id="r1", actor=SYSTEM)
        assert len(desk.calls) == 3

    play(body)


def test_an_id_used_for_another_message_is_a_conflict() -> None:
    async def body(desk: Desk) -> None:
        await desk.submit(Change(), id="r1")
        error = await refusal(lambda: desk.submit(Ask(), id="r1"))
        assert error.code is ErrorCode.CONFLICT

    play(body)


def test_what_was_refused_before_it_began_may_be_repeated() -> None:
    async def body(desk: Desk) -> None:
        error = await refusal(lambda: desk.submit(b"\xc1", op=Change.op, id="r1"))
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert await desk.submit(Change(), id="r1") == Reply("done")

    play(body)


# -- find, may the peer, decode


def test_an_unknown_op_is_answered_at_once() -> None:
    async def body(desk: Desk) -> None:
        error = await refusal(lambda: desk.submit(b"", op="no.such"))
        assert error.code is ErrorCode.UNIMPLEMENTED
        assert "no.such" in error.message

    play(body)


def test_a_role_that_may_not_is_refused_before_its_body_is_looked_at() -> None:
    async def body(desk: Desk) -> None:
        error = await refusal(lambda: desk.submit(b"\xc1 rubbish", op=Change.op, source=CELL))
        assert error.code is ErrorCode.PERMISSION_DENIED
        assert "node cell (cell) may not send test.change" in error.message
        assert desk.calls == []

    play(body)


def test_a_node_may_always_send_to_itself() -> None:
    async def body(desk: Desk) -> None:
        assert await desk.submit(Change(), source=CELL, local=True) == Reply("done")

    play(body)


def test_a_wrong_field_is_named_by_its_path() -> None:
    async def body(desk: Desk) -> None:
        error = await refusal(lambda: desk.submit(encode({"number": "seven"}), op=Ask.op))
        assert error.code is ErrorCode.INVALID_ARGUMENT
        assert error.details["field"] == "number"

    play(body)


def test_unknown_fields_of_newer_nodes_are_ignored() -> None:
    async def body(desk: Desk) -> None:
        assert await desk.submit(encode({"text": "hi", "shiny": True}), op=Ask.op) == Reply("done")

    play(body)


def test_a_stream_is_not_asked_for_by_a_plain_request() -> None:
    async def body(desk: Desk) -> None:
        async def never(_message: Any, _call: Call) -> None:
            raise AssertionError

        class Pipe(Command[None], frozen=True, kw_only=True):
            op: ClassVar[str] = "test.pipe"

        desk.dispatcher.register({Pipe.op: Handler(Pipe, never, is_stream=True)})
        error = await refusal(lambda: desk.submit(Pipe()))
        assert error.code is ErrorCode.INVALID_ARGUMENT

    play(body)


# -- may the actor


@pytest.mark.parametrize(
    ("actor", "code"),
    [
        ("anna", None),
        ("bert", None),
        ("carl", ErrorCode.PERMISSION_DENIED),
        ("nobody", ErrorCode.UNAUTHENTICATED),
        (ANONYMOUS, ErrorCode.UNAUTHENTICATED),
        ("", ErrorCode.UNAUTHENTICATED),
        (SYSTEM, ErrorCode.UNAUTHENTICATED),
        (LOCAL, ErrorCode.UNAUTHENTICATED),
    ],
)
def test_the_core_asks_the_authorizer_about_actor_and_object(actor: str, code: ErrorCode | None) -> None:
    async def body(desk: Desk) -> None:
        if code is None:
            await desk.submit(UserAsk(), source=FRONTEND, actor=actor)
            assert desk.calls[0][1].actor == Principal(user_id=actor, username=actor)
            assert desk.calls[0][1].credential == actor
            return
        error = await refusal(lambda: desk.submit(UserAsk(), source=FRONTEND, actor=actor))
        assert error.code is code
        assert desk.calls == []

    play(body)


def test_permission_on_one_object_is_none_on_another() -> None:
    async def body(desk: Desk) -> None:
        error = await refusal(lambda: desk.submit(UserAsk(id="2"), source=FRONTEND, actor="bert"))
        assert error.code is ErrorCode.PERMISSION_DENIED

    play(body)


@pytest.mark.parametrize("credential", [LOCAL, SYSTEM])
def test_the_cores_own_credentials_work_on_the_core_itself(credential: str) -> None:
    async def body(desk: Desk) -> None:
        await desk.submit(UserAsk(), local=True, actor=credential)
        assert desk.calls[0][1].actor == Principal(user_id=credential, username=credential)

    play(body)


@pytest.mark.parametrize(("actor", "known"), [("anna", True), ("nobody", False), ("", False), (SYSTEM, False)])
def test_public_requests_work_for_everybody(actor: str, *, known: bool) -> None:
    async def body(desk: Desk) -> None:
        await desk.submit(Open(), source=FRONTEND, actor=actor)
        assert (desk.calls[0][1].actor is not None) == known

    play(body)


@pytest.mark.parametrize("actor", ["anna", ANONYMOUS, LOCAL])
def test_what_nodes_send_is_never_sent_for_a_user(actor: str) -> None:
    async def body(desk: Desk) -> None:
        error = await refusal(lambda: desk.submit(Ask(), actor=actor))
        assert error.code is ErrorCode.PERMISSION_DENIED

    play(body)


def test_a_cell_obeys_cores_and_asks_nobody() -> None:
    async def body(desk: Desk) -> None:
        await desk.submit(UserAsk(), source=CORE, actor="whoever")
        error = await refusal(lambda: desk.submit(UserAsk(), source=FRONTEND, actor="anna"))
        assert error.code is ErrorCode.PERMISSION_DENIED

    play(body, authorizer=None)


# -- run, reply


def test_an_unexpected_exception_becomes_an_incident() -> None:
    async def body(desk: Desk) -> None:
        desk.result = RuntimeError("password hunter2")
        error = await refusal(lambda: desk.submit(Ask()))
        assert error.code is ErrorCode.INTERNAL
        assert "hunter2" not in error.message
        line = next(line for line in desk.log if line["event"] == "handler failed")
        assert line["incident"] == error.details["incident"]
        assert line["trace"] == "trace-1"
        assert "hunter2" in line["exception"]

    play(body)


def test_a_nano_error_is_passed_on_as_it_is() -> None:
    async def body(desk: Desk) -> None:
        desk.result = NanoError(ErrorCode.NO_CAPACITY, "full", reason="test.full", missing=3)
        error = await refusal(lambda: desk.submit(Ask()))
        assert (error.code, error.reason, error.details) == (ErrorCode.NO_CAPACITY, "test.full", {"missing": 3})

    play(body)


def test_a_handler_sees_the_trace_in_its_logs_context() -> None:
    async def body(desk: Desk) -> None:
        seen: list[Any] = []

        async def handle(_message: Any, _call: Call) -> str:
            seen.append(structlog.contextvars.get_contextvars()["trace"])
            return "done"

        class Other(Query[str], frozen=True, kw_only=True):
            op: ClassVar[str] = "test.other"

        desk.dispatcher.register({Other.op: Handler(Other, handle)})
        await desk.submit(Other())
        assert seen == ["trace-1"]
        assert "trace" not in structlog.contextvars.get_contextvars()

    play(body)


@pytest.mark.parametrize(("message", "stops"), [(Ask(), True), (Change(), False)])
def test_cancelling_stops_a_query_and_lets_a_command_end(message: Request[Any], *, stops: bool) -> None:
    async def body(desk: Desk) -> None:
        desk.gate.clear()
        future = desk.submit(message, id="r1")
        await wait_for(lambda: desk.calls, "running")
        desk.dispatcher.cancel(CORE.id, "", "r1")
        if stops:
            error = await refusal(lambda: future)
            assert error.code is ErrorCode.CANCELLED
        else:
            desk.gate.set()
            assert await future == Reply("done")

    play(body)


def test_more_than_a_peer_may_have_running_is_busy_for_that_peer_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "RUNNING_PER_PEER", 3)

    async def body(desk: Desk) -> None:
        desk.gate.clear()
        running = [desk.submit(Ask()) for _ in range(3)]
        error = await refusal(lambda: desk.submit(Ask()))
        assert error.code is ErrorCode.BUSY
        assert error.details["retry_after_seconds"] == 1
        other = desk.submit(Ask(), source=FRONTEND)
        desk.gate.set()
        assert await asyncio.gather(*running, other) == [Reply("done")] * 4
        assert await desk.submit(Ask()) == Reply("done")

    play(body)


def test_stopping_answers_what_still_runs() -> None:
    async def body(desk: Desk) -> None:
        desk.gate.clear()
        future = desk.submit(Change())
        await wait_for(lambda: desk.calls, "running")
        await desk.dispatcher.stop()
        error = await refusal(lambda: future)
        assert error.code is ErrorCode.UNAVAILABLE

    play(body)


def test_strict_mode_sends_local_messages_through_the_codec() -> None:
    async def body(desk: Desk) -> None:
        wrong = Ask(number="seven")  # type: ignore[arg-type]
        error = await refusal(lambda: desk.submit(wrong, local=True))
        assert error.details["field"] == "number"
        desk.result = 7
        error = await refusal(lambda: desk.submit(Ask(), local=True))
        assert error.code is ErrorCode.INTERNAL
        desk.result = "done"
        assert await desk.submit(Ask(), local=True) == Reply("done")

    play(body, is_strict=True)


def test_an_op_has_one_handler() -> None:
    async def body(desk: Desk) -> None:
        with pytest.raises(NanoError, match=r"test\.ask has a handler") as caught:
            desk.dispatcher.register({Ask.op: Handler(Ask, desk._handle)})
        assert caught.value.code is ErrorCode.ALREADY_EXISTS

    play(body)
