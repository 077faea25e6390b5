"""The hypervisor driver: Nano's calls on libvirt's domains, and libvirt's events as observed states."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import libvirt
import structlog

from nanocore.capabilities.hypervisor import (
    Console,
    ConsoleKind,
    GuestSpec,
    HostUsage,
    HypervisorInfo,
    Observed,
)
from nanocore.clock import Clock
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, StepKey
from nanocore.model.instance import InstanceUsage, ObservedState
from nanoplugins.kvm import domain_xml, power, probe, statistics
from nanoplugins.kvm.config import KvmConfig
from nanoplugins.kvm.console import ScreenConsole, SerialConsole
from nanoplugins.kvm.events import EventPump
from nanoplugins.kvm.host import Host, LifecycleEvent
from nanoplugins.kvm.states import observed_state, state_after

NOT_MANAGED = "hypervisor.not_managed"
NAME = "kvm"

_UNDEFINE = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
_UNDEFINE_QEMU = _UNDEFINE | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Facts:
    """What changes only when a domain is defined or started; kept, so that lists cost one call."""

    id: InstanceId
    name: str
    is_managed: bool
    step_key: StepKey | None
    vcpus: int
    memory_bytes: int

    def observed(self, state: ObservedState, reason: str | None) -> Observed:
        """Return the guest in ``state``."""
        return Observed(
            id=self.id,
            name=self.name,
            state=state,
            reason=reason,
            is_managed=self.is_managed,
            step_key=self.step_key,
            vcpus=self.vcpus,
            memory_bytes=self.memory_bytes,
        )


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
        self._platform = domain_xml.Platform("qemu")
        self._info = HypervisorInfo(name=NAME, accelerator="", accelerator_reason="not opened yet")
        self._on_change: Callable[[Observed], None] = lambda _observed: None
        self._facts: dict[str, Facts] = {}
        self._known: dict[str, Observed] = {}
        self._acknowledged: set[str] = set()
        self._samples: dict[str, statistics.Sample] = {}
        self._host_counters: tuple[float, float] = (0.0, 0.0)
        self._events: asyncio.Queue[LifecycleEvent] = asyncio.Queue()
        self._consumer: asyncio.Task[None] | None = None

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
        if self._consumer is None or self._host.is_connected:
            return None  # what is not in use can't be missing
        return f"libvirt at {self._config.uri} can't be reached; it is being tried again, see that libvirtd runs"

    # -- life

    async def open(self, on_change: Callable[[Observed], None]) -> None:
        """Connect, probe the acceleration, look at every guest. Can be repeated after it raised."""
        self._on_change = on_change
        self._events = asyncio.Queue()
        await self._host.open(self._events.put_nowait, self._look_again)
        try:
            await self._settle_platform()
            await self._look_again()
        except BaseException:
            await self._host.close()
            raise
        self._consumer = asyncio.create_task(self._consume(), name="kvm.events")

    async def close(self) -> None:
        """Disconnect; guests run on."""
        if self._consumer is not None:
            self._consumer.cancel()
            await asyncio.gather(self._consumer, return_exceptions=True)
            self._consumer = None
        await self._host.close()
        self._facts.clear()
        self._known.clear()

    async def _settle_platform(self) -> None:
        kind = await self._host.read("libvirt can't be asked", lambda connection: connection.getType())
        if kind == "TEST":
            self._platform = domain_xml.Platform("test")
            self._info = HypervisorInfo(
                name=NAME,
                accelerator="test",
                accelerator_reason="libvirt's test driver runs nothing",
                has_screen=False,
                has_serial=False,
                has_statistics=False,
            )
            return
        ask = partial(probe.probe, self._config.acceleration, self._probe_cache)
        found = await self._host.read("the acceleration can't be probed", lambda _connection: ask())
        if found.name == "kvm" and self._config.acceleration == "auto" and not await self._offers_kvm():
            found = probe.Acceleration("tcg", "libvirt does not offer KVM here")
        self._platform = domain_xml.Platform("kvm" if found.name == "kvm" else "qemu")
        self._info = HypervisorInfo(name=NAME, accelerator=found.name, accelerator_reason=found.reason)
        self._log.info("kvm.acceleration", accelerator=found.name, reason=found.reason)

    async def _offers_kvm(self) -> bool:
        def ask(connection: libvirt.virConnect) -> bool:
            try:
                connection.getDomainCapabilities(None, self._platform.arch, "q35", "kvm")
            except libvirt.libvirtError:
                return False
            return True

        return await self._host.read("libvirt can't be asked for its abilities", ask)

    # -- guests

    async def define(self, spec: GuestSpec) -> None:
        """Make the domain, or change it; a running one changes from its next start on."""

        def work(connection: libvirt.virConnect) -> Facts:
            name = None
            try:
                name = connection.lookupByUUIDString(spec.id).name()
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise
            xml = domain_xml.build(spec, self._platform, zone=self._zone, name=name)
            return _read_facts(connection.defineXML(xml))

        existing = await self._find_facts(spec.id)
        if existing is not None:
            _check_managed(existing)
        self._facts[spec.id] = await self._host.change(f"guest {spec.name} can't be defined", work)

    async def delete(self, id: InstanceId) -> None:
        """Cut the power and undefine, with everything libvirt keeps beside the definition."""
        existing = await self._find_facts(id)
        if existing is None:
            return
        _check_managed(existing)
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

    async def start(self, id: InstanceId) -> None:
        """Start it."""
        await self._act(id, power.start, "started")
        self._facts[id] = await self._read_facts(id)

    async def shut_down(self, id: InstanceId) -> None:
        """Press its power button."""
        await self._act(id, power.shut_down, "asked to shut down")

    async def power_off(self, id: InstanceId) -> None:
        """Cut its power. A crash that was seen so counts as seen: the guest is stopped from then on."""
        await self._act(id, power.power_off, "powered off")
        self._acknowledged.add(id)
        self._emit(await self.get(id))

    async def reboot(self, id: InstanceId) -> None:
        """Ask it to reboot."""
        await self._act(id, power.reboot, "rebooted")

    async def reset(self, id: InstanceId) -> None:
        """Press its reset button."""
        await self._act(id, power.reset, "reset")

    async def pause(self, id: InstanceId) -> None:
        """Stop its processors."""
        await self._act(id, power.pause, "paused")

    async def resume(self, id: InstanceId) -> None:
        """Let its processors go on."""
        await self._act(id, power.resume, "resumed")

    async def get(self, id: InstanceId) -> Observed:
        """Return one guest, Nano's or not."""
        facts = self._facts.get(id) or await self._read_facts(id)
        self._facts[id] = facts
        what = f"guest {facts.name} can't be looked at"
        state, reason = await self._host.read(what, lambda connection: connection.lookupByUUIDString(id).state())
        return self._observed(facts, state, reason)

    async def list(self) -> list[Observed]:
        """Return every guest by one call to libvirt, and one more for each not seen before."""
        known = self._facts

        def work(connection: libvirt.virConnect) -> list[tuple[Facts, int, int]]:
            rows = []
            for domain, stats in connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, 0):
                facts = known.get(domain.UUIDString())
                try:
                    facts = facts or _read_facts(domain)
                except libvirt.libvirtError as error:
                    if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                        continue  # undefined since
                    raise
                rows.append((facts, stats["state.state"], stats["state.reason"]))
            return rows

        rows = await self._host.read("the guests can't be listed", work)
        self._facts = {facts.id: facts for facts, _, _ in rows}
        return [self._observed(facts, state, reason) for facts, state, reason in rows]

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
        _check_managed(self._facts[id])
        if observed.state in {ObservedState.STOPPED, ObservedState.CRASHED}:
            message = f"guest {observed.name} is {observed.state}; start it to open its {kind} console"
            raise NanoError(ErrorCode.WRONG_STATE, message)
        what = f"the {kind} console of guest {observed.name} can't be opened"
        opener = ScreenConsole.open if kind is ConsoleKind.SCREEN else SerialConsole.open
        return await opener(self._host, lambda connection: connection.lookupByUUIDString(id), what)

    # -- inside

    async def _act(self, id: InstanceId, action: power.Action, done: str) -> None:
        facts = self._facts.get(id) or await self._read_facts(id)
        _check_managed(facts)
        what = f"guest {facts.name} can't be {done}"
        await self._host.change(what, lambda connection: action(connection.lookupByUUIDString(id)))

    async def _find_facts(self, id: str) -> Facts | None:
        try:
            return await self._read_facts(id)
        except NanoError as error:
            if error.code is ErrorCode.NOT_FOUND:
                return None
            raise

    async def _read_facts(self, id: str) -> Facts:
        what = f"guest {id} can't be found on this cell"
        return await self._host.read(what, lambda connection: _read_facts(connection.lookupByUUIDString(id)))

    def _observed(self, facts: Facts, state: int, reason: int) -> Observed:
        return self._acknowledge(facts.observed(*observed_state(state, reason)))

    def _acknowledge(self, observed: Observed) -> Observed:
        if observed.state is ObservedState.CRASHED and observed.id in self._acknowledged:
            return self._facts[observed.id].observed(ObservedState.STOPPED, None)
        return observed

    def _emit(self, observed: Observed) -> None:
        if self._known.get(observed.id) == observed:
            return
        if observed.state is ObservedState.MISSING:
            self._known.pop(observed.id, None)
        else:
            self._known[observed.id] = observed
        self._on_change(observed)

    async def _look_again(self) -> None:
        """Report every difference to what was last reported: after opening, and after a lost connection."""
        self._facts.clear()
        guests = await self.list()
        gone = self._known.keys() - {guest.id for guest in guests}
        for id in gone:
            self._emit(_missing(self._known[id]))
        for guest in guests:
            self._emit(guest)

    async def _consume(self) -> None:
        while True:
            event = await self._events.get()
            try:
                await self._take(event)
            except NanoError as error:
                # A lost connection: everything is looked at again once it is back.
                self._log.info("kvm.event_not_followed", guest=event.id, error=error.message)

    async def _take(self, event: LifecycleEvent) -> None:
        """Report what one event tells. States come from the event: libvirt itself may be further along by now."""
        is_defined = event.event == libvirt.VIR_DOMAIN_EVENT_DEFINED
        if event.event == libvirt.VIR_DOMAIN_EVENT_STARTED:
            self._acknowledged.discard(event.id)
        told = state_after(event.event, event.detail)
        if told is None or event.event == libvirt.VIR_DOMAIN_EVENT_STARTED or event.id not in self._facts:
            facts = await self._find_facts(event.id)
            if facts is None:
                self._forget(event.id)
                return
            self._facts[event.id] = facts
        known = self._known.get(event.id)
        if is_defined:
            told = (known.state, known.reason) if known else (ObservedState.STOPPED, None)
        if told is None:
            self._emit(await self.get(InstanceId(event.id)))
        else:
            self._emit(self._acknowledge(self._facts[event.id].observed(*told)))

    def _forget(self, id: str) -> None:
        self._facts.pop(id, None)
        self._acknowledged.discard(id)
        if id in self._known:
            self._emit(_missing(self._known[id]))


