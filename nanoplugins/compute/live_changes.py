"""What an update changes at a running guest at once."""

from __future__ import annotations

from nanocore.capabilities.guest_changes import ChangeQos, ResizeGuest
from nanocore.capabilities.hypervisor import Observed
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import NanoError
from nanocore.ids import StepKey
from nanocore.model.instance import InstanceRecord
from nanocore.wire import Command
from nanoplugins.compute.board import Board
from nanoplugins.compute.cell_commands import CellCommands, node_of
from nanoplugins.compute.views import ACTIVE, observe


class LiveChanges:
    """The record counts: what the guest does not take now, or can't be told now, it gets at its next start."""

    def __init__(self, context: PluginContext, board: Board) -> None:
        self._context = context
        self._board = board
        self._cell = CellCommands(context, board.cells)

    async def change(self, before: InstanceRecord, after: InstanceRecord) -> None:
        """Tell the cell of a running guest what has changed; a cell that can't be reached is no error."""
        observed, _ = observe(after, self._board.cells.find(after.node_id))
        if observed not in ACTIVE:
            return
        key = StepKey(f"update/{after.id}")
        if (before.vcpus, before.memory_bytes) != (after.vcpus, after.memory_bytes):
            message = ResizeGuest(step_key=key, id=after.id, vcpus=after.vcpus, memory_bytes=after.memory_bytes)
            await self._tell(after, message)
        if before.qos != after.qos:
            await self._tell(after, ChangeQos(step_key=key, id=after.id, qos=after.qos))

    async def _tell(self, record: InstanceRecord, message: Command[Observed]) -> None:
        try:
            await self._cell.change_guest(node_of(record), message)
        except NanoError as error:
            self._context.log.warning("compute.not_changed_live", instance=record.id, op=message.op, error=str(error))
