"""Who is there and how they are: facts kept between calls, and libvirt's events as observed states."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import libvirt
import structlog

from nanocore.capabilities.hypervisor import Observed
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId
from nanocore.model.instance import ObservedState
from nanoplugins.kvm.definition import Facts, read_facts
from nanoplugins.kvm.host import CHANGED, Host, LifecycleEvent
from nanoplugins.kvm.states import observed_state, state_after

NOT_MANAGED = "hypervisor.not_managed"


class Guests:
    """What is known of the guests; reports each change once, in order, to the callback given to ``open``."""

    def __init__(self, host: Host, log: structlog.stdlib.BoundLogger) -> None:
        self._host = host
        self._log = log
        self._on_change: Callable[[Observed], None] = lambda _observed: None
        self._facts: dict[str, Facts] = {}
        self._known: dict[str, Observed] = {}
        self._acknowledged: set[str] = set()
        self._suspending: set[str] = set()
        self._events: asyncio.Queue[LifecycleEvent] = asyncio.Queue()
        self._consumer: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether events are followed."""
        return self._consumer is not None

    def begin(self, on_change: Callable[[Observed], None]) -> None:
        """Report to ``on_change`` from now on; events queue up until ``follow``."""
        self._on_change = on_change
        self._events = asyncio.Queue()

    def put(self, event: LifecycleEvent) -> None:
        """Take an event; called on the loop."""
        self._events.put_nowait(event)

    def follow(self) -> None:
        """Work on events from now on."""
        self._consumer = asyncio.create_task(self._consume(), name="kvm.events")

    async def close(self) -> None:
        """Forget everything."""
        if self._consumer is not None:
            self._consumer.cancel()
            await asyncio.gather(self._consumer, return_exceptions=True)
            self._consumer = None

    def forget_all(self) -> None:
        """Know nothing, so that the next ``open`` reports every guest."""
        self._facts.clear()
        self._known.clear()

    # -- looking

    async def find(self, id: str) -> Facts | None:
        """Read the facts anew, or return ``None`` for an absent guest."""
        try:
            return await self.read(id)
        except NanoError as error:
            if error.code is ErrorCode.NOT_FOUND:
                return None
            raise

    async def read(self, id: str) -> Facts:
        """Read the facts anew."""
        what = f"guest {id} can't be found on this cell"
        facts = await self._host.read(what, lambda connection: read_facts(connection.lookupByUUIDString(id)))
        self._facts[id] = facts
        return facts

    async def managed(self, id: str) -> Facts:
        """Return the facts of a guest that Nano may change."""
        facts = self._facts.get(id) or await self.read(id)
        check_managed(facts)
        return facts

    def keep(self, facts: Facts) -> None:
        """Take facts that were just read."""
        self._facts[facts.id] = facts

    async def get(self, id: InstanceId) -> Observed:
        """Return one guest, Nano's or not."""
        facts = self._facts.get(id) or await self.read(id)

        def work(connection: libvirt.virConnect) -> tuple[int, int, bool]:
            domain = connection.lookupByUUIDString(id)
            state, reason = domain.state()
            return state, reason, bool(domain.hasManagedSaveImage())

        state, reason, has_saved = await self._host.read(f"guest {facts.name} can't be looked at", work)
        return self._observed(facts, state, reason, has_saved=has_saved)

    async def list(self) -> list[Observed]:
        """Return every guest by two calls to libvirt, and one more for each not seen before."""
        known = self._facts

        def work(connection: libvirt.virConnect) -> list[tuple[Facts, int, int, bool]]:
            saved = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)
            saved_ids = {domain.UUIDString() for domain in saved}
            rows = []
            for domain, stats in connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, 0):
                id = domain.UUIDString()
                facts = known.get(id)
                try:
                    facts = facts or read_facts(domain)
                except libvirt.libvirtError as error:
                    if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                        continue  # undefined since
                    raise
                rows.append((facts, stats["state.state"], stats["state.reason"], id in saved_ids))
            return rows

        rows = await self._host.read("the guests can't be listed", work)
        self._facts = {facts.id: facts for facts, *_ in rows}
        return [self._observed(facts, state, reason, has_saved=saved) for facts, state, reason, saved in rows]

    async def look_again(self) -> None:
        """Report every difference to what was last reported: after opening, and after a lost connection."""
        self._facts.clear()
        guests = await self.list()
        gone = self._known.keys() - {guest.id for guest in guests}
        for id in gone:
            self._emit(_missing(self._known[id]))
        for guest in guests:
            self._emit(guest)

    async def refresh(self, id: InstanceId) -> Observed:
        """Look at a guest that we changed, report it, and return it."""
        facts, known = await self.read(id), self._known.get(id)
        if known is not None:
            # Its state is reported by events, in their order.
            self._emit(facts.observed(known.state, known.reason))
        return await self.get(id)

    @contextmanager
    def suspending(self, id: InstanceId) -> Iterator[None]:
        """Tell nobody that a guest pauses while its memory is written to disk."""
        self._suspending.add(id)
        try:
            yield
        finally:
            self._suspending.discard(id)

    async def acknowledge(self, id: InstanceId) -> None:
        """Count a crash as seen: the guest is stopped from then on."""
        self._acknowledged.add(id)
        self._emit(await self.get(id))

    # -- inside

    def _observed(self, facts: Facts, state: int, reason: int, *, has_saved: bool) -> Observed:
        return self._seen_crash(facts.observed(*observed_state(state, reason, has_saved=has_saved)))

    def _seen_crash(self, observed: Observed) -> Observed:
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
        if event.event == libvirt.VIR_DOMAIN_EVENT_STARTED:
            self._acknowledged.discard(event.id)
        if event.event == libvirt.VIR_DOMAIN_EVENT_SUSPENDED and event.id in self._suspending:
            return
        told = state_after(event.event, event.detail)
        ends = event.event in {libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_STOPPED}
        if told is None or ends or event.id not in self._facts:
            # Devices and sizes are those of the definition before a start and after an end.
            facts = await self.find(event.id)
            is_end = event.event == libvirt.VIR_DOMAIN_EVENT_STOPPED and event.id in self._facts
            if facts is None and not is_end:
                self._forget(event.id)
                return
        known = self._known.get(event.id)
        if event.event == libvirt.VIR_DOMAIN_EVENT_DEFINED:
            told = (known.state, known.reason) if known else (ObservedState.STOPPED, None)
        elif event.event == CHANGED and known is not None:
            told = (known.state, known.reason)
        if told is None:
            self._emit(await self.get(InstanceId(event.id)))
        else:
            self._emit(self._seen_crash(self._facts[event.id].observed(*told)))

    def _forget(self, id: str) -> None:
        self._facts.pop(id, None)
        self._acknowledged.discard(id)
        if id in self._known:
            self._emit(_missing(self._known[id]))


def check_managed(facts: Facts) -> None:
    """Raise ``wrong_state`` for a domain that Nano did not make."""
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
