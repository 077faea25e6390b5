"""Handlers of the core's commands that change guests: they find paths and bridges, the hypervisor does the rest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from nanocore.capabilities.guest import AgentAnswer, DeleteSeed, FindAgentAnswer, FindSeed, ListSeeds, SeedPaths
from nanocore.capabilities.guest_changes import (
    AttachDisk,
    AttachNic,
    CancelCopy,
    ChangeMedia,
    ChangeQos,
    DetachDisk,
    DetachNic,
    FreezeGuest,
    FrozenFileSystems,
    GetCopy,
    Quiesced,
    ResizeGuest,
    StartCopy,
    ThawGuest,
)
from nanocore.capabilities.hypervisor import (
    CopyProgress,
    DefineDisk,
    DefineGuest,
    DefineMedia,
    DefineNic,
    DiskCopy,
    DiskSpec,
    GuestSpec,
    MediaSpec,
    NicSpec,
    Observed,
)
from nanocore.capabilities.storage import CachedImage
from nanocore.contracts.handler import CORE_ONLY, Call, Handler
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId, InstanceId, StepKey
from nanocore.wire import Request, decode_json, encode_json
from nanoplugins.agent.drivers import Drivers

FREEZE_SECONDS = 30.0
"""How long a guest may stay frozen for a moment that counts; thawed long before, unless something dies."""
LET_GO_SECONDS = 60.0


class GuestCommands:
    """What a cell does with guests for its core."""

    def __init__(self, context: PluginContext, drivers: Drivers) -> None:
        self._context = context
        self._drivers = drivers

    def changes(self) -> dict[type[Request[Any]], Callable[[Any, Call], Awaitable[Any]]]:
        """Return what changes something, by message."""
        return {
            DefineGuest: self._define,
            AttachDisk: self._attach_disk,
            DetachDisk: self._detach_disk,
            AttachNic: self._attach_nic,
            DetachNic: self._detach_nic,
            ChangeMedia: self._set_media,
            ResizeGuest: self._resize,
            ChangeQos: self._set_qos,
            StartCopy: self._start_copy,
            CancelCopy: self._cancel_copy,
            FreezeGuest: self._freeze,
            ThawGuest: self._thaw,
        }

    def questions(self) -> list[Handler]:
        """Return what only asks."""
        return [
            Handler(GetCopy, self._get_copy, CORE_ONLY),
            Handler(FindAgentAnswer, self._find_agent_answer, frozenset()),
        ]

    async def delete_seed(self, id: InstanceId, key: StepKey) -> None:
        """Remove the first-boot settings, which go with the guest."""
        with _without_guest_tools():
            await self._context.call(DeleteSeed(step_key=key, id=id), dst=self._context.node.id)

    async def seeds(self) -> list[InstanceId]:
        """Return which instances have first-boot settings here."""
        with _without_guest_tools():
            return (await self._context.call(ListSeeds(), dst=self._context.node.id)).ids
        return []

    async def _seed(self, id: InstanceId) -> SeedPaths:
        with _without_guest_tools():
            return await self._context.call(FindSeed(id=id), dst=self._context.node.id)
        return SeedPaths()

    async def _find_agent_answer(self, message: FindAgentAnswer, _call: Call) -> AgentAnswer:
        arguments = decode_json(message.arguments.encode(), dict)
        answer = await self._drivers.hypervisor.agent_command(
            message.id, message.execute, arguments or None, timeout_seconds=message.seconds
        )
        return AgentAnswer(text=encode_json(answer).decode())

    async def _define(self, message: DefineGuest, _call: Call) -> None:
        seed = await self._seed(message.id)
        await self._drivers.hypervisor.define(
            GuestSpec(
                id=message.id,
                name=message.name,
                vcpus=message.vcpus,
                memory_bytes=message.memory_bytes,
                disks=[await self._disk(disk) for disk in message.disks],
                nics=[await self._nic(nic) for nic in message.nics],
                media=[self._medium(drive) for drive in message.media],
                firmware=message.firmware,
                has_tpm=message.has_tpm,
                qos=message.qos,
                seed_path=seed.seed_path,
                signal_path=seed.signal_path,
                step_key=message.step_key,
            )
        )

    async def _attach_disk(self, message: AttachDisk, _call: Call) -> Observed:
        await self._drivers.hypervisor.attach_disk(message.id, await self._disk(message.disk))
        return await self._drivers.hypervisor.get(message.id)

    async def _detach_disk(self, message: DetachDisk, _call: Call) -> Observed:
        driver = self._drivers.hypervisor
        await driver.detach_disk(message.id, message.volume_id, timeout_seconds=LET_GO_SECONDS)
        return await driver.get(message.id)

    async def _attach_nic(self, message: AttachNic, _call: Call) -> Observed:
        await self._drivers.hypervisor.attach_nic(message.id, await self._nic(message.nic))
        return await self._drivers.hypervisor.get(message.id)

    async def _detach_nic(self, message: DetachNic, _call: Call) -> Observed:
        driver = self._drivers.hypervisor
        await driver.detach_nic(message.id, message.nic_id, timeout_seconds=LET_GO_SECONDS)
        return await driver.get(message.id)

    async def _set_media(self, message: ChangeMedia, _call: Call) -> Observed:
        medium = self._medium(DefineMedia(slot=message.slot, media_image_id=message.media_image_id))
        driver = self._drivers.hypervisor
        await driver.set_media(message.id, medium.slot, medium.path, is_forced=message.is_forced)
        return await driver.get(message.id)

    async def _resize(self, message: ResizeGuest, _call: Call) -> Observed:
        driver = self._drivers.hypervisor
        return await driver.resize(message.id, vcpus=message.vcpus, memory_bytes=message.memory_bytes)

    async def _set_qos(self, message: ChangeQos, _call: Call) -> Observed:
        return await self._drivers.hypervisor.set_qos(message.id, message.qos)

    async def _start_copy(self, message: StartCopy, _call: Call) -> Quiesced:
        copies = [
            DiskCopy(
                volume_id=volume.volume_id,
                target=await self._disk(DefineDisk(volume_id=volume.target_id)),
            )
            for volume in message.volumes
        ]
        driver = self._drivers.hypervisor
        return await self.quiesced(message.id, lambda: driver.start_copy(message.id, copies))

    async def _get_copy(self, message: GetCopy, _call: Call) -> CopyProgress:
        return await self._drivers.hypervisor.get_copy(message.id)

    async def _cancel_copy(self, message: CancelCopy, _call: Call) -> None:
        try:
            await self._drivers.hypervisor.cancel_copy(message.id)
        except NanoError as error:
            if error.code is not ErrorCode.NOT_FOUND:
                raise

    async def _freeze(self, message: FreezeGuest, _call: Call) -> FrozenFileSystems:
        count = await self._drivers.hypervisor.freeze(message.id, timeout_seconds=message.seconds)
        return FrozenFileSystems(count=count)

    async def _thaw(self, message: ThawGuest, _call: Call) -> None:
        await self._drivers.hypervisor.thaw(message.id)

    async def quiesced(self, id: InstanceId, act: Callable[[], Awaitable[None]]) -> Quiesced:
        """Act while the guest's file systems are frozen, or as they are where no agent freezes them; thaw always."""
        driver = self._drivers.hypervisor
        try:
            await driver.freeze(id, timeout_seconds=FREEZE_SECONDS)
        except NanoError as error:
            await act()
            return Quiesced(is_consistent=False, reason=error.message)
        try:
            await act()
        finally:
            with suppress(NanoError):  # the driver thaws it by itself then, at the deadline
                await driver.thaw(id)
        return Quiesced(is_consistent=True)

    async def _disk(self, disk: DefineDisk) -> DiskSpec:
        volume = await self._drivers.storage.get(disk.volume_id)
        return DiskSpec(volume_id=disk.volume_id, path=volume.path, format=volume.format, is_boot=disk.is_boot)

    async def _nic(self, nic: DefineNic) -> NicSpec:
        port = await self._drivers.network.get_port(nic.id)
        return NicSpec(id=nic.id, mac=nic.mac, bridge=port.bridge, device=port.device, is_isolated=port.is_isolated)

    def _medium(self, drive: DefineMedia) -> MediaSpec:
        if drive.media_image_id is None:
            return MediaSpec(slot=drive.slot)
        return MediaSpec(slot=drive.slot, path=str(cached_image(self._drivers, drive.media_image_id).path))


@contextmanager
def _without_guest_tools() -> Iterator[None]:
    """Pass over a question that only ``guest_tools`` answers, where that plugin is not enabled."""
    try:
        yield
    except NanoError as error:
        if error.code is not ErrorCode.UNIMPLEMENTED:
            raise


def cached_image(drivers: Drivers, image_id: ImageId) -> CachedImage:
    """Return an image that is in the cell's cache; ``not_found``."""
    for cache in drivers.image_caches:
        found = cache.find(image_id)
        if found is not None:
            return found
    raise NanoError(ErrorCode.NOT_FOUND, f"image {image_id} is not in this cell's cache; ensure_cached comes first")