def _check_managed(facts: Facts) -> None:
    if not facts.is_managed:
        message = f"domain {facts.name} ({facts.id}) was not made by Nano and is left alone"
        raise NanoError(ErrorCode.WRONG_STATE, message, reason=NOT_MANAGED)


def _missing(observed: Observed) -> Observed:
    return Observed(
        id=observed.id,
        name=observed.name,
        state=ObservedState.MISSING,
        is_managed=observed.is_managed,
        step_key=observed.step_key,
        vcpus=observed.vcpus,
        memory_bytes=observed.memory_bytes,
    )


def _read_facts(domain: libvirt.virDomain) -> Facts:
    """Read the metadata of the lasting definition and the size of what runs; blocks."""
    mark = domain_xml.read_mark(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    _, most_memory_kib, _, vcpus, _ = domain.info()
    return Facts(
        id=InstanceId(domain.UUIDString()),
        name=mark.name if mark else domain.name(),
        is_managed=mark is not None,
        step_key=StepKey(mark.step_key) if mark else None,
        vcpus=vcpus,
        memory_bytes=most_memory_kib * _KIB,
    )


def _memory(connection: libvirt.virConnect) -> dict[str, int]:
    try:
        memory: dict[str, int] = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
        return {"total": connection.getInfo()[1] * _KIB, "free": connection.getFreeMemory() // _KIB}
    return memory
