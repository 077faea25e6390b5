"""The hypervisor driver: Nano's calls on libvirt's domains."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import libvirt
import structlog

from nanocore.capabilities.hypervisor import (
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
from nanocore.clock import Clock
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, SnapshotId, VolumeId
from nanocore.model.instance import Firmware, InstanceUsage, ObservedState, Qos
from nanoplugins.kvm import abilities, changes, copies, definition, devices, domain_xml, monitor, power, statistics
from nanoplugins.kvm.config import KvmConfig
from nanoplugins.kvm.console import ScreenConsole, SerialConsole
from nanoplugins.kvm.definition import Facts, read_facts
from nanoplugins.kvm.events import EventPump
from nanoplugins.kvm.freezer import Freezer
from nanoplugins.kvm.guests import Guests, check_managed
from nanoplugins.kvm.host import Host

NAME = "kvm"
T = TypeVar("T")

_UNDEFINE = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
_UNDEFINE_QEMU = (
    _UNDEFINE
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    | libvirt.VIR_DOMAIN_UNDEFINE_TPM
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
)
_KIB = 1024
_POLL_SECONDS = 0.2
_ONLINE_SECONDS = 3.0
_ASK_AGAIN_SECONDS = 6.0
"""QEMU takes a request to let go for lost after 5 s."""


class KvmDriver:
    """Implements ``HypervisorDriver`` on libvirt. Only domains with our metadata are ever changed."""

    name = NAME

    def __init__(
        self,
        config: KvmConfig,
        *,
        zone: str,
        clock: Clock,
        log: structlog.stdlib.BoundLogger,
        pump: EventPump,
        probe_cache: Path | None = None,
    ) -> None:
        self._config = config
        self._zone = zone
        self._clock = clock
        self._log = log
        self._probe_cache = probe_cache
        self._host = Host(
            config.uri,
            pump=pump,
            log=log,
            reconnect_seconds=config.reconnect_seconds,
            keepalive_seconds=config.keepalive_seconds,
        )
        self._guests = Guests(self._host, log)
        self._freezer = Freezer(self._agent, log)
        self._platform = domain_xml.Platform("qemu")
        self._info = HypervisorInfo(name=NAME, accelerator="", accelerator_reason="not opened yet")
        self._samples: dict[str, statistics.Sample] = {}
        self._host_counters: tuple[float, float] = (0.0, 0.0)
        # Two edits of one definition at a time would undo each other.
        self._definition_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    @property
    def info(self) -> HypervisorInfo:
        """Return the facts; complete after ``open``."""
        return self._info

    @property
    def is_connected(self) -> bool:
        """Whether libvirt can be reached now."""
        return self._host.is_connected

    async def check(self) -> str | None:
        """Return why guests can't be reached, or ``None``; for ``/readyz`` and ``nano doctor``."""
        if not self._guests.is_open or self._host.is_connected:
            return None  # what is not in use can't be missing
        return f"libvirt at {self._config.uri} can't be reached; it is being tried again, see that libvirtd runs"

    # -- life

    async def open(self, on_change: Callable[[Observed], None]) -> None:
        """Connect, probe what this cell can, look at every guest. Can be repeated after it raised."""
        self._guests.begin(on_change)
        await self._host.open(self._guests.put, self._guests.look_again)
        try:
            ask = partial(abilities.find, self._config.acceleration, self._probe_cache)
            self._info, self._platform = await self._host.read("this cell's abilities can't be asked", ask)
            self._log.info(
                "kvm.abilities",
                accelerator=self._info.accelerator,
                reason=self._info.accelerator_reason,
                missing={**self._info.reasons, **self._info.limits_unsupported},
            )
            await self._guests.look_again()
        except BaseException:
            await self._host.close()
            raise
        self._guests.follow()
        if self._info.has_agent_channel:
            self._freezer.thaw_forgotten(await self._running())

    async def close(self) -> None:
        """Disconnect; guests run on. What was frozen is thawed."""
        await self._freezer.close()
        await self._guests.close()
        await self._host.close()
        self._guests.forget_all()

    async def _running(self) -> Sequence[InstanceId]:
        guests = await self._guests.list()
        return [guest.id for guest in guests if guest.is_managed and guest.state is ObservedState.RUNNING]

    # -- guests

    async def define(self, spec: GuestSpec) -> None:
        """Make the domain, or change it; a running one changes from its next start on."""
        self._check_abilities(spec)

        def work(connection: libvirt.virConnect) -> Facts:
            with self._definition_locks[spec.id]:
                before = None
                try:
                    before = definition.lasting(connection.lookupByUUIDString(spec.id))
                except libvirt.libvirtError as error:
                    if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                        raise
                xml = domain_xml.build(spec, self._platform, zone=self._zone, before=before)
                return read_facts(connection.defineXML(xml))

        existing = await self._guests.find(spec.id)
        if existing is not None:
            check_managed(existing)
        self._guests.keep(await self._host.change(f"guest {spec.name} can't be defined", work))

    def _check_abilities(self, spec: GuestSpec) -> None:
        if spec.firmware is not Firmware.BIOS:
            self._info.require("has_uefi")
        if spec.has_tpm:
            self._info.require("has_tpm")

    async def delete(self, id: InstanceId) -> None:
        """Cut the power and undefine, with everything libvirt keeps beside the definition."""
        existing = await self._guests.find(id)
        if existing is None:
            return
        check_managed(existing)
        flags = _UNDEFINE_QEMU if self._platform.is_qemu else _UNDEFINE

        def work(connection: libvirt.virConnect) -> None:
            try:
                domain = connection.lookupByUUIDString(id)
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    return
                raise
            power.remove(domain, flags)

        await self._host.change(f"guest {existing.name} can't be deleted", work)
        self._definition_locks.pop(id, None)

    async def start(self, id: InstanceId) -> None:
        """Start it."""
        left_out = await self._change(id, partial(power.start, platform=self._platform), "started")
        await self._guests.read(id)
        if left_out:
            # Not tried again: each refusal costs a start.
            missing = {**self._info.limits_unsupported, **left_out}
            self._info = replace(self._info, limits_unsupported=missing)
            self._platform = replace(self._platform, limits_unsupported=missing)

    async def shut_down(self, id: InstanceId) -> None:
        """Press its power button."""
        await self._change(id, power.shut_down, "asked to shut down")

    async def power_off(self, id: InstanceId) -> None:
        """Cut its power. A crash that was seen so counts as seen: the guest is stopped from then on."""
        await self._change(id, power.power_off, "powered off")
        await self._guests.read(id)
        await self._guests.acknowledge(id)

    async def reboot(self, id: InstanceId) -> None:
        """Ask it to reboot."""
        await self._change(id, power.reboot, "rebooted")

    async def reset(self, id: InstanceId) -> None:
        """Press its reset button."""
        await self._change(id, power.reset, "reset")

    async def pause(self, id: InstanceId) -> None:
        """Stop its processors."""
        await self._change(id, power.pause, "paused")

    async def resume(self, id: InstanceId) -> None:
        """Let its processors go on."""
        await self._change(id, power.resume, "resumed")

    async def suspend(self, id: InstanceId) -> None:
        """Keep its memory in libvirt's save folder and stop it."""
        with self._guests.suspending(id):
            await self._change(id, power.suspend, "suspended")
            await self._guests.read(id)

    async def restore(self, id: InstanceId) -> None:
        """Let it go on from there."""
        await self._change(id, power.restore, "restored")
        await self._guests.read(id)

    async def get(self, id: InstanceId) -> Observed:
        """Return one guest, Nano's or not."""
        return await self._guests.get(id)

    async def list(self) -> list[Observed]:
        """Return every guest."""
        return await self._guests.list()

    # -- devices and sizes

    async def attach_disk(self, id: InstanceId, disk: DiskSpec) -> None:
        """Plug it in."""
        action = partial(changes.attach_disk, disk=disk)
        await self._edit(id, action, f"given volume {disk.volume_id}", ability="can_hotplug_disks")

    async def detach_disk(self, id: InstanceId, volume_id: VolumeId, *, timeout_seconds: float = 20) -> None:
        """Pull it out."""
        alias, what = f"{devices.DISK_ALIAS}{volume_id}", f"volume {volume_id}"
        await self._detach(id, alias, what, timeout_seconds, "can_hotplug_disks")

    async def attach_nic(self, id: InstanceId, nic: NicSpec) -> None:
        """Plug it in."""
        action = partial(changes.attach_nic, nic=nic)
        await self._edit(id, action, f"given network card {nic.id}", ability="can_hotplug_nics")

    async def detach_nic(self, id: InstanceId, nic_id: str, *, timeout_seconds: float = 20) -> None:
        """Pull it out."""
        alias, what = f"{devices.NIC_ALIAS}{nic_id}", f"network card {nic_id}"
        await self._detach(id, alias, what, timeout_seconds, "can_hotplug_nics")

    async def set_media(self, id: InstanceId, slot: int, path: str | None, *, is_forced: bool = False) -> None:
        """Insert or eject."""
        action = partial(changes.set_media, slot=slot, path=path, is_forced=is_forced)
        await self._edit(id, action, "given other media", ability="can_change_media")

    async def resize(self, id: InstanceId, *, vcpus: int, memory_bytes: int) -> Observed:
        """Set processors and memory."""
        is_live = self._info.can_resize_live
        action = partial(changes.resize, vcpus=vcpus, memory_bytes=memory_bytes, is_live=is_live)
        seen = await self._edit(id, action, "given another size")
        if seen.state is ObservedState.RUNNING and self._info.has_agent_channel:
            await self._bring_online(id, seen.vcpus)
        return seen

    async def _bring_online(self, id: InstanceId, vcpus: int) -> None:
        """Have the agent use processors that were added: few systems do so by themselves."""
        ends = self._clock.monotonic() + _ONLINE_SECONDS
        with suppress(NanoError):  # no agent: the system does it, or somebody in it
            while self._clock.monotonic() < ends:
                found = await self._agent(id, "guest-get-vcpus", {}, _ONLINE_SECONDS)
                known = [cpu for cpu in found if isinstance(cpu, dict)] if isinstance(found, list) else []
                off = [cpu.get("logical-id") for cpu in known if cpu.get("online") is False]
                if off:
                    wanted = [{"logical-id": number, "online": True} for number in off]
                    await self._agent(id, "guest-set-vcpus", {"vcpus": wanted}, _ONLINE_SECONDS)
                elif len(known) >= vcpus:
                    return
                await asyncio.sleep(_POLL_SECONDS)

    async def resize_disk(self, id: InstanceId, volume_id: VolumeId, size_bytes: int) -> None:
        """Grow a disk under a running guest."""
        action = partial(changes.resize_disk, volume_id=volume_id, size_bytes=size_bytes)
        await self._edit(id, action, f"given more of volume {volume_id}", ability="can_grow_disks_live")

    async def set_qos(self, id: InstanceId, qos: Qos) -> Observed:
        """Set all limits."""
        is_live = self._info.can_change_limits_live
        action = partial(changes.set_qos, qos=qos, platform=self._platform, is_live=is_live)
        return await self._edit(id, action, "given other limits")

    # -- snapshots, copies, the guest's agent

    async def snapshot_disks(self, id: InstanceId, snapshot_id: SnapshotId) -> None:
        """Snapshot inside every disk."""
        await self._on_running(id, partial(monitor.snapshot_disks, name=snapshot_id), "can_snapshot_live")

    async def delete_snapshot(self, id: InstanceId, snapshot_id: SnapshotId) -> None:
        """Remove it from every disk."""
        await self._on_running(id, partial(monitor.delete_snapshot, name=snapshot_id), "can_snapshot_live")

    async def start_copy(self, id: InstanceId, copies_: Sequence[DiskCopy]) -> None:
        """Begin a backup job."""
        await self._on_running(id, partial(copies.begin, copies=copies_), "can_copy_live")

    async def get_copy(self, id: InstanceId) -> CopyProgress:
        """Return how far the job is."""
        if not self._info.can_copy_live:
            await self._guests.managed(id)
            return CopyProgress(state=CopyState.NONE)
        return await self._look(id, copies.progress, "its copy can't be looked at")

    async def cancel_copy(self, id: InstanceId) -> None:
        """End the job."""
        if not self._info.can_copy_live:
            await self._guests.managed(id)
            return
        await self._change(id, copies.abort, "stopped being copied")

    async def agent_command(
        self, id: InstanceId, execute: str, arguments: Mapping[str, Any] | None = None, *, timeout_seconds: float = 10
    ) -> object:
        """Ask the agent in the guest."""
        await self._guests.managed(id)
        self._info.require("has_agent_channel")
        return await self._agent(id, execute, arguments or {}, timeout_seconds)

    async def freeze(self, id: InstanceId, *, timeout_seconds: float = 60) -> int:
        """Stop writing to file systems."""
        await self._guests.managed(id)
        self._info.require("has_agent_channel")
        return await self._freezer.freeze(id, timeout_seconds)

    async def thaw(self, id: InstanceId) -> None:
        """Let file systems be written again."""
        await self._guests.managed(id)
        self._info.require("has_agent_channel")
        await self._freezer.thaw(id)

    async def _agent(self, id: InstanceId, execute: str, arguments: Mapping[str, Any], seconds: float) -> object:
        facts = await self._guests.managed(id)

        def work(connection: libvirt.virConnect) -> object:
            return monitor.agent_command(connection.lookupByUUIDString(id), execute, arguments, seconds)

        return await self._host.ask(f"the agent of guest {facts.name} can't be asked", work)

    # -- measurements and consoles

    async def usage(self, ids: Sequence[InstanceId]) -> dict[InstanceId, InstanceUsage]:
        """Return the rates since the call before; rates of a guest not asked for before are 0."""
        if not self._info.has_statistics:
            raise NanoError(ErrorCode.UNSUPPORTED, "this libvirt driver keeps no statistics of guests")
        wanted = set(ids)

        def work(connection: libvirt.virConnect) -> list[tuple[str, dict[str, object]]]:
            running = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
            domains = [domain for domain in running if domain.UUIDString() in wanted]
            if not domains:
                return []
            flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT  # a guest that is busy must not hold up the rest
            rows = connection.domainListGetStats(domains, statistics.GROUPS, flags)
            return [(domain.UUIDString(), stats) for domain, stats in rows]

        rows = await self._host.read("the guests' use can't be measured", work)
        at, now = self._clock.monotonic(), self._clock.now()
        fresh = {id: statistics.read_sample(stats, at) for id, stats in rows}
        found = {
            InstanceId(id): statistics.usage_between(self._samples.get(id), sample, now) for id, sample in fresh.items()
        }
        self._samples = {id: statistics.later(self._samples.get(id), sample) for id, sample in fresh.items()}
        return found

    async def host_usage(self) -> HostUsage:
        """Return what libvirt tells of its machine; the processors' use is since the call before."""

        def work(connection: libvirt.virConnect) -> tuple[int, dict[str, int], dict[str, int]]:
            return connection.getInfo()[2], connection.getCPUStats(-1), _memory(connection)

        cores, cpu, memory = await self._host.read("the cell's use can't be measured", work)
        total = float(sum(cpu.values()))
        busy = total - cpu.get("idle", 0) - cpu.get("iowait", 0)
        before_total, before_busy = self._host_counters
        self._host_counters = (total, busy)
        elapsed = total - before_total
        percent = 100 * (busy - before_busy) / elapsed if elapsed > 0 else 0.0
        free = memory.get("free", 0) + memory.get("buffers", 0) + memory.get("cached", 0)
        return HostUsage(
            cores=cores,
            cpu_percent=min(100.0, max(0.0, percent)),
            memory_bytes=memory["total"] * _KIB,
            memory_used_bytes=max(0, memory["total"] - free) * _KIB,
        )

    async def open_console(self, id: InstanceId, kind: ConsoleKind) -> Console:
        """Connect to the screen (any number of viewers) or the serial port (the newest user has it)."""
        offered = self._info.has_screen if kind is ConsoleKind.SCREEN else self._info.has_serial
        if not offered:
            raise NanoError(ErrorCode.UNSUPPORTED, f"guests of this libvirt driver have no {kind}")
        observed = await self.get(id)
        await self._guests.managed(id)
        if observed.state in {ObservedState.STOPPED, ObservedState.CRASHED}:
            message = f"guest {observed.name} is {observed.state}; start it to open its {kind} console"
            raise NanoError(ErrorCode.WRONG_STATE, message)
        what = f"the {kind} console of guest {observed.name} can't be opened"
        opener = ScreenConsole.open if kind is ConsoleKind.SCREEN else SerialConsole.open
        return await opener(self._host, lambda connection: connection.lookupByUUIDString(id), what)

    # -- inside

    async def _look(self, id: InstanceId, action: Callable[[libvirt.virDomain], T], what: str) -> T:
        facts = await self._guests.managed(id)
        return await self._host.read(
            f"guest {facts.name}: {what}", lambda connection: action(connection.lookupByUUIDString(id))
        )

    async def _change(self, id: InstanceId, action: Callable[[libvirt.virDomain], T], done: str) -> T:
        facts = await self._guests.managed(id)
        what = f"guest {facts.name} can't be {done}"
        return await self._host.change(what, lambda connection: action(connection.lookupByUUIDString(id)))

    async def _edit(
        self, id: InstanceId, action: Callable[[libvirt.virDomain], object], done: str, *, ability: str | None = None
    ) -> Observed:
        """Change definition and what runs; ``ability`` is needed only while the guest runs.

        Devices of a suspended guest stay as they are: the memory that waits for them would use them again.
        """
        facts = await self._guests.managed(id)

        def work(domain: libvirt.virDomain) -> None:
            if ability is not None and domain.isActive():
                self._info.require(ability)
            elif ability is not None and domain.hasManagedSaveImage():
                raise _suspended(facts.name, done)
            with self._definition_locks[id]:
                action(domain)

        await self._change(id, work, done)
        return await self._guests.refresh(id)

    async def _on_running(self, id: InstanceId, action: Callable[[libvirt.virDomain], object], ability: str) -> None:
        facts = await self._guests.managed(id)
        self._info.require(ability)

        def work(domain: libvirt.virDomain) -> None:
            if not domain.isActive():
                message = f"guest {facts.name} does not run; its disks are the storage driver's"
                raise NanoError(ErrorCode.WRONG_STATE, message)
            action(domain)

        await self._change(id, work, "asked about its disks")

    async def _detach(self, id: InstanceId, alias: str, what: str, timeout_seconds: float, ability: str) -> None:
        ends = self._clock.monotonic() + timeout_seconds
        facts = await self._guests.managed(id)
        done: list[bool] = []
        await self._edit(
            id, lambda domain: done.append(changes.begin_detach(domain, alias)), f"freed of {what}", ability=ability
        )
        asked = self._clock.monotonic()
        is_gone = done[-1]
        while not is_gone:
            now = self._clock.monotonic()
            if now > ends:
                message = (
                    f"guest {facts.name} does not let go of {what} within {timeout_seconds:g} s; it keeps it until "
                    "it does or stops. A guest that still boots, or has no driver for hot-plugging, does not answer"
                )
                raise NanoError(ErrorCode.DEADLINE_EXCEEDED, message, reason="kvm.guest_holds_device")
            await asyncio.sleep(_POLL_SECONDS)
            if now - asked > _ASK_AGAIN_SECONDS:
                asked = now
                is_gone = await self._change(id, partial(changes.ask_to_let_go, alias=alias), f"freed of {what}")
            else:
                is_gone = await self._look(id, partial(changes.has_let_go, alias=alias), "it can't be looked at")
        await self._guests.refresh(id)


def _suspended(name: str, done: str) -> NanoError:
    message = f"guest {name} is suspended and can't be {done}; restore it first, or power it off"
    return NanoError(ErrorCode.WRONG_STATE, message, state=ObservedState.SUSPENDED.value)


def _memory(connection: libvirt.virConnect) -> dict[str, int]:
    try:
        memory: dict[str, int] = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
        return {"total": connection.getInfo()[1] * _KIB, "free": connection.getFreeMemory() // _KIB}
    return memory
