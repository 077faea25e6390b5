"""The simulated hypervisor: the promises of a real one, no processes, thousands of guests on a laptop."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nanocore.capabilities.hypervisor import (
    NO_AGENT,
    Console,
    ConsoleKind,
    CopyProgress,
    CopyState,
    DiskCopy,
    DiskSpec,
    GuestSpec,
    HostUsage,
    HypervisorInfo,
    NicSpec,
    Observed,
)
from nanocore.capabilities.storage import StorageDriver
from nanocore.clock import Clock
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, SnapshotId, VolumeId
from nanocore.model.instance import MIB, InstanceUsage, ObservedState, Qos
from nanocore.wire import structs
from nanoplugins.sim import agent, hardware
from nanoplugins.sim.config import SimConfig
from nanoplugins.sim.console import SimConsole, SimScreen, SimSerial
from nanoplugins.sim.guests import GuestFile, SimGuest
from nanoplugins.sim.hardware import check_disk, wrong_state

NAME = "sim"
NOT_MANAGED = "hypervisor.not_managed"

RUNNING, PAUSED, STOPPED = ObservedState.RUNNING, ObservedState.PAUSED, ObservedState.STOPPED
CRASHED, SUSPENDED = ObservedState.CRASHED, ObservedState.SUSPENDED
_POWERED = frozenset({RUNNING, PAUSED, ObservedState.STOPPING})


@dataclass(slots=True)
class Faults:
    """What tests do to a simulated hypervisor; keys are the driver's method names.

    ``errors`` are raised once each, in order. ``delays`` (seconds) come before the call acts. A call for a guest in
    ``stuck`` never returns. Guests in ``deaf`` ignore being asked to shut down.
    """

    errors: dict[str, list[NanoError]] = field(default_factory=dict)
    delays: dict[str, float] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)
    deaf: set[str] = field(default_factory=set)
    is_unreachable: bool = False

    async def suffer(self, call: str, id: str | None = None) -> None:
        """Do to this call what was set for it."""
        if delay := self.delays.get(call):
            await asyncio.sleep(delay)
        if id in self.stuck:
            await asyncio.Event().wait()
        if self.is_unreachable:
            raise NanoError(ErrorCode.UNAVAILABLE, "the simulated hypervisor is set to be out of reach")
        if waiting := self.errors.get(call):
            raise waiting.pop(0)


class SimHypervisor:
    """Implements ``HypervisorDriver``; ``guest_file`` keeps what runs through a killed node.

    What a running guest does to its volumes is told to ``storage``, the simulated one.
    """

    name = NAME

    def __init__(
        self, config: SimConfig, *, clock: Clock, guest_file: Path | None = None, storage: StorageDriver | None = None
    ) -> None:
        self.faults = Faults()
        self._storage = storage
        self._config = config
        self._clock = clock
        self._file = GuestFile(guest_file)
        self._guests: dict[InstanceId, SimGuest] = {}
        self._consoles: dict[InstanceId, list[SimConsole]] = {}
        self._timers: dict[InstanceId, asyncio.TimerHandle] = {}
        self._on_change: Callable[[Observed], None] = lambda _observed: None

    @property
    def info(self) -> HypervisorInfo:
        """Everything can be done, nothing is real."""
        return HypervisorInfo(name=NAME, accelerator="sim", accelerator_reason="guests are simulated")

    async def open(self, on_change: Callable[[Observed], None]) -> None:
        """Take up what ran before; ``unavailable`` when its file can't be read."""
        await self.faults.suffer("open")
        self._on_change = on_change
        # Without a file, the guests of this object are those that run on while it is closed.
        self._guests = self._file.load() or self._guests
        for guest in self._guests.values():
            on_change(guest.observed())

    async def close(self) -> None:
        """Let go; guests "run on" in the file."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for id in list(self._consoles):
            self._end_consoles(id)
        self._on_change = lambda _observed: None
        self._file.close()

    # -- guests

    async def define(self, spec: GuestSpec) -> None:
        """Note or change it."""
        await self.faults.suffer("define", spec.id)
        for disk in spec.disks:
            check_disk(disk)
        guest = self._guests.get(spec.id)
        if guest is None:
            self._set(SimGuest(spec=spec, live=spec))
            return
        _check_managed(guest)
        self._set(structs.replace(guest, spec=spec, live=spec if guest.state in {STOPPED, CRASHED} else guest.live))

    async def delete(self, id: InstanceId) -> None:
        """Forget it."""
        await self.faults.suffer("delete", id)
        guest = self._guests.get(id)
        if guest is None:
            return
        _check_managed(guest)
        if guest.state in _POWERED:
            self._stop(id)
        self._forget_timer(id)
        del self._guests[id]
        self._file.save(id, None, self._guests)
        self._on_change(structs.replace(guest.observed(), state=ObservedState.MISSING, reason=None))

    async def start(self, id: InstanceId) -> None:
        """Start it, after ``start_seconds``."""
        await self._begin("start", id)
        if self._guests[id].state not in _POWERED and self._config.start_seconds:
            await asyncio.sleep(self._config.start_seconds)
        guest = self._managed(id)
        if guest.state is RUNNING:
            return
        if guest.state in _POWERED:
            raise wrong_state(guest, "started", "resume or stop it first")
        if guest.state is SUSPENDED:
            raise wrong_state(guest, "started", "restore it")
        now = self._now()
        started = structs.replace(guest, live=guest.spec, state=RUNNING, reason=None, started_at=now)
        self._set(structs.replace(started, booted_memory_bytes=guest.spec.memory_bytes))

    async def shut_down(self, id: InstanceId) -> None:
        """Ask it to power off; it does so after ``shut_down_seconds`` unless it is deaf."""
        guest = await self._begin("shut_down", id)
        if guest.state is PAUSED:
            raise wrong_state(guest, "asked to shut down", "resume it first, or cut its power")
        if guest.state is not RUNNING or id in self.faults.deaf or id in self._timers:
            return
        loop = asyncio.get_running_loop()
        self._timers[id] = loop.call_later(self._config.shut_down_seconds, self._power_button_done, id)

    async def power_off(self, id: InstanceId) -> None:
        """Cut its power."""
        guest = await self._begin("power_off", id)
        if guest.state is not STOPPED:
            self._stop(id)

    async def reboot(self, id: InstanceId) -> None:
        """Let it begin anew."""
        guest = await self._begin("reboot", id)
        if guest.state is not RUNNING:
            raise wrong_state(guest, "rebooted", "it must be running")
        self._set(structs.replace(guest, started_at=self._clock.now().timestamp()))

    async def reset(self, id: InstanceId) -> None:
        """Press its reset button."""
        guest = await self._begin("reset", id)
        if guest.state not in {RUNNING, PAUSED}:
            raise wrong_state(guest, "reset", "it must be running or paused")
        self._set(structs.replace(guest, started_at=self._clock.now().timestamp()))

    async def pause(self, id: InstanceId) -> None:
        """Stop its processors."""
        guest = await self._begin("pause", id)
        if guest.state not in {RUNNING, PAUSED}:
            raise wrong_state(guest, "paused", "it must be running")
        self._set(structs.replace(guest, state=PAUSED, reason=None))

    async def resume(self, id: InstanceId) -> None:
        """Let them go on."""
        guest = await self._begin("resume", id)
        if guest.state not in {RUNNING, PAUSED}:
            raise wrong_state(guest, "resumed", "it must be paused")
        self._set(structs.replace(guest, state=RUNNING, reason=None))

    async def get(self, id: InstanceId) -> Observed:
        """Return one guest."""
        await self.faults.suffer("get", id)
        return self._find(id).observed()

    async def list(self) -> list[Observed]:
        """Return all guests."""
        await self.faults.suffer("list")
        return [guest.observed() for guest in self._guests.values()]

    async def suspend(self, id: InstanceId) -> None:
        """Keep it as it is."""
        guest = await self._begin("suspend", id)
        if guest.state is SUSPENDED:
            return
        if guest.state is not RUNNING:
            raise wrong_state(guest, "suspended", "it must be running")
        self._forget_timer(id)
        self._end_consoles(id)
        self._set(structs.replace(guest, state=SUSPENDED, reason=None))

    async def restore(self, id: InstanceId) -> None:
        """Let it go on where it was."""
        guest = await self._begin("restore", id)
        if guest.state is RUNNING:
            return
        if guest.state is not SUSPENDED:
            raise wrong_state(guest, "restored", "it must be suspended")
        self._set(structs.replace(guest, state=RUNNING, reason=None))

    # -- devices and sizes

    async def attach_disk(self, id: InstanceId, disk: DiskSpec) -> None:
        """Add a disk."""
        guest = await self._begin("attach_disk", id)
        _need_devices(guest)
        check_disk(disk)
        self._set(hardware.attach_disk(guest, disk))

    async def detach_disk(self, id: InstanceId, volume_id: VolumeId, *, timeout_seconds: float = 20) -> None:
        """Remove a disk; a deaf guest does not let go."""
        guest = await self._begin("detach_disk", id)
        _need_devices(guest)
        await self._let_go(hardware.detach_disk(guest, volume_id), f"volume {volume_id}", timeout_seconds)

    async def attach_nic(self, id: InstanceId, nic: NicSpec) -> None:
        """Add a network card."""
        guest = await self._begin("attach_nic", id)
        _need_devices(guest)
        self._set(hardware.attach_nic(guest, nic))

    async def detach_nic(self, id: InstanceId, nic_id: str, *, timeout_seconds: float = 20) -> None:
        """Remove a network card; a deaf guest does not let go."""
        guest = await self._begin("detach_nic", id)
        _need_devices(guest)
        await self._let_go(hardware.detach_nic(guest, nic_id), f"network card {nic_id}", timeout_seconds)

    async def _let_go(self, wanted: SimGuest, what: str, timeout_seconds: float) -> None:
        guest = self._managed(wanted.spec.id)
        if wanted.live == guest.live or guest.spec.id not in self.faults.deaf or guest.state not in _POWERED:
            self._set(wanted)
            return
        self._set(structs.replace(wanted, live=guest.live))
        message = f"guest {guest.spec.name} does not let go of {what} within {timeout_seconds:g} s"
        raise NanoError(ErrorCode.DEADLINE_EXCEEDED, message, reason="sim.deaf")

    async def set_media(self, id: InstanceId, slot: int, path: str | None, *, is_forced: bool = False) -> None:
        """Insert or eject; a deaf guest has locked its drives."""
        guest = await self._begin("set_media", id)
        _need_devices(guest)
        changed = hardware.set_media(guest, slot, path)
        if changed.live != guest.live and guest.state in _POWERED and id in self.faults.deaf and not is_forced:
            message = f"guest {guest.spec.name} has locked media drive {slot}; eject inside the guest, or force it"
            raise NanoError(ErrorCode.BUSY, message, reason="sim.deaf")
        self._set(changed)

    async def resize(self, id: InstanceId, *, vcpus: int, memory_bytes: int) -> Observed:
        """Set processors and memory; memory above what it was started with comes with its next start."""
        guest = await self._begin("resize", id)
        self._set(hardware.resize(guest, vcpus, memory_bytes, is_live=guest.state in _POWERED))
        return self._find(id).observed()

    async def resize_disk(self, id: InstanceId, volume_id: VolumeId, size_bytes: int) -> None:
        """Grow a disk."""
        guest = await self._begin("resize_disk", id)
        self._need_power(guest, "given more of a volume")
        if volume_id not in guest.observed().disks:
            raise NanoError(ErrorCode.NOT_FOUND, f"guest {guest.spec.name} has no disk with volume {volume_id}")
        if self._storage is not None:
            await self._storage.resize(volume_id, size_bytes)

    async def set_qos(self, id: InstanceId, qos: Qos) -> Observed:
        """Note the limits."""
        guest = await self._begin("set_qos", id)
        spec, live = structs.replace(guest.spec, qos=qos), structs.replace(guest.live, qos=qos)
        self._set(structs.replace(guest, spec=spec, live=live))
        return self._find(id).observed()

    # -- snapshots, copies, the guest's agent

    async def snapshot_disks(self, id: InstanceId, snapshot_id: SnapshotId) -> None:
        """Note a snapshot of every disk."""
        guest = await self._begin("snapshot_disks", id)
        self._need_power(guest, "snapshot while it runs")
        if self._storage is not None:
            await self._storage.create_snapshot(guest.observed().disks, snapshot_id)

    async def delete_snapshot(self, id: InstanceId, snapshot_id: SnapshotId) -> None:
        """Forget it."""
        guest = await self._begin("delete_snapshot", id)
        self._need_power(guest, "rid of a snapshot while it runs")
        if self._storage is not None:
            await self._storage.delete_snapshot(guest.observed().disks, snapshot_id)

    async def start_copy(self, id: InstanceId, copies: Sequence[DiskCopy]) -> None:
        """Copy, which takes ``copy_seconds``."""
        guest = await self._begin("start_copy", id)
        self._need_power(guest, "copied while it runs")
        self._set(hardware.start_copy(guest, copies, now=self._now(), seconds=self._config.copy_seconds))

    async def get_copy(self, id: InstanceId) -> CopyProgress:
        """Return how far it is."""
        guest = await self._begin("get_copy", id)
        return hardware.copy_progress(guest, self._now())

    async def cancel_copy(self, id: InstanceId) -> None:
        """Forget it, unless it is done."""
        guest = await self._begin("cancel_copy", id)
        if hardware.copy_progress(guest, self._now()).state is CopyState.RUNNING:
            self._set(structs.replace(guest, copy=None))

    async def agent_command(
        self,
        id: InstanceId,
        execute: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout_seconds: float = 10,  # noqa: ARG002  it answers at once
    ) -> object:
        """Answer for the guest; one that is deaf has no agent."""
        guest = await self._begin("agent_command", id)
        self._need_agent(guest)
        answer, changed = agent.answer(guest, execute, arguments or {}, self._now())
        if changed is not guest:
            self._set(changed)
        return answer

    async def freeze(self, id: InstanceId, *, timeout_seconds: float = 60) -> int:
        """Note that it is frozen, until then."""
        guest = await self._begin("freeze", id)
        self._need_agent(guest)
        was_frozen = guest.frozen_until > self._now()
        self._set(structs.replace(guest, frozen_until=self._now() + timeout_seconds))
        return 0 if was_frozen else len(guest.live.disks)

    async def thaw(self, id: InstanceId) -> None:
        """Note that it is not."""
        guest = await self._begin("thaw", id)
        self._need_agent(guest)
        self._set(structs.replace(guest, frozen_until=0.0))

    def _need_power(self, guest: SimGuest, done: str) -> None:
        if guest.state not in _POWERED:
            raise wrong_state(guest, done, "start it, or ask the storage driver")

    def _need_agent(self, guest: SimGuest) -> None:
        if guest.state is not RUNNING:
            raise wrong_state(guest, "asked by its agent", "it must be running")
        if guest.spec.id in self.faults.deaf:
            message = f"no agent is connected in guest {guest.spec.name}"
            raise NanoError(ErrorCode.UNAVAILABLE, message, reason=NO_AGENT)

    def _now(self) -> float:
        return self._clock.now().timestamp()

    # -- measurements and consoles

    async def usage(self, ids: Sequence[InstanceId]) -> dict[InstanceId, InstanceUsage]:
        """Return figures that look like a guest's, move slowly, and are the same for the same guest and moment."""
        await self.faults.suffer("usage")
        found = {}
        for id in ids:
            guest = self._guests.get(id)
            if guest is not None and guest.state is RUNNING:
                found[id] = self._usage(guest)
        return found

    async def host_usage(self) -> HostUsage:
        """Return the machine's size and the sum of what its guests use."""
        await self.faults.suffer("host_usage")
        running = [guest for guest in self._guests.values() if guest.state in _POWERED]
        busy_cores = sum(self._usage(guest).cpu_percent / 100 * guest.live.vcpus for guest in running)
        return HostUsage(
            cores=self._config.cores,
            cpu_percent=min(100.0, 100 * busy_cores / self._config.cores),
            memory_bytes=self._config.memory_bytes,
            memory_used_bytes=min(self._config.memory_bytes, sum(guest.live.memory_bytes for guest in running)),
        )

    async def open_console(self, id: InstanceId, kind: ConsoleKind) -> Console:
        """Open a picture (any number of viewers) or a terminal (the newest user has it)."""
        guest = await self._begin("open_console", id)
        if guest.state not in _POWERED:
            raise wrong_state(guest, f"opened on its {kind} console", "start it first")
        consoles = self._consoles.setdefault(id, [])
        console: SimConsole = SimScreen(guest.spec.name)
        if kind is ConsoleKind.SERIAL:
            for other in [other for other in consoles if isinstance(other, SimSerial)]:
                other.end()
                consoles.remove(other)
            console = SimSerial(guest.spec.name)
        consoles.append(console)
        return console

    # -- for tests and demonstrations

    def crash(self, id: InstanceId) -> None:
        """Let a guest's process die, as ``kill -9`` would."""
        self._stop(id, CRASHED, "its process ended unexpectedly")

    def add_foreign(self, spec: GuestSpec, state: ObservedState = RUNNING) -> None:
        """Let somebody else make a domain."""
        self._set(SimGuest(spec=spec, live=spec, state=state, is_managed=False))

    # -- inside

    async def _begin(self, call: str, id: InstanceId) -> SimGuest:
        self._managed(id)
        await self.faults.suffer(call, id)
        return self._managed(id)

    def _find(self, id: InstanceId) -> SimGuest:
        guest = self._guests.get(id)
        if guest is None:
            raise NanoError(ErrorCode.NOT_FOUND, f"guest {id} can't be found on this cell")
        return guest

    def _managed(self, id: InstanceId) -> SimGuest:
        guest = self._find(id)
        _check_managed(guest)
        return guest

    def _set(self, guest: SimGuest) -> None:
        id = guest.spec.id
        before = self._guests.get(id)
        self._guests[id] = guest
        self._file.save(id, guest, self._guests)
        if before is None or before.observed() != guest.observed():
            self._on_change(guest.observed())

    def _stop(self, id: InstanceId, state: ObservedState = STOPPED, reason: str | None = None) -> None:
        self._forget_timer(id)
        self._end_consoles(id)
        guest = self._guests[id]
        ended = structs.replace(guest, live=guest.spec, state=state, reason=reason, started_at=0.0)
        self._set(structs.replace(ended, copy=None, frozen_until=0.0))

    def _power_button_done(self, id: InstanceId) -> None:
        self._timers.pop(id, None)
        if self._guests[id].state is RUNNING:
            self._stop(id)

    def _forget_timer(self, id: InstanceId) -> None:
        if timer := self._timers.pop(id, None):
            timer.cancel()

    def _end_consoles(self, id: InstanceId) -> None:
        for console in self._consoles.pop(id, []):
            console.end()

    def _usage(self, guest: SimGuest) -> InstanceUsage:
        """Spread guests by their id, and let each rise and fall over a minute."""
        now = self._clock.now()
        seed = zlib.crc32(guest.spec.id.encode())
        phase = (now.timestamp() + seed) % 60 / 60
        wave = abs(2 * phase - 1)
        level = (seed % 40 + 1) / 100
        memory = guest.live.memory_bytes
        return InstanceUsage(
            cpu_percent=round(100 * level * wave, 2),
            memory_bytes=int(memory * (0.2 + level + 0.1 * wave)),
            disk_read_bytes_per_second=level * wave * MIB,
            disk_write_bytes_per_second=level * (1 - wave) * MIB,
            network_receive_bytes_per_second=level * wave * MIB / 4,
            network_transmit_bytes_per_second=level * (1 - wave) * MIB / 4,
            at=now,
        )


def _check_managed(guest: SimGuest) -> None:
    if not guest.is_managed:
        message = f"domain {guest.spec.name} ({guest.spec.id}) was not made by Nano and is left alone"
        raise NanoError(ErrorCode.WRONG_STATE, message, reason=NOT_MANAGED)


def _need_devices(guest: SimGuest) -> None:
    if guest.state is SUSPENDED:
        raise wrong_state(guest, "given other devices", "restore it first, or power it off")
