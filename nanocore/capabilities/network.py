"""Networks: core-side allocation, and the driver that makes bridges, NAT and DHCP on a cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from nanocore.contracts.listing import ListQuery, PageInfo
from nanocore.ids import InstanceId, NetworkId, StepKey
from nanocore.model.network import Network, NetworkMode
from nanocore.wire import Command, Query, Result, Struct, field


class NetworkSpec(Struct, frozen=True, kw_only=True):
    """A network as a cell makes it; ``gateway`` is the cell's own address in it."""

    id: NetworkId
    name: str
    mode: NetworkMode
    cidr: str
    gateway: str
    domain: str


class PortSpec(Struct, frozen=True, kw_only=True):
    """One network card's place in a network: DHCP answers this MAC with these addresses and this name."""

    nic_id: str
    mac: str
    addresses: list[str]
    hostname: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkDriverInfo:
    """Facts that a caller may branch on."""

    name: str
    has_nat: bool = True
    has_dhcp: bool = True


class NetworkDriver(Protocol):
    """Declared by ``nano_network_drivers``; one is picked by ``[agent] network``."""

    name: str

    @property
    def info(self) -> NetworkDriverInfo:
        """Return the facts; complete after ``open``."""
        ...

    async def open(self) -> None:
        """Find what is left from before and adopt it (a restart never interrupts a guest's network)."""
        ...

    async def close(self) -> None:
        """Let go; bridges and DHCP stay, as guests use them."""
        ...

    async def ensure_port(self, network: NetworkSpec, port: PortSpec) -> str:
        """Make network and port if need be; return the bridge's name."""
        ...

    async def delete_port(self, nic_id: str) -> None:
        """Remove a port; a network without ports and ``keep`` is taken down too; absent is fine."""
        ...

    async def bridge_of(self, nic_id: str) -> str:
        """Return the name of the bridge that a port is on; ``not_found``."""
        ...

    async def list_ports(self) -> list[str]:
        """Return the ids of all network cards with a port."""
        ...

    async def remove_all(self) -> None:
        """Take down everything this driver made on this node (uninstall)."""
        ...


class EnsurePort(Command[None], frozen=True, kw_only=True):
    """Core to cell."""

    op: ClassVar[str] = "network.ensure_port"
    timeout_seconds: ClassVar[float] = 60
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    network: NetworkSpec
    port: PortSpec


class DeletePort(Command[None], frozen=True, kw_only=True):
    """Core to cell; absent is fine."""

    op: ClassVar[str] = "network.delete_port"
    timeout_seconds: ClassVar[float] = 60
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    nic_id: str


class Allocation(Result, frozen=True, kw_only=True):
    """What a new network card got."""

    network: NetworkSpec
    addresses: list[str]


class AllocateAddress(Command[Allocation], frozen=True, kw_only=True):
    """On the core, by ``compute``: one address for one network card; the same card gets the same answer.

    ``network_id`` ``None`` means the default network. Raises ``no_capacity`` when the network is full.
    """

    op: ClassVar[str] = "network.allocate_address"
    is_idempotent: ClassVar[bool] = True

    network_id: NetworkId | None = None
    nic_id: str
    mac: str
    instance_id: InstanceId
    name: str


class ReleaseAddress(Command[None], frozen=True, kw_only=True):
    """On the core, by ``compute``: free what a network card holds; absent is fine."""

    op: ClassVar[str] = "network.release_address"
    is_idempotent: ClassVar[bool] = True

    nic_id: str


class AllocatedNics(Result, frozen=True, kw_only=True):
    """Every network card that holds an address, with its instance."""

    nics: dict[str, InstanceId] = field(default_factory=dict)


class ListAllocations(Query[AllocatedNics], frozen=True, kw_only=True):
    """On the core, by ``compute``, for reconciliation."""

    op: ClassVar[str] = "network.list_allocations"


class ListNetworks(ListQuery, Query[PageInfo], frozen=True, kw_only=True):
    """A page of networks."""

    op: ClassVar[str] = "network.list_networks"
    permission: ClassVar[str | None] = "network.read"


class GetNetwork(Query[Network], frozen=True, kw_only=True):
    """One network; id or, from the platform itself, empty for the default one."""

    op: ClassVar[str] = "network.get_network"
    permission: ClassVar[str | None] = "network.read"

    id: NetworkId
