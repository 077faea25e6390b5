"""Connects a user's console stream with the cell on which the instance runs."""

from __future__ import annotations

import asyncio

from nanocore.capabilities.compute import AttachConsole
from nanocore.capabilities.hypervisor import OpenConsole
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import Call, Handler
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.stream import Stream
from nanocore.errors import ErrorCode, NanoError
from nanocore.model.instance import InstanceAction
from nanoplugins.compute.board import Board
from nanoplugins.compute.cell_commands import node_of
from nanoplugins.compute.records import get_instance
from nanoplugins.compute.views import observe, refuse


class Consoles:
    """Handler of ``compute.attach_console``."""

    def __init__(self, context: PluginContext, board: Board) -> None:
        self._context = context
        self._board = board

    def handlers(self) -> list[Handler]:
        """Return the stream's handler."""
        return [
            Handler(
                AttachConsole,
                self._attach,
                resource=lambda message: ResourceRef(kind="instance", id=message.id),
                is_stream=True,
            )
        ]

    async def _attach(self, message: AttachConsole, call: Call) -> None:
        user = call.stream
        if user is None:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"{message.op} is sent as a stream")
        record = get_instance(self._board.store, message.id)
        observed, reason = observe(record, self._board.cells.find(record.node_id))
        why_not = refuse(InstanceAction.CONSOLE, record, observed, reason, None)
        if why_not is not None:
            raise NanoError(ErrorCode.WRONG_STATE, f"instance {record.name} has no console now: {why_not}")
        guest = await self._context.open_stream(OpenConsole(id=message.id, kind=message.kind), dst=node_of(record))
        await _connect(user, guest)


async def _connect(left: Stream, right: Stream) -> None:
    """Carry chunks both ways until either side ends or fails; then both are closed."""
    ways = [asyncio.create_task(_carry(left, right)), asyncio.create_task(_carry(right, left))]
    error: BaseException | None = None
    try:
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        error = next((way.exception() for way in done if way.exception() is not None), None)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        told = error if isinstance(error, Exception) else None
        await left.close(told)
        await right.close(told)


async def _carry(source: Stream, target: Stream) -> None:
    while (chunk := await source.receive()) is not None:
        await target.send(chunk)
