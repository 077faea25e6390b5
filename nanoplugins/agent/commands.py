"""Handlers of the core's commands. Each is idempotent, because each driver call is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from nanocore.capabilities.hypervisor import (
    ChangePower,
    Console,
    DeleteGuest,
    GetGuest,
    GetInventory,
    Inventory,
    Observed,
    OpenConsole,
    PowerAction,
)
from nanocore.capabilities.network import DeletePort, EnsurePort, UpdatePorts
from nanocore.capabilities.storage import CreateVolume, DeleteVolume, VolumeInfo, VolumeSpec
from nanocore.contracts.handler import CORE_ONLY, Call, Handler
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.stream import Stream
from nanocore.errors import ErrorCode, NanoError
from nanocore.failpoints import fail_point
from nanocore.wire import Request
from nanoplugins.agent.drivers import Drivers
from nanoplugins.agent.guests import GuestCommands, cached_image
from nanoplugins.agent.reporter import Reporter
from nanoplugins.agent.storage import StorageCommands


class Commands:
    """What a cell does for its core."""

    def __init__(self, context: PluginContext, drivers: Drivers, reporter: Reporter) -> None:
        self._context = context
        self._drivers = drivers
        self._reporter = reporter
        self._guests = GuestCommands(context, drivers)
        self._storage = StorageCommands(drivers, self._guests)

    def handlers(self) -> list[Handler]:
        """Return one handler a command; a cell obeys cores only."""
        changes: dict[type[Request[Any]], Callable[[Any, Call], Awaitable[Any]]] = {
            DeleteGuest: self._delete_guest,
            ChangePower: self._change_power,
            CreateVolume: self._create_volume,
            DeleteVolume: self._delete_volume,
            EnsurePort: self._ensure_port,
            DeletePort: self._delete_port,
            **self._storage.changes(),
            **self._guests.changes(),
        }
        return [
            *self._storage.questions(),
            *self._guests.questions(),
            *(Handler(message, _with_fail_points(call), CORE_ONLY) for message, call in changes.items()),
            # No points to fail at: the core tells this at every start of a cell, before anything that a test kills.
            Handler(UpdatePorts, self._update_ports, CORE_ONLY),
            Handler(GetGuest, self._get_guest, CORE_ONLY),
            Handler(GetInventory, self._get_inventory, CORE_ONLY),
            Handler(OpenConsole, self._open_console, CORE_ONLY, is_stream=True),
        ]

    async def _delete_guest(self, message: DeleteGuest, _call: Call) -> None:
        await self._drivers.hypervisor.delete(message.id)
        await self._guests.delete_seed(message.id, message.step_key)

    async def _change_power(self, message: ChangePower, _call: Call) -> Observed:
        driver = self._drivers.hypervisor
        calls = {
            PowerAction.START: driver.start,
            PowerAction.SHUT_DOWN: driver.shut_down,
            PowerAction.POWER_OFF: driver.power_off,
            PowerAction.REBOOT: driver.reboot,
            PowerAction.RESET: driver.reset,
            PowerAction.PAUSE: driver.pause,
            PowerAction.RESUME: driver.resume,
            PowerAction.SUSPEND: driver.suspend,
            PowerAction.RESTORE: driver.restore,
        }
        await calls[message.action](message.id)
        return await driver.get(message.id)

    async def _get_guest(self, message: GetGuest, _call: Call) -> Observed:
        return await self._drivers.hypervisor.get(message.id)

    async def _get_inventory(self, _message: GetInventory, _call: Call) -> Inventory:
        volumes = await self._drivers.storage.list()
        return Inventory(
            guests=await self._drivers.hypervisor.list(),
            volumes=[volume.id for volume in volumes],
            volume_infos=volumes,
            ports=await self._drivers.network.list_ports(),
            seeds=await self._guests.seeds(),
            report=await self._reporter.measure(),
        )

    async def _create_volume(self, message: CreateVolume, _call: Call) -> VolumeInfo:
        image = None if message.image_id is None else cached_image(self._drivers, message.image_id)
        return await self._drivers.storage.create(
            VolumeSpec(
                id=message.id,
                size_bytes=message.size_bytes,
                image_path=None if image is None else str(image.path),
                image_format=None if image is None else image.format,
                storage_pool_id=message.storage_pool_id,
            )
        )

    async def _delete_volume(self, message: DeleteVolume, _call: Call) -> None:
        await self._drivers.storage.delete(message.id)

    async def _ensure_port(self, message: EnsurePort, _call: Call) -> None:
        await self._drivers.network.ensure_port(message.network, message.port)

    async def _update_ports(self, message: UpdatePorts, _call: Call) -> None:
        networks = {network.id: network for network in message.networks}
        for each in message.ports:
            network = networks.get(each.network_id)
            if network is None:
                text = f"network {each.network_id[:80]} of port {each.port.nic_id[:80]} is not among networks"
                raise NanoError(ErrorCode.INVALID_ARGUMENT, text, field="ports")
            await self._drivers.network.update_port(network, each.port)

    async def _delete_port(self, message: DeletePort, _call: Call) -> None:
        await self._drivers.network.delete_port(message.nic_id)

    async def _open_console(self, message: OpenConsole, call: Call) -> None:
        stream = call.stream
        if stream is None:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"{message.op} is sent as a stream")
        console = await self._drivers.hypervisor.open_console(message.id, message.kind)
        await _connect(console, stream)


def _with_fail_points(call: Callable[[Any, Call], Awaitable[Any]]) -> Callable[[Any, Call], Awaitable[Any]]:
    async def run(message: Request[Any], context: Call) -> Any:  # noqa: ANN401  the command's own result
        fail_point(f"cell/{message.op}/received")
        result = await call(message, context)
        fail_point(f"cell/{message.op}/done")
        return result

    return run


async def _connect(console: Console, stream: Stream) -> None:
    """Carry bytes both ways until either side ends."""

    async def to_guest() -> None:
        while (chunk := await stream.receive()) is not None:
            await console.write(chunk)

    async def from_guest() -> None:
        while chunk := await console.read():
            await stream.send(chunk)

    ways = [asyncio.create_task(to_guest()), asyncio.create_task(from_guest())]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        await console.close()
        await stream.close()
