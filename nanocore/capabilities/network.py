"""Networks: core-side allocation, and the driver that makes bridges, NAT and DHCP on a cell.

What else users ask of networks, address pools and security policies is in ``network_api``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from nanocore.contracts.listing import ListQuery, PageInfo
from nanocore.ids import AddressPoolId, InstanceId, NetworkId, SecurityPolicyId, StepKey
from nanocore.model.network import Network, NetworkMode, PolicyAction, PolicyRule
from nanocore.wire import Command, Query, Result, Struct, field


class NetworkSpec(Struct, frozen=True, kw_only=True):
    """A network as a cell makes it; ``gateway`` is the cell's own address in it."""

    id: NetworkId
    name: str
    mode: NetworkMode
    cidr: str = ""
    """Empty for ``bridge``, whose addresses the LAN gives."""
    gateway: str = ""
    domain: str = ""
    ipv6_cidr: str = ""
    ipv6_gateway: str = ""
    interface: str = ""
    """Only ``bridge``: the cell's device on the LAN."""


class PolicySpec(Struct, frozen=True, kw_only=True):
    """A security policy as a cell enforces it; the first rule that matches decides, else the direction's default."""

    id: SecurityPolicyId
    name: str
    default_inbound: PolicyAction
    default_outbound: PolicyAction
    rules: list[PolicyRule] = field(default_factory=list)


class PortSpec(Struct, frozen=True, kw_only=True):
    """One network card's place in a network: DHCP answers this MAC with these addresses and this name.

    ``addresses`` are IPv4 and IPv6; without ``policy`` everything may pass.
    """

    nic_id: str
    mac: str
    addresses: list[str]
    hostname: str
    policy: PolicySpec | None = None


class PortInfo(Struct, frozen=True, kw_only=True):
    """How a guest's card joins its network on this node; goes into ``NicSpec``."""

    bridge: str
    device: str | None = None
    """The name that the tap device must have, as rules name it; ``None``: any."""
    is_isolated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkDriverInfo:
    """Facts that a caller may branch on."""

    name: str
    has_nat: bool = True
    has_dhcp: bool = True
    has_policies: bool = True
    has_ipv6: bool = True
    modes: frozenset[NetworkMode] = frozenset(NetworkMode)


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
        """Make network and port if need be, or change them to this; return the bridge's name.

        What the guest has open and may still have goes on. Raises ``invalid_argument``, ``conflict`` (the node has
        another way to these addresses, or another card has the MAC or an address), ``unsupported``, ``unavailable``.
        """
        ...

    async def update_port(self, network: NetworkSpec, port: PortSpec) -> bool:
        """As ``ensure_port``, but only for a port that exists; return whether it does."""
        ...

    async def delete_port(self, nic_id: str) -> None:
        """Remove a port; a network without ports and ``keep`` is taken down too; absent is fine."""
        ...

    async def get_port(self, nic_id: str) -> PortInfo:
        """Return how a guest's card joins its port; ``not_found``."""
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


class NetworkPort(Struct, frozen=True, kw_only=True):
    """A port of one of the networks named beside it."""

    network_id: NetworkId
    port: PortSpec


class UpdatePorts(Command[None], frozen=True, kw_only=True):
    """Core to cell: bring ports that exist there in line, live; the others are left out without an error."""

    op: ClassVar[str] = "network.update_ports"
    timeout_seconds: ClassVar[float] = 60
    is_idempotent: ClassVar[bool] = True

    networks: list[NetworkSpec]
    ports: list[NetworkPort]


class DeletePort(Command[None], frozen=True, kw_only=True):
    """Core to cell; absent is fine."""

    op: ClassVar[str] = "network.delete_port"
    timeout_seconds: ClassVar[float] = 60
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    nic_id: str


class Allocation(Result, frozen=True, kw_only=True):
    """What a network card has: its network and its port, as ``EnsurePort`` and ``UpdatePorts`` take them."""

    network: NetworkSpec
    addresses: list[str]
    port: PortSpec


class AllocateAddress(Command[Allocation], frozen=True, kw_only=True):
    """On the core, by ``compute``: what one network card has, allocated if it has nothing yet.

    The same card gets the same addresses, while a changed ``name``, ``mac`` or ``security_policy_id`` is taken over:
    so the way to change a card's policy is this call and then ``UpdatePorts``. ``network_id`` ``None`` means the
    default network. Raises ``not_found`` for an unknown network or policy, ``no_capacity`` when nothing is free,
    ``conflict`` when a wanted ``address`` has an owner, ``invalid_argument`` when it is no address of the network, and
    ``unsupported`` for a policy or an address in a network of mode ``bridge``.
    """

    op: ClassVar[str] = "network.allocate_address"
    is_idempotent: ClassVar[bool] = True

    network_id: NetworkId | None = None
    nic_id: str
    mac: str
    instance_id: InstanceId
    name: str
    address: str | None = None
    """The wanted IPv4 address; ``None``: the lowest free one. IPv6 follows from it."""
    address_pool_ids: list[AddressPoolId] = field(default_factory=list)
    """Only from these address pools, where the network has one of them."""
    security_policy_id: SecurityPolicyId | None = None


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
