"""What the cells told: who answers, what runs there, how much is used. In memory; built anew from inventories."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from nanocore.capabilities.guest import GuestReported
from nanocore.capabilities.hypervisor import CellReport, Inventory, Observed
from nanocore.clock import Clock
from nanocore.contracts.node import NodeInfo, NodeRole, Peer
from nanocore.ids import InstanceId, NodeId
from nanocore.model.instance import ObservedState
from nanocore.wire import structs


@dataclass
class Cell:
    """One node, seen from the core. ``guests`` counts only once ``has_inventory`` is set."""

    info: NodeInfo
    is_reachable: bool = False
    since: datetime | None = None
    reason: str | None = None
    has_inventory: bool = False
    has_reported: bool = False
    """Whether ``report`` is this cell's word, not what it said before the core was restarted."""
    report: CellReport = field(default_factory=CellReport)
    guests: dict[InstanceId, Observed] = field(default_factory=dict)
    told: dict[InstanceId, GuestReported] = field(default_factory=dict)
    """What running guests say of themselves."""
    findings: dict[str, str] = field(default_factory=dict)
    """What reconciliation could not settle: id of the thing to a sentence about it."""

    @property
    def is_cell(self) -> bool:
        """Whether it runs instances."""
        return NodeRole.CELL in self.info.roles


class Cells:
    """All registered nodes. ``on_guest`` and ``on_node`` are told of every change.

    A cell speaks for the instances only that ``lives_at`` says are there; what it says of others is dropped, as
    invented ones would cost memory for ever.
    """

    def __init__(
        self,
        clock: Clock,
        on_guest: Callable[[NodeId, InstanceId], None],
        on_node: Callable[[NodeId], None],
        lives_at: Callable[[NodeId, InstanceId], bool],
    ) -> None:
        self._clock = clock
        self._lives_at = lives_at
        self._on_guest = on_guest
        self._on_node = on_node
        self._cells: dict[NodeId, Cell] = {}
        self._waiters: dict[InstanceId, set[asyncio.Event]] = {}

    def find(self, id: NodeId | None) -> Cell | None:
        """Return a node or ``None``."""
        return None if id is None else self._cells.get(id)

    def all(self) -> list[Cell]:
        """Return every registered node."""
        return list(self._cells.values())

    def put_peer(self, peer: Peer) -> None:
        """Take over what the kernel's membership says of a node."""
        if peer.is_revoked:
            self.remove(peer.info.id)
            return
        cell = self._cells.get(peer.info.id)
        if cell is None:
            cell = self._cells[peer.info.id] = Cell(peer.info)
        cell.info = peer.info
        self._set_reachable(cell, is_reachable=peer.is_reachable, reason=None)

    def put_joined(self, info: NodeInfo) -> None:
        """Note that a node answers."""
        self.put_peer(Peer(info=info, is_reachable=True))

    def put_lost(self, info: NodeInfo, reason: str) -> None:
        """Note that a node does not answer; its guests are unknown from now on. A revoked one is not shown again."""
        cell = self._cells.get(info.id)
        if cell is None:
            return
        cell.has_inventory = False
        self._set_reachable(cell, is_reachable=False, reason=reason)

    def remove(self, id: NodeId) -> None:
        """Forget a node."""
        cell = self._cells.pop(id, None)
        if cell is not None:
            self._tell(id, cell)

    def put_report(self, id: NodeId, report: CellReport) -> CellReport | None:
        """Take a cell's regular report; return what of it is the cell's to say, ``None`` for an unknown cell's."""
        cell = self._cells.get(id)
        if cell is None:
            return None
        report = self._own(id, report)
        told = set(cell.report.usage) | set(report.usage)
        cell.report, cell.has_reported = report, True
        self._on_node(id)
        for instance_id in told:
            self._on_guest(id, InstanceId(instance_id))
        return report

    def put_size(self, id: NodeId, *, cores: int, memory_bytes: int, disk_bytes: int) -> None:
        """Take what a cell said it has before the core was restarted, until it reports itself."""
        cell = self._cells.get(id)
        if cell is not None and not cell.has_reported:
            cell.report = CellReport(cores=cores, memory_bytes=memory_bytes, disk_bytes=disk_bytes)
            self._on_node(id)

    def put_inventory(self, id: NodeId, inventory: Inventory) -> None:
        """Take everything that is on a cell."""
        cell = self._cells.get(id)
        if cell is None:
            return
        before = set(cell.guests)
        cell.guests = {
            guest.id: guest for guest in inventory.guests if guest.is_managed and self._lives_at(id, guest.id)
        }
        cell.has_inventory = True
        cell.report, cell.has_reported = self._own(id, inventory.report), True
        self._tell(id, cell, before)

    def put_guest(self, id: NodeId, guest: Observed) -> None:
        """Take one guest's new state."""
        cell = self._cells.get(id)
        if cell is None or not self._lives_at(id, guest.id):
            return
        if guest.state is ObservedState.MISSING:
            cell.guests.pop(guest.id, None)
        else:
            cell.guests[guest.id] = guest
        self._on_guest(id, guest.id)
        self._wake(guest.id)

    def put_told(self, id: NodeId, told: GuestReported) -> None:
        """Take what a guest says of itself, or that it says nothing any more."""
        cell = self._cells.get(id)
        if cell is None:
            return
        if told.ready is None and told.facts is None:
            cell.told.pop(told.id, None)
        else:
            cell.told[told.id] = told
        self._on_guest(id, told.id)

    async def wait_for_change(self, id: InstanceId, timeout_seconds: float) -> None:
        """Return at the next report about a guest, or after ``timeout_seconds``."""
        event = asyncio.Event()
        self._waiters.setdefault(id, set()).add(event)
        try:
            async with asyncio.timeout(timeout_seconds):
                await event.wait()
        except TimeoutError:
            return
        finally:
            waiting = self._waiters[id]
            waiting.discard(event)
            if not waiting:
                del self._waiters[id]

    def _own(self, id: NodeId, report: CellReport) -> CellReport:
        usage = {key: rates for key, rates in report.usage.items() if self._lives_at(id, InstanceId(key))}
        return report if len(usage) == len(report.usage) else structs.replace(report, usage=usage)

    def _set_reachable(self, cell: Cell, *, is_reachable: bool, reason: str | None) -> None:
        if cell.since is None or cell.is_reachable != is_reachable:
            cell.since = self._clock.now()
        cell.is_reachable = is_reachable
        cell.reason = reason
        self._tell(cell.info.id, cell)

    def _tell(self, id: NodeId, cell: Cell, also: set[InstanceId] | None = None) -> None:
        self._on_node(id)
        for instance_id in set(cell.guests) | (also or set()):
            self._on_guest(id, instance_id)
            self._wake(instance_id)

    def _wake(self, id: InstanceId) -> None:
        for event in self._waiters.get(id, ()):
            event.set()
