"""Tells the core what the cell has, uses and runs."""

from __future__ import annotations

import asyncio

from nanocore.capabilities.hypervisor import CellReport, CellReported, GuestObserved, Observed, PathReport
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.model.instance import ObservedState
from nanoplugins.agent.config import AgentConfig
from nanoplugins.agent.drivers import Drivers

MEASURE_TIMEOUT_SECONDS = 20.0
MAX_REASON = 1000
"""Characters of a reason in a report."""


class Reporter:
    """Sends a report every few seconds and each change of a guest at once."""

    name = "agent.reporter"
    after: tuple[str, ...] = ("agent.drivers",)

    def __init__(self, context: PluginContext, drivers: Drivers, changes: asyncio.Queue[Observed]) -> None:
        self._context = context
        self._config = context.config(AgentConfig)
        self._drivers = drivers
        self._loop: asyncio.Task[None] | None = None
        self._changes = changes
        self._sender: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to report."""
        self._loop = asyncio.create_task(self._report_forever(), name="agent.report")
        self._sender = asyncio.create_task(self._send_changes(), name="agent.changes")

    async def stop(self) -> None:
        """End."""
        tasks = [task for task in (self._loop, self._sender) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def measure(self) -> CellReport:
        """Ask the drivers for what the cell has and uses."""
        hypervisor, storage = self._drivers.hypervisor, self._drivers.storage
        host = await hypervisor.host_usage()
        space = await storage.usage()
        guests = await hypervisor.list()
        running = [guest.id for guest in guests if guest.is_managed and guest.state is ObservedState.RUNNING]
        usage = await hypervisor.usage(running) if hypervisor.info.has_statistics and running else {}
        return CellReport(
            cores=host.cores,
            cpu_percent=round(host.cpu_percent, 1),
            memory_bytes=host.memory_bytes,
            memory_used_bytes=host.memory_used_bytes,
            disk_bytes=space.total_bytes,
            disk_used_bytes=space.used_bytes,
            accelerator=hypervisor.info.accelerator,
            accelerator_reason=hypervisor.info.accelerator_reason,
            usage={str(key): rates for key, rates in usage.items()},
            cached_images=[str(image) for cache in self._drivers.image_caches for image in cache.list()],
            storage_paths=[
                PathReport(
                    state.path,
                    state.reason,
                    state.total_bytes,
                    state.used_bytes,
                    state.volumes,
                    state.is_configured,
                )
                for state in await storage.list_paths()
            ],
            storage_driver=storage.info.name,
            lacks={name: reason[:MAX_REASON] for name, reason in hypervisor.info.lacks.items()},
        )

    async def _report_forever(self) -> None:
        while True:
            try:
                async with asyncio.timeout(MEASURE_TIMEOUT_SECONDS):
                    report = await self.measure()
                await self._context.publish(CellReported(report=report))
            except NanoError as error:
                if error.code is not ErrorCode.UNAVAILABLE:
                    self._context.log.warning("agent.report_failed", error=str(error))
            except Exception:
                self._context.log.exception("agent.report_failed")
            await asyncio.sleep(self._config.report_interval_seconds)

    async def _send_changes(self) -> None:
        while True:
            guest = await self._changes.get()
            if not guest.is_managed:
                continue
            try:
                await self._context.publish(GuestObserved(guest=guest))
            except NanoError as error:
                # The core asks for the whole inventory when the link is back.
                self._context.log.info("agent.change_not_sent", instance=guest.id, error=str(error))
