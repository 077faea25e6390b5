"""Keeps track of the running guests of a cell: whom to ask when, what they said last, and what changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from nanocore.capabilities.guest import GetGuestTools, Guest, GuestReported
from nanocore.capabilities.hypervisor import AgentReady, GetInventory, GuestObserved, Observed
from nanocore.contracts.handler import CELL_ONLY, CORE_ONLY, Call, Handler, Subscription
from nanocore.contracts.node import NodeInfo
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId
from nanocore.model.instance import GuestFacts, ObservedState, Readiness
from nanoplugins.guest_tools.agent import GuestAgent, with_memory
from nanoplugins.guest_tools.config import GuestToolsConfig
from nanoplugins.guest_tools.readiness import Probe, Verdict, judge, silent
from nanoplugins.guest_tools.seeds import Seeds
from nanoplugins.guest_tools.signal import listen

NO_AGENT_PAUSES = 4
"""A guest without an agent is asked this much less often once it is ready or nobody can tell."""
_SPOKE_TOO_EARLY = frozenset({ErrorCode.NOT_FOUND, ErrorCode.WRONG_STATE})


@dataclass
class _Watched:
    since: float
    due: float
    guest: Guest
    signal: Probe | None = None
    listener: asyncio.Task[None] | None = None
    is_being_asked: bool = False
    sent: GuestReported | None = None
    asking: set[asyncio.Task[None]] = field(default_factory=set)


class Watch:
    """Asks gently: only running guests, a few at a time, ready ones seldom."""

    name = "guest_tools.watch"
    after: tuple[str, ...] = ("agent.drivers", "compute")
    """A core in this same process never "comes back": what it is told before it knows its cells would be lost."""

    def __init__(self, context: PluginContext, seeds: Seeds) -> None:
        self._context = context
        self._config = context.config(GuestToolsConfig)
        self._seeds = seeds
        self._watched: dict[InstanceId, _Watched] = {}
        self._turns = asyncio.Semaphore(self._config.polls_at_once)
        self._wake = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; guests that run already are found when the drivers are open."""
        self._loop = asyncio.create_task(self._run(), name="guest_tools.watch")
        await self._find_running()

    async def stop(self) -> None:
        """End every question."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        for id in list(self._watched):
            await self._forget(id)

    def subscriptions(self) -> list[Subscription]:
        """Return what tells of guests that start and stop."""
        return [
            Subscription(GuestObserved, self._on_guest, "guest_tools", allow=CELL_ONLY),
            Subscription(AgentReady, self._on_ready, "guest_tools", allow=CELL_ONLY),
        ]

    def handlers(self) -> list[Handler]:
        """Return what the core asks."""
        return [Handler(GetGuestTools, self._get, CORE_ONLY)]

    async def tell_again(self) -> None:
        """Send everything to a core that came back."""
        for watched in self._watched.values():
            if watched.sent is not None:
                await self._context.publish(watched.sent)

    def ask_soon(self, id: InstanceId) -> None:
        """Ask a guest now, as something was changed in it."""
        watched = self._watched.get(id)
        if watched is not None:
            watched.due = 0
            self._wake.set()

    async def _get(self, message: GetGuestTools, _call: Call) -> Guest:
        watched = self._watched.get(message.id)
        if watched is None:
            return Guest(id=message.id, ready=Readiness(reason="the guest does not run"))
        return watched.guest

    async def _on_ready(self, _event: AgentReady, source: NodeInfo) -> None:
        if source.id == self._context.node.id:
            await self._find_running()

    async def _on_guest(self, event: GuestObserved, source: NodeInfo) -> None:
        if source.id == self._context.node.id:
            await self._note(event.guest)

    async def _find_running(self) -> None:
        try:
            inventory = await self._context.call(GetInventory(), dst=self._context.node.id)
        except NanoError as error:
            # The drivers are not open yet; AgentReady tells when they are.
            self._context.log.info("guest_tools.no_inventory", error=str(error))
            return
        for guest in inventory.guests:
            await self._note(guest)

    async def _note(self, guest: Observed) -> None:
        if not guest.is_managed:
            return
        if guest.state is not ObservedState.RUNNING:
            if guest.state is not ObservedState.PAUSED:
                await self._forget(guest.id)
            return
        if guest.id in self._watched:
            return
        now = self._context.clock.monotonic()
        watched = _Watched(since=now, due=now, guest=Guest(id=guest.id))
        self._watched[guest.id] = watched
        path = self._seeds.signal_path(guest.id)
        if path is not None:

            def heard(probe: Probe) -> None:
                watched.signal = probe
                watched.due = 0
                self._wake.set()

            watched.listener = asyncio.create_task(listen(path, heard), name=f"guest_tools.signal.{guest.id}")
        self._wake.set()

    async def _forget(self, id: InstanceId) -> None:
        watched = self._watched.pop(id, None)
        if watched is None:
            return
        tasks = [task for task in (watched.listener, *watched.asking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if watched.sent is not None:
            await self._publish(GuestReported(id=id))

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            now = self._context.clock.monotonic()
            for id, watched in self._watched.items():
                if watched.due <= now and not watched.is_being_asked:
                    watched.is_being_asked = True
                    task = asyncio.create_task(self._ask(id, watched), name=f"guest_tools.ask.{id}")
                    watched.asking.add(task)
                    task.add_done_callback(watched.asking.discard)
            waiting = [watched.due for watched in self._watched.values() if not watched.is_being_asked]
            pause = max(0.05, min(waiting) - now) if waiting else None
            await _wait(self._wake.wait, pause)

    async def _ask(self, id: InstanceId, watched: _Watched) -> None:
        try:
            async with self._turns:
                watched.due = float("inf")
                guest = await self._question(id, watched)
        except Exception:
            self._context.log.exception("guest_tools.ask_failed", instance=id)
            guest = watched.guest
        finally:
            watched.is_being_asked = False
            self._wake.set()
        watched.guest = guest
        pause = self._config.booting_poll_seconds
        if guest.ready.is_ready or (guest.ready.is_ready is None and guest.source is None):
            pause = self._config.poll_seconds
        elif guest.source != "agent" and not self._is_patient(watched):
            pause *= NO_AGENT_PAUSES
        watched.due = min(watched.due, self._context.clock.monotonic() + pause)
        told = GuestReported(id=id, ready=guest.ready, facts=guest.facts)
        if told != watched.sent and self._watched.get(id) is watched:
            watched.sent = told
            await self._publish(told)

    def _is_patient(self, watched: _Watched) -> bool:
        return self._context.clock.monotonic() - watched.since < self._config.patience_seconds

    async def _question(self, id: InstanceId, watched: _Watched) -> Guest:
        agent = GuestAgent(self._context, id, seconds=self._config.answer_seconds)
        facts, probe = watched.guest.facts, None
        try:
            facts = await agent.facts()
            if not facts.is_frozen:
                probe = await agent.probe()
        except TimeoutError:
            facts = GuestFacts(agent_reason="the agent does not answer in time")
        except NanoError as error:
            facts = GuestFacts(agent_reason=error.message)
        if facts.is_frozen:
            return _replace(watched.guest, facts)
        source = "agent" if probe is not None else None
        if probe is None and watched.signal is not None:
            probe, source = watched.signal, "seed"
        verdict = self._judge(id, watched, probe)
        if probe is None and facts.has_agent and not self._seeds.has(id):
            reason = "the agent answers, but runs no programs that could tell of the first boot"
            verdict = Verdict(Readiness(is_ready=True, reason=reason))
            source = "agent"
        return Guest(
            id=id,
            ready=verdict.ready,
            facts=with_memory(facts, probe),
            stages=verdict.stages,
            warnings=verdict.warnings,
            source=source,
        )

    def _judge(self, id: InstanceId, watched: _Watched, probe: Probe | None) -> Verdict:
        has_seed = self._seeds.has(id)
        seconds = self._context.clock.monotonic() - watched.since
        patience = self._config.patience_seconds
        if probe is None:
            return silent(has_seed=has_seed, seconds=seconds, patience_seconds=patience)
        return judge(probe, has_seed=has_seed, seconds=seconds, patience_seconds=patience)

    async def _publish(self, event: GuestReported) -> None:
        try:
            await self._context.publish(event)
        except NanoError as error:
            # Sent again when the core is back.
            self._context.log.info("guest_tools.not_sent", instance=event.id, error=str(error))


def _replace(guest: Guest, facts: GuestFacts) -> Guest:
    return Guest(
        id=guest.id,
        ready=guest.ready,
        facts=facts,
        stages=guest.stages,
        warnings=guest.warnings,
        source=guest.source,
    )


async def _wait(until: Callable[[], Awaitable[object]], seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds):
            await until()
    except TimeoutError:
        return
