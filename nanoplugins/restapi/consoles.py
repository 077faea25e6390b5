"""Consoles: a ticket by POST, then a WebSocket bridged to the instance's screen or serial port."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated

from tornado import websocket

from nanocore.capabilities.compute import AttachConsole, GetInstance
from nanocore.capabilities.hypervisor import ConsoleKind
from nanocore.contracts.authorizer import ANONYMOUS
from nanocore.contracts.stream import MAX_CHUNK_BYTES, Stream
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, parse_id
from nanocore.model.instance import Instance, InstanceAction
from nanocore.wire import Meta, Struct, decode_json, encode_json, structs
from nanoplugins.restapi.endpoints import API, parse_body
from nanoplugins.restapi.handling import BodyHandler
from nanoplugins.restapi.identities import is_permitted
from nanoplugins.restapi.problems import Answer
from nanoplugins.restapi.schemas import body_schema, raise_errors, validate_into
from nanoplugins.restapi.sockets import SocketHandler
from nanoplugins.restapi.tickets import LIFE_SECONDS

PERMISSION = AttachConsole.permission or ""


class ConsoleRequest(Struct, frozen=True, kw_only=True):
    """Body of ``POST /instances/{id}/console``."""

    kind: Annotated[ConsoleKind, Meta(description="`screen` (RFB, for noVNC) or `serial` (bytes)")] = ConsoleKind.SCREEN


class ConsoleTicket(Struct, frozen=True, kw_only=True):
    """How to open the console: connect a WebSocket to ``ws_path`` in time, with the same login."""

    ticket: Annotated[str, Meta(description="Single-use secret, already part of `ws_path`")]
    ws_path: Annotated[str, Meta(description="Path and query to connect a WebSocket to")]
    expires_at: Annotated[str, Meta(description="When the ticket ends if it is not used")]


class TicketHandler(BodyHandler):
    """``POST /api/v2/instances/{id}/console``."""

    async def post(self, id: str) -> None:
        """Make a ticket if the instance is there, may be seen, and has a console now."""
        credential = self.credential()
        await self.check_cross_site(credential)
        if credential == ANONYMOUS:
            raise NanoError(ErrorCode.UNAUTHENTICATED, "log in first")
        wanted = _parse(self.take_body())
        info = await self.api.identities.info(credential)
        if not is_permitted(info.user.permissions, PERMISSION):
            raise NanoError(ErrorCode.PERMISSION_DENIED, f"a console needs the permission {PERMISSION}")
        instance_id = InstanceId(parse_id(id))
        reply = await self.api.core.call_reply(GetInstance(id=instance_id), credential=credential)
        _check_state(decode_json(bytes(reply.blobs[0]), Instance))
        secret = self.api.tickets.issue(credential, instance_id, wanted.kind)
        ticket = ConsoleTicket(
            ticket=secret,
            ws_path=f"{API}/consoles/{instance_id}/{wanted.kind.value}?ticket={secret}",
            expires_at=(self.api.context.clock.now() + timedelta(seconds=LIFE_SECONDS)).isoformat(),
        )
        await self.send(Answer(201, encode_json(ticket)))


class ConsoleHandler(SocketHandler):
    """``/api/v2/consoles/{id}/{kind}?ticket=…``: binary frames both ways."""

    _stream: Stream | None = None
    _pump_task: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        """Redeem the ticket and connect to the console, before the handshake."""
        await super().prepare()
        ticket = self.api.tickets.redeem(
            self.get_query_argument("ticket", ""),
            self.socket_credential,
            self.path_kwargs.get("id", ""),
            self.path_kwargs.get("kind", ""),
        )
        self._stream = await self.api.core.open_stream(
            AttachConsole(id=ticket.instance_id, kind=ticket.kind), credential=ticket.credential
        )

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """Take ``binary``, which older noVNC clients offer."""
        return "binary" if "binary" in subprotocols else None

    def open(self, *args: str, **kwargs: str) -> None:
        """Begin to carry bytes."""
        del args, kwargs
        self.set_nodelay(True)
        if self._stream is not None and self.begin():
            self._pump_task = asyncio.create_task(self._pump(self._stream))

    async def on_message(self, message: str | bytes) -> None:
        """Pass on what the user typed; Tornado reads no further frame until this is done."""
        data = memoryview(message.encode() if isinstance(message, str) else message)
        if self._stream is None:
            return
        try:
            for start in range(0, len(data), MAX_CHUNK_BYTES):
                await self._stream.send(data[start : start + MAX_CHUNK_BYTES])
        except NanoError as error:
            self.fail(error)

    def cut(self, reason: str) -> None:
        """End the console at once: the stream too, whatever the client does with the close frame."""
        super().cut(reason)
        self._let_go()

    def on_close(self) -> None:
        """Let go of the console."""
        super().on_close()
        self._let_go()

    def on_finish(self) -> None:
        """Let go after a handshake that failed; Tornado calls this after one that worked as well."""
        if self.get_status() != HTTPStatus.SWITCHING_PROTOCOLS:
            self._let_go()

    def _let_go(self) -> None:
        stream, self._stream = self._stream, None
        if self._pump_task is not None:
            self._pump_task.cancel()
        if stream is not None:
            self.api.context.spawn(_close(stream), name="close console")

    async def _pump(self, stream: Stream) -> None:
        try:
            while (chunk := await stream.receive()) is not None:
                await self.write_message(chunk, binary=True)
            self.close(1000, "the console ended")
        except NanoError as error:
            self.fail(error)
        except websocket.WebSocketClosedError:
            return


async def _close(stream: Stream) -> None:
    await stream.close()


def _parse(body: bytes) -> ConsoleRequest:
    raw = parse_body(body)
    errors: dict[str, list[str]] = {}
    validate_into(body_schema(structs.fields(ConsoleRequest)), raw, errors)
    raise_errors(errors)
    return decode_json(body or b"{}", ConsoleRequest)


def _check_state(instance: Instance) -> None:
    for action in instance.allowed_actions:
        if action.name is InstanceAction.CONSOLE and not action.allowed:
            why = action.why_not or f"it is {instance.state.observed.value}"
            raise NanoError(ErrorCode.WRONG_STATE, f"{instance.name} has no console now: {why}")
