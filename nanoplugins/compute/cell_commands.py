"""The commands that workflows send to a cell, built from an instance's record."""

from __future__ import annotations

from collections.abc import Awaitable

from nanocore.capabilities.guest import EnsureSeed, SeedNic
from nanocore.capabilities.hypervisor import (
    ChangePower,
    DefineDisk,
    DefineGuest,
    DefineMedia,
    DefineNic,
    DeleteGuest,
    Observed,
    PowerAction,
)
from nanocore.capabilities.images import EnsureCached
from nanocore.capabilities.network import AllocateAddress, Allocation, DeletePort, EnsurePort, NetworkSpec
from nanocore.capabilities.storage import CreateVolume, DeleteVolume
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import StateStore
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import AddressPoolId, InstanceId, NetworkId, NodeId, StepKey, VolumeId
from nanocore.model.instance import CloudInit, DiskRecord, InstanceRecord, NicRecord
from nanocore.wire import Command, structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.cells import Cells
from nanoplugins.compute.records import COMPUTE_POOLS
from nanoplugins.compute.sources import SourceImage

UNREACHED = frozenset({ErrorCode.UNAVAILABLE, ErrorCode.DEADLINE_EXCEEDED, ErrorCode.UNKNOWN_OUTCOME})


class CellCommands:
    """Each method may be repeated with the same key."""

    def __init__(self, context: PluginContext, cells: Cells) -> None:
        self._context = context
        self._cells = cells

    async def unless_lost(self, node_id: NodeId, command: Awaitable[None]) -> None:
        """Await a removal on a cell; if the cell is lost by then, leave it to reconciliation.

        The instance's tombstone has the cell cleared when it comes back, so nothing waits for a cell that is gone.
        """
        try:
            await command
        except NanoError as error:
            cell = self._cells.find(node_id)
            if error.code not in UNREACHED or (cell is not None and cell.is_reachable):
                raise
            self._context.log.warning("compute.left_to_reconciliation", node=node_id, error=str(error))

    async def allocate(
        self, record: InstanceRecord, nic: NicRecord, network_id: NetworkId | None, address: str | None = None
    ) -> Allocation:
        """Have one address for a network card; the same card gets the same answer."""
        return await self._context.call(
            AllocateAddress(
                network_id=network_id,
                nic_id=nic.id,
                mac=nic.mac,
                instance_id=record.id,
                name=record.name,
                security_policy_id=nic.security_policy_id,
                address=address,
                address_pool_ids=self._address_pools(record),
            )
        )

    def _address_pools(self, record: InstanceRecord) -> list[AddressPoolId]:
        """Return the address pools that the instance's compute pool is limited to."""
        entry = self._context.chosen(StateStore).get(COMPUTE_POOLS, record.compute_pool_id)
        return [] if entry is None else entry.value.address_pool_ids

    async def allocate_for(self, record: InstanceRecord, nic: NicRecord, board: Board) -> NicRecord:
        """Return a new network card with its network and addresses, as they are kept.

        Before it has any, ``addresses`` holds the one that its user asked for.
        """
        wanted = nic.addresses[0] if nic.addresses else None
        allocation = await self.allocate(record, nic, nic.network_id or None, wanted)
        board.network_names[allocation.network.id] = allocation.network.name
        return structs.replace(nic, network_id=allocation.network.id, addresses=allocation.addresses)

    async def ensure_port(self, record: InstanceRecord, nic: NicRecord, key: StepKey) -> None:
        """Have a network card's bridge and its DHCP entry on the instance's cell."""
        allocation = await self.allocate(record, nic, nic.network_id)
        message = EnsurePort(step_key=key, network=allocation.network, port=allocation.port)
        await self._context.call(message, dst=node_of(record))

    async def delete_port(self, node_id: NodeId, nic_id: str, key: StepKey) -> None:
        """Remove a network card's port."""
        await self._context.call(DeletePort(step_key=key, nic_id=nic_id), dst=node_id)

    async def ensure_cached(self, node_id: NodeId, image: SourceImage, key: StepKey) -> None:
        """Have an image in the cell's cache."""
        message = EnsureCached(
            step_key=key, id=image.id, format=image.format, size_bytes=image.size_bytes, sha256=image.sha256
        )
        await self._context.call(message, dst=node_id)

    async def create_volume(self, node_id: NodeId, disk: DiskRecord, key: StepKey) -> None:
        """Make a disk's volume, cloned from its image if it has one."""
        message = CreateVolume(
            step_key=key,
            id=disk.volume_id,
            size_bytes=disk.size_bytes,
            image_id=disk.image_id,
            storage_pool_id=disk.storage_pool_id,
        )
        await self._context.call(message, dst=node_id)

    async def delete_volume(self, node_id: NodeId, id: VolumeId, key: StepKey) -> None:
        """Remove a volume."""
        await self._context.call(DeleteVolume(step_key=key, id=id), dst=node_id)

    async def define(self, record: InstanceRecord, key: StepKey) -> None:
        """Make the guest known to its cell as the record wants it, after its first-boot settings."""
        if record.cloud_init is not None:
            await self._ensure_seed(record, record.cloud_init, key)
        message = DefineGuest(
            step_key=key,
            id=record.id,
            name=record.name,
            vcpus=record.vcpus,
            memory_bytes=record.memory_bytes,
            disks=[DefineDisk(volume_id=disk.volume_id, is_boot=disk.is_boot) for disk in record.disks],
            nics=[define_nic(nic) for nic in record.nics],
            media=[DefineMedia(slot=drive.slot, media_image_id=drive.media_image_id) for drive in record.media],
            firmware=record.firmware,
            has_tpm=record.has_tpm,
            qos=record.qos,
        )
        await self._context.call(message, dst=node_of(record))

    async def change_guest(self, node_id: NodeId, message: Command[Observed]) -> Observed | None:
        """Change a guest as far as its cell allows it now, and note what is seen then.

        ``None``: the cell does not know the guest yet, or can't change it while it runs. It gets everything that its
        record wants when it is defined at its next start.
        """
        try:
            seen = await self._context.call(message, dst=node_id)
        except NanoError as error:
            if error.code not in (ErrorCode.NOT_FOUND, ErrorCode.UNSUPPORTED):
                raise
            self._context.log.info("compute.left_to_next_start", node=node_id, op=message.op, error=str(error))
            return None
        self._cells.put_guest(node_id, seen)
        return seen

    async def _ensure_seed(self, record: InstanceRecord, cloud_init: CloudInit, key: StepKey) -> None:
        nics = []
        for nic in record.nics:
            network = (await self.allocate(record, nic, nic.network_id)).network
            nics.append(seed_nic(nic, network))
        message = EnsureSeed(step_key=key, id=record.id, name=record.name, cloud_init=cloud_init, nics=nics)
        await self._context.call(message, dst=node_of(record))

    async def delete_guest(self, node_id: NodeId, id: InstanceId, key: StepKey) -> None:
        """Cut the guest's power and forget it."""
        await self._context.call(DeleteGuest(step_key=key, id=id), dst=node_id)

    async def change_power(self, record: InstanceRecord, action: PowerAction, key: StepKey) -> Observed:
        """Do one power action and return what is seen afterwards."""
        return await self._context.call(ChangePower(step_key=key, id=record.id, action=action), dst=node_of(record))


def define_nic(nic: NicRecord) -> DefineNic:
    """Return a network card as a cell is told of it."""
    return DefineNic(id=nic.id, mac=nic.mac, network_id=nic.network_id)


def node_of(record: InstanceRecord) -> NodeId:
    """Return the node an instance was placed on; raise ``wrong_state`` before that."""
    if record.node_id is None:
        raise NanoError(ErrorCode.WRONG_STATE, f"instance {record.name} has not been placed yet")
    return record.node_id


def seed_nic(nic: NicRecord, network: NetworkSpec) -> SeedNic:
    """Return what the guest is told of a network card: its IPv6 addresses, as IPv4 comes by DHCP."""
    found = [address for address in nic.addresses if ":" in address]
    if not found or not network.ipv6_cidr:
        return SeedNic(mac=nic.mac)
    length = network.ipv6_cidr.rpartition("/")[2]
    addresses = [f"{address}/{length}" for address in found]
    return SeedNic(mac=nic.mac, addresses=addresses, gateway=network.ipv6_gateway or None)
