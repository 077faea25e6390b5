"""Handlers of the core's commands. Each is idempotent, because each driver call is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from nanocore.capabilities.hypervisor import (
    ChangePower,
    Console,
    DefineGuest,
    DeleteGuest,
    DiskSpec,
    GetGuest,
    GetInventory,
    GuestSpec,
    Inventory,
    NicSpec,
    Observed,
    OpenConsole,
    PowerAction,
)
from nanocore.capabilities.network import DeletePort, EnsurePort, UpdatePorts
from nanocore.capabilities.storage import CachedImage, CreateVolume, DeleteVolume, VolumeInfo, VolumeSpec
from nanocore.contracts.handler import CORE_ONLY, Call, Handler
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.stream import Stream
from nanocore.errors import ErrorCode, NanoError
from nanocore.failpoints import fail_point
from nanocore.ids import ImageId, VolumeId
from nanocore.wire import Request
from nanoplugins.agent.drivers import Drivers
from nanoplugins.agent.reporter import Reporter
from nanoplugins.agent.storage import StorageCommands


class Commands:
    """What a cell does for its core."""

    def __init__(self, context: PluginContext, drivers: Drivers, reporter: Reporter) -> None:
        self._context = context
        self._drivers = drivers
        self._reporter = reporter
        self._storage = StorageCommands(drivers)

    def handlers(self) -> list[Handler]:
        """Return one handler a command; a cell obeys cores only."""
        changes: dict[type[Request[Any]], Callable[[Any, Call], Awaitable[Any]]] = {
            DefineGuest: self._define_guest,
            DeleteGuest: self._delete_guest,
            ChangePower: self._change_power,
            CreateVolume: self._create_volume,
            DeleteVolume: self._delete_volume,
            EnsurePort: self._ensure_port,
            UpdatePorts: self._update_ports,
            DeletePort: self._delete_port,
            **self._storage.changes(),
        }
        return [
            *self._storage.questions(),
            *(Handler(message, _with_fail_points(call), CORE_ONLY) for message, call in changes.items()),
            Handler(GetGuest, self._get_guest, CORE_ONLY),
            Handler(GetInventory, self._get_inventory, CORE_ONLY),
            Handler(OpenConsole, self._open_console, CORE_ONLY, is_stream=True),
        ]

    async def _define_guest(self, message: DefineGuest, _call: Call) -> None:
        disks = [await self._disk(disk.volume_id, is_boot=disk.is_boot) for disk in message.disks]
        nics = [await self._nic(nic.id, nic.mac) for nic in message.nics]
        await self._drivers.hypervisor.define(
            GuestSpec(
                id=message.id,
                name=message.name,
                vcpus=message.vcpus,
                memory_bytes=message.memory_bytes,
                disks=disks,
                nics=nics,
                step_key=message.step_key,
            )
        )

    async def _disk(self, volume_id: VolumeId, *, is_boot: bool) -> DiskSpec:
        volume = await self._drivers.storage.get(volume_id)
        return DiskSpec(volume_id=volume_id, path=volume.path, format=volume.format, is_boot=is_boot)

    async def _nic(self, id: str, mac: str) -> NicSpec:
        port = await self._drivers.network.get_port(id)
        return NicSpec(id=id, mac=mac, bridge=port.bridge, device=port.device, is_isolated=port.is_isolated)

    async def _delete_guest(self, message: DeleteGuest, _call: Call) -> None:
        await self._drivers.hypervisor.delete(message.id)

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
            report=await self._reporter.measure(),
        )

    async def _create_volume(self, message: CreateVolume, _call: Call) -> VolumeInfo:
        image = None if message.image_id is None else self._cached(message.image_id)
        return await self._drivers.storage.create(
            VolumeSpec(
                id=message.id,
                size_bytes=message.size_bytes,
                image_path=None if image is None else str(image.path),
                image_format=None if image is None else image.format,
                storage_pool_id=message.storage_pool_id,
            )
        )

    def _cached(self, image_id: ImageId) -> CachedImage:
        for cache in self._drivers.image_caches:
            found = cache.find(image_id)
            if found is not None:
                return found
        raise NanoError(ErrorCode.NOT_FOUND, f"image {image_id} is not in this cell's cache; ensure_cached comes first")

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
