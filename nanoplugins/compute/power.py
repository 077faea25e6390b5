"""The workflows ``instance.start``, ``instance.stop``…: one power action, with the wait for its effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanocore.capabilities.hypervisor import Observed, PowerAction
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.operation import Step, StepContext
from nanocore.contracts.plugin import PluginContext
from nanocore.ids import InstanceId, StepKey
from nanocore.model.instance import DesiredState, InstanceAction, InstanceRecord, ObservedState
from nanocore.wire import Struct, structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.cell_commands import CellCommands, node_of
from nanoplugins.compute.config import ComputeConfig
from nanoplugins.compute.records import change_instance, get_instance

DESIRED: dict[InstanceAction, DesiredState] = {
    InstanceAction.START: DesiredState.RUNNING,
    InstanceAction.STOP: DesiredState.STOPPED,
    InstanceAction.POWER_OFF: DesiredState.STOPPED,
    InstanceAction.PAUSE: DesiredState.PAUSED,
    InstanceAction.RESUME: DesiredState.RUNNING,
    InstanceAction.SUSPEND: DesiredState.SUSPENDED,
    InstanceAction.RESTORE: DesiredState.RUNNING,
}
"""What an action makes the record want; reboot and reset change nothing about that."""

POWER_ACTIONS = [
    InstanceAction.START,
    InstanceAction.STOP,
    InstanceAction.POWER_OFF,
    InstanceAction.REBOOT,
    InstanceAction.RESET,
    InstanceAction.PAUSE,
    InstanceAction.RESUME,
    InstanceAction.SUSPEND,
    InstanceAction.RESTORE,
]
OFF = frozenset({ObservedState.STOPPED, ObservedState.MISSING, ObservedState.CRASHED})
ACT_SECONDS = 150.0
MEMORY_SECONDS = 900.0
"""Writing or reading the whole memory of a large guest takes this long on a slow disk."""


def power_kind(action: InstanceAction) -> str:
    """Return the kind of the operation that does ``action``."""
    return f"instance.{action.value}"


class PowerInput(Struct, frozen=True, kw_only=True):
    """What was asked for, and what was wanted before."""

    id: InstanceId
    action: InstanceAction
    grace_seconds: float
    previous: DesiredState
    name: str | None = None


class PowerWorkflow:
    """Note the wish, then do it; a start makes port and guest as the record wants them first."""

    input = PowerInput

    def __init__(self, context: PluginContext, board: Board, action: InstanceAction) -> None:
        self.kind = power_kind(action)
        self._context = context
        self._board = board
        self._cell = CellCommands(context, board.cells)

    def resources(self, input: PowerInput) -> list[ResourceRef]:
        """Return the instance."""
        return [ResourceRef(kind="instance", id=input.id, name=input.name)]

    def result(self, input: PowerInput, outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return what was seen afterwards."""
        return {"instance_id": input.id, "action": input.action.value, "observed": outcomes[input.action.value]}

    def steps(self, input: PowerInput) -> Sequence[Step]:
        """Return the steps in order."""

        async def desire(_step: StepContext) -> None:
            wanted = DESIRED.get(input.action)
            if wanted is not None:
                await self._want(input.id, wanted)

        async def forget_desire(_step: StepContext) -> None:
            await self._want(input.id, input.previous)

        async def prepare(step: StepContext) -> None:
            record = get_instance(self._board.store, input.id)
            for nic in record.nics:
                await self._cell.ensure_port(record, nic, step.key)
            await self._cell.define(record, step.key)

        async def act(step: StepContext) -> str:
            record = get_instance(self._board.store, input.id)
            if input.action is InstanceAction.STOP:
                seen = await self._stop(record, input.grace_seconds, step)
            else:
                seen = await self._change(record, PowerAction(input.action.value), step.key)
            return seen.state.value

        steps = [Step("desire", desire, forget_desire)]
        if input.action is InstanceAction.START:
            steps.append(Step("prepare", prepare, timeout_seconds=120))
        is_long = input.action in (InstanceAction.SUSPEND, InstanceAction.RESTORE)
        seconds = MEMORY_SECONDS if is_long else ACT_SECONDS + input.grace_seconds
        return [*steps, Step(input.action.value, act, timeout_seconds=seconds)]

    async def _want(self, id: InstanceId, desired: DesiredState) -> None:
        await change_instance(self._board.store, id, lambda record: structs.replace(record, desired=desired))
        self._board.refresh_instance(id)

    async def _change(self, record: InstanceRecord, action: PowerAction, key: StepKey) -> Observed:
        seen = await self._cell.change_power(record, action, key)
        self._board.cells.put_guest(node_of(record), seen)
        return seen

    async def _stop(self, record: InstanceRecord, grace_seconds: float, step: StepContext) -> Observed:
        """Ask, ask again every few seconds, and cut the power when the guest has had its time."""
        clock = self._context.clock
        ends = clock.monotonic() + grace_seconds
        pause = self._context.config(ComputeConfig).shut_down_repeat_seconds
        while (left := ends - clock.monotonic()) > 0:
            step.progress(int(grace_seconds - left), int(grace_seconds), "seconds")
            seen = await self._change(record, PowerAction.SHUT_DOWN, step.key)
            if seen.state in OFF:
                return seen
            await self._wait_until_off(record, min(pause, left))
            cell = self._board.cells.find(record.node_id)
            guest = None if cell is None else cell.guests.get(record.id)
            if guest is not None and guest.state in OFF:
                return guest
        return await self._change(record, PowerAction.POWER_OFF, step.key)

    async def _wait_until_off(self, record: InstanceRecord, seconds: float) -> None:
        """Wait for the cell to say that the guest is off, at most ``seconds``."""
        clock = self._context.clock
        ends = clock.monotonic() + seconds
        while (left := ends - clock.monotonic()) > 0:
            cell = self._board.cells.find(record.node_id)
            guest = None if cell is None else cell.guests.get(record.id)
            if guest is not None and guest.state in OFF:
                return
            await self._board.cells.wait_for_change(record.id, left)
