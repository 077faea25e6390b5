"""The cell's three drivers, picked by name and opened in the background until they are there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeVar

from nanocore.capabilities.hypervisor import AgentReady, HypervisorDriver, Observed
from nanocore.capabilities.network import NetworkDriver
from nanocore.capabilities.storage import ImageCache, StorageDriver
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ConfigError, ErrorCode, NanoError
from nanoplugins.agent.config import AgentConfig

D = TypeVar("D")


class Drivers:
    """Holds the drivers; a call while they are not open raises ``unavailable`` with the reason."""

    name = "agent.drivers"
    after: tuple[str, ...] = ()

    def __init__(self, context: PluginContext, on_change: Callable[[Observed], None]) -> None:
        self._context = context
        self._config = context.config(AgentConfig)
        self._on_change = on_change
        self._problem: str | None = "the cell's drivers are still being opened"
        self._opening: asyncio.Task[None] | None = None
        self._hypervisor: HypervisorDriver | None = None
        self._storage: StorageDriver | None = None
        self._network: NetworkDriver | None = None

    async def start(self) -> None:
        """Pick the drivers (an unknown name stops the service) and open them; give them 10 s before going on alone."""
        self._hypervisor = _pick(self._context.collected(HypervisorDriver), self._config.hypervisor, "hypervisor")
        self._storage = _pick(self._context.collected(StorageDriver), self._config.storage, "storage")
        self._network = _pick(self._context.collected(NetworkDriver), self._config.network, "network")
        self._opening = asyncio.create_task(self._open(), name="agent.open")
        await asyncio.wait({self._opening}, timeout=10)

    async def stop(self) -> None:
        """Close the drivers; guests run on."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        self._problem = "the node is stopping"
        for driver in (self._hypervisor, self._network, self._storage):
            if driver is not None:
                await driver.close()

    async def check(self) -> str | None:
        """Return why the cell can't work, or ``None``."""
        return self._problem

    @property
    def hypervisor(self) -> HypervisorDriver:
        """Return the open hypervisor driver."""
        return self._need(self._hypervisor)

    @property
    def storage(self) -> StorageDriver:
        """Return the open storage driver."""
        return self._need(self._storage)

    @property
    def network(self) -> NetworkDriver:
        """Return the open network driver."""
        return self._need(self._network)

    @property
    def image_caches(self) -> list[ImageCache]:
        """Return the cell's image caches."""
        return list(self._context.collected(ImageCache).values())

    def _need(self, driver: D | None) -> D:
        if self._problem is not None or driver is None:
            raise NanoError(
                ErrorCode.UNAVAILABLE, f"cell {self._context.node.name}: {self._problem}", reason="agent.drivers"
            )
        return driver

    async def _open(self) -> None:
        assert self._hypervisor is not None  # noqa: S101  set by start
        assert self._storage is not None  # noqa: S101
        assert self._network is not None  # noqa: S101
        pending: dict[str, Callable[[], Awaitable[None]]] = {
            f"storage {self._storage.name}": self._storage.open,
            f"network {self._network.name}": self._network.open,
            f"hypervisor {self._hypervisor.name}": partial(self._hypervisor.open, self._on_change),
        }
        while pending:
            for what, open_driver in list(pending.items()):
                try:
                    await open_driver()
                    del pending[what]
                except Exception as error:
                    self._problem = f"{what} can't be opened: {error}"
                    self._context.log.warning(
                        "agent.driver_not_open",
                        driver=what,
                        error=str(error),
                        exc_info=not isinstance(error, NanoError),
                    )
            if pending:
                await asyncio.sleep(self._config.reopen_seconds)
        self._problem = None
        self._context.log.info(
            "agent.ready", hypervisor=self._hypervisor.name, accelerator=self._hypervisor.info.accelerator
        )
        await self.announce()

    async def announce(self) -> None:
        """Tell the core that the drivers are open, so that it asks for the inventory."""
        if self._problem is None:
            await self._context.publish(AgentReady(node_id=self._context.node.id))


def _pick(found: Mapping[str, D], name: str, kind: str) -> D:
    if name not in found:
        there = ", ".join(sorted(found)) or "none"
        raise ConfigError(f"no {kind} driver is called {name!r}; there are: {there}", key=f"[agent] {kind}")
    return found[name]
