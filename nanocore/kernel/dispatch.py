"""From a request to its handler's reply: every check of the design's table, for local and remote requests alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import structlog

from nanocore.clock import Clock, Deadline
from nanocore.contracts.authorizer import ANONYMOUS, LOCAL, SYSTEM, Authorizer, Principal
from nanocore.contracts.handler import Call, Handler, Reply
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.contracts.stream import Stream
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import new_id
from nanocore.kernel.requests import Deadlines, KeptReplies, KeptReply, RequestKey
from nanocore.wire import PUBLIC, Query, Request, decode, encode, result_type
from nanocore.wire.envelope import Header

RUNNING_PER_PEER = 2_000
RUNNING_LOCAL = 50_000


class HandlerStream(Stream, Protocol):
    """A stream as dispatch hands it to a handler: its first use says that the handler took it."""

    def on_use(self, callback: Any) -> None:  # noqa: ANN401  a function without arguments; its result is ignored
        """Call ``callback`` at the first send, receive or end."""
        ...


@dataclass(slots=True)
class Incoming:
    """A request as it reached this node; ``body`` is a message only if it never left this node."""

    header: Header
    source: NodeInfo
    is_local: bool
    body: bytes | memoryview | Request[Any]
    deadline: Deadline
    blobs: tuple[bytes | memoryview, ...] = ()
    stream: HandlerStream | None = None


Outcome = Reply[Any] | NanoError
Answer = Callable[[Outcome], None]
"""Takes what became of a request, once."""


class _Run:
    """One handler at work; everybody in ``answers`` is told its outcome, whatever happens."""

    def __init__(self, dispatcher: Dispatcher, key: RequestKey, handler: Handler, answer: Answer) -> None:
        self._dispatcher = dispatcher
        self.key = key
        self.handler = handler
        self.answers = [answer]
        self.task: asyncio.Task[None] | None = None
        self.has_begun = False

    @property
    def is_query(self) -> bool:
        return issubclass(self.handler.message, Query)

    def expire(self) -> None:
        """Answer that time is up, and stop the work."""
        code = ErrorCode.DEADLINE_EXCEEDED
        text = f"{self.handler.op} took longer than it was given"
        if self.has_begun and not self.is_query:
            code, text = ErrorCode.UNKNOWN_OUTCOME, f"{text}; look at what it changed before repeating it"
        self._dispatcher.settle(self, NanoError(code, text))
        if self.task is not None:
            self.task.cancel()


class Dispatcher:
    """The handlers of one node.

    ``authorizer`` is set on a core only; other nodes obey cores and ask nobody. ``is_strict`` round-trips local
    messages and results through the codec, so that tests see what a second node would see.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        log: structlog.stdlib.BoundLogger,
        deadlines: Deadlines,
        authorizer: Authorizer | None,
        is_strict: bool = False,
    ) -> None:
        self._clock = clock
        self._log = log
        self._deadlines = deadlines
        self.authorizer = authorizer
        self._is_strict = is_strict
        self._handlers: dict[str, Handler] = {}
        self._running: dict[RequestKey, _Run] = {}
        self._count: dict[str, int] = {}
        self._kept = KeptReplies()
        self._tasks: set[asyncio.Task[None]] = set()

    def register(self, handlers: Mapping[str, Handler]) -> None:
        """Add handlers; raise ``already_exists`` for an op that has one."""
        for op, handler in handlers.items():
            if op in self._handlers:
                raise NanoError(ErrorCode.ALREADY_EXISTS, f"{op} has a handler already")
            self._handlers[op] = handler

    def handles(self, op: str) -> bool:
        """Return whether this node answers ``op``."""
        return op in self._handlers

    async def stop(self) -> None:
        """Cancel what runs; its callers are told that this node stopped."""
        for run in list(self._running.values()):
            self.settle(run, NanoError(ErrorCode.UNAVAILABLE, "the node is stopping", reason="dispatch.stopping"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- the checks that need no body

    def submit(self, incoming: Incoming) -> asyncio.Future[Reply[Any]]:
        """As ``answer``, with a future for the outcome."""
        future: asyncio.Future[Reply[Any]] = asyncio.get_running_loop().create_future()
        self.answer(incoming, partial(_set, future))
        return future

    def answer(self, incoming: Incoming, answer: Answer) -> None:
        """Start the handler, attach to the one running for the same id, or repeat its reply.

        ``answer`` is called with the outcome, before this returns if it is known. Raises what refuses the request
        before its body is looked at.
        """
        header = incoming.header
        if incoming.deadline.remaining(self._clock) <= 0:
            raise NanoError(ErrorCode.DEADLINE_EXCEEDED, f"no time left for {header.op}")
        key = (incoming.source.id, header.actor, header.id)
        if self._is_repeated(key, header.op, answer):
            return
        handler = self._handlers.get(header.op)
        if handler is None:
            raise NanoError(ErrorCode.UNIMPLEMENTED, f"no plugin of this node answers {header.op[:100]!r}")
        if not incoming.is_local and handler.allow.isdisjoint(incoming.source.roles):
            roles = ", ".join(incoming.source.roles) or "unknown"
            text = f"node {incoming.source.name} ({roles}) may not send {header.op}"
            raise NanoError(ErrorCode.PERMISSION_DENIED, text, reason="dispatch.node_role")
        if handler.is_stream != (incoming.stream is not None):
            how = "is opened as a stream" if handler.is_stream else "is no stream"
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"{header.op} {how}")
        self._admit(incoming)
        self._start(_Run(self, key, handler, answer), incoming)

    def _is_repeated(self, key: RequestKey, op: str, answer: Answer) -> bool:
        run = self._running.get(key)
        kept = self._kept.find(key) if run is None else None
        known = run.handler.op if run is not None else kept.op if kept is not None else None
        if known is None:
            return False
        if known != op:
            raise NanoError(ErrorCode.CONFLICT, f"request id {key[2]} was used for another message; use a new one")
        if run is not None:
            run.answers.append(answer)
        elif kept is not None:
            answer(kept.outcome)
        return True

    def _admit(self, incoming: Incoming) -> None:
        limit = RUNNING_LOCAL if incoming.is_local else RUNNING_PER_PEER
        if self._count.get(incoming.source.id, 0) >= limit:
            text = f"{limit} requests of node {incoming.source.name} are running here; wait for replies"
            raise NanoError(ErrorCode.BUSY, text, reason="dispatch.too_many", retry_after_seconds=1)

    def _start(self, run: _Run, incoming: Incoming) -> None:
        self._running[run.key] = run
        self._count[run.key[0]] = self._count.get(run.key[0], 0) + 1
        self._deadlines.add(run, incoming.deadline.at)
        run.task = asyncio.create_task(self._work(run, incoming), name=f"handler:{run.handler.op}")
        self._tasks.add(run.task)
        run.task.add_done_callback(self._tasks.discard)

    def cancel(self, source: str, actor: str, id: str) -> None:
        """Stop a query that nobody waits for any more; a command that began is carried on."""
        run = self._running.get((source, actor, id))
        if run is not None and run.is_query and run.task is not None:
            run.task.cancel()

    def settle(self, run: _Run, outcome: Outcome) -> None:
        """End ``run`` with ``outcome``, once; keep it if it may not happen twice."""
        if self._running.get(run.key) is not run:
            return
        del self._running[run.key]
        self._deadlines.discard(run)
        self._count[run.key[0]] -= 1
        if not self._count[run.key[0]]:
            del self._count[run.key[0]]
        if run.has_begun and not run.is_query and not run.handler.is_stream:
            self._kept.keep(run.key, KeptReply(run.handler.op, outcome))
        for answer in run.answers:
            answer(outcome)

    # -- the handler's own task

    async def _work(self, run: _Run, incoming: Incoming) -> None:
        structlog.contextvars.bind_contextvars(trace=incoming.header.trace)
        stream = incoming.stream
        error: NanoError
        try:
            if stream is not None:
                stream.on_use(lambda: self.settle(run, Reply(None)))
            self.settle(run, await self._answer(run, incoming))
        except asyncio.CancelledError:
            error = NanoError(ErrorCode.CANCELLED, f"{run.handler.op} was stopped before it ended")
        except NanoError as raised:
            error = raised
        except Exception:  # noqa: BLE001  whatever a plugin raises becomes a reply, and the node goes on
            incident = new_id()
            self._log.exception("handler failed", op=run.handler.op, incident=incident, source=incoming.source.name)
            text = f"{run.handler.op} failed inside; the log of this node has the reason under {incident}"
            error = NanoError(ErrorCode.INTERNAL, text, incident=incident)
        else:
            return
        self.settle(run, error)
        if stream is not None:
            await stream.close(error)

    async def _answer(self, run: _Run, incoming: Incoming) -> Reply[Any]:
        handler = run.handler
        message = self._read(handler, incoming.body)
        actor = await self._actor(handler, message, incoming)
        call = Call(
            id=incoming.header.id,
            source=incoming.source,
            deadline=incoming.deadline,
            trace=incoming.header.trace,
            actor=actor,
            blobs=incoming.blobs,
            stream=incoming.stream,
            credential=incoming.header.actor,
        )
        run.has_begun = True
        result = await handler.call(message, call)
        reply = result if isinstance(result, Reply) else Reply(result)
        return self._round_trip(handler, reply) if self._is_strict and not handler.is_stream else reply

    @staticmethod
    def _round_trip(handler: Handler, reply: Reply[Any]) -> Reply[Any]:
        try:
            return Reply(decode(encode(reply.body), result_type(handler.message)), reply.blobs)
        except NanoError as error:
            message = f"{handler.op} gave a result of another type than it declares: {error.message}"
            raise TypeError(message) from error

    def _read(self, handler: Handler, body: bytes | memoryview | Request[Any]) -> Request[Any]:
        if isinstance(body, bytes | memoryview):
            return decode(body, handler.message)
        return decode(encode(body), handler.message) if self._is_strict else body

    async def _actor(self, handler: Handler, message: Request[Any], incoming: Incoming) -> Principal | None:
        """Return on whose behalf the message is sent, if it has a permission; raise if they may not."""
        permission, credential = handler.message.permission, incoming.header.actor
        if permission is None:
            if credential not in {"", SYSTEM}:
                text = f"{handler.op} is sent by nodes, never for a user"
                raise NanoError(ErrorCode.PERMISSION_DENIED, text, reason="dispatch.nodes_only")
            return None
        if self.authorizer is None:
            if permission != PUBLIC and NodeRole.CORE not in incoming.source.roles:
                text = f"only a core decides about {handler.op}; send it there"
                raise NanoError(ErrorCode.PERMISSION_DENIED, text, reason="dispatch.no_authorizer")
            return None
        if permission == PUBLIC:
            try:
                return await self._resolve(self.authorizer, credential, incoming)
            except NanoError:
                return None
        principal = await self._resolve(self.authorizer, credential, incoming)
        resource = handler.resource(message) if handler.resource is not None else None
        await self.authorizer.authorize(principal, permission, resource)
        return principal

    async def _resolve(self, authorizer: Authorizer, credential: str, incoming: Incoming) -> Principal | None:
        if credential in {LOCAL, SYSTEM} and not incoming.is_local:
            text = (
                f"credential {credential!r} is honoured on the core itself only, not from node {incoming.source.name}"
            )
            raise NanoError(ErrorCode.UNAUTHENTICATED, text, reason="dispatch.local_credential")
        return await authorizer.resolve(credential or ANONYMOUS, is_local=incoming.is_local)


def _set(future: asyncio.Future[Reply[Any]], outcome: Outcome) -> None:
    if future.done():
        return
    if isinstance(outcome, NanoError):
        future.set_exception(outcome)
        # Read here, as nobody may be waiting any more.
        future.exception()
    else:
        future.set_result(outcome)
