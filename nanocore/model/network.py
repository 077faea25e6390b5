"""Networks, address pools, the addresses allocated from them, and security policies."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from nanocore.ids import AddressPoolId, InstanceId, NetworkId, SecurityPolicyId
from nanocore.wire import Meta, Result, Struct, field


class NetworkMode(StrEnum):
    """How a network reaches the outside."""

    NAT = "nat"
    """By the cell, which translates addresses; nobody outside comes in."""
    ISOLATED = "isolated"
    """Not at all: guests reach each other and the cell's DHCP and DNS."""
    BRIDGE = "bridge"
    """Guests are on the LAN of a device of the cell; the LAN gives addresses."""


class NetworkRecord(Struct, frozen=True, kw_only=True):
    """What the store holds."""

    id: NetworkId
    name: str
    description: str = ""
    mode: NetworkMode = NetworkMode.NAT
    cidr: str = ""
    """IPv4 network; its first address is the gateway and DNS server on every cell. Empty for ``bridge``."""
    ipv6_cidr: str = ""
    """IPv6 network, or empty; a card's host number in it is that of its IPv4 address."""
    domain: str = "nano.internal"
    interface: str = ""
    """Only ``bridge``: the device or bridge of a cell that is on the LAN."""
    is_default: bool = False
    created_at: datetime


class AllocationRecord(Struct, frozen=True, kw_only=True):
    """One address of a network, given to one network card; key ``<network id>/<address>``."""

    network_id: NetworkId
    address: str
    mac: str
    nic_id: str
    instance_id: InstanceId
    name: str


class NetworkCardRecord(Struct, frozen=True, kw_only=True):
    """Where a network card is plugged in, whether or not it has addresses; key is the card's id."""

    nic_id: str
    network_id: NetworkId
    mac: str
    instance_id: InstanceId
    name: str
    security_policy_id: SecurityPolicyId | None = None


class Network(Result, frozen=True, kw_only=True):
    """As the API shows it. Addresses are counted by IPv4."""

    id: NetworkId
    name: str
    description: str = ""
    mode: NetworkMode
    cidr: str
    gateway: str
    ipv6_cidr: str = ""
    ipv6_gateway: str = ""
    domain: str
    interface: str = ""
    is_default: bool
    nics_attached: int = 0
    """Network cards that are plugged into it."""
    addresses_total: int
    addresses_allocated: int
    addresses_reserved: int = 0
    tags: list[str] = field(default_factory=list)
    created_at: datetime


class AddressRange(Struct, frozen=True, kw_only=True):
    """Both ends belong to it."""

    first: Annotated[str, Meta(description="Lowest IPv4 address", max_length=15, examples=["10.20.0.10"])]
    last: Annotated[str, Meta(description="Highest IPv4 address", max_length=15, examples=["10.20.0.99"])]


class AddressPoolRecord(Struct, frozen=True, kw_only=True):
    """What the store holds."""

    id: AddressPoolId
    name: str
    description: str = ""
    network_id: NetworkId
    ranges: list[AddressRange]
    created_at: datetime


class AddressPool(Result, frozen=True, kw_only=True):
    """As the API shows it."""

    id: AddressPoolId
    name: str
    description: str = ""
    network_id: NetworkId
    network: str
    ranges: list[AddressRange]
    addresses_total: int
    addresses_allocated: int
    addresses_reserved: int
    created_at: datetime


class ReservationRecord(Struct, frozen=True, kw_only=True):
    """An address that only who names it gets; key ``<network id>/<address>``."""

    network_id: NetworkId
    address: str
    address_pool_id: AddressPoolId
    description: str = ""
    created_at: datetime


class Reservation(Result, frozen=True, kw_only=True):
    """As the API shows it; ``nic_id`` and ``instance_id`` are set while a network card has the address."""

    id: str
    address: str
    ipv6_address: str | None = None
    address_pool_id: AddressPoolId
    description: str = ""
    nic_id: str | None = None
    instance_id: InstanceId | None = None
    created_at: datetime


class PolicyAction(StrEnum):
    """What becomes of a connection."""

    ACCEPT = "accept"
    DROP = "drop"


class PolicyDirection(StrEnum):
    """Seen from the guest."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class PolicyProtocol(StrEnum):
    """``icmp`` is that of IPv4 and of IPv6."""

    ANY = "any"
    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"


class PolicyRule(Struct, frozen=True, kw_only=True):
    """Which new connections a rule is about; answers to them pass by themselves."""

    direction: PolicyDirection
    action: PolicyAction
    protocol: PolicyProtocol = PolicyProtocol.ANY
    ports: Annotated[
        Annotated[str, Meta(max_length=200)] | None,
        Meta(description="Ports that are connected to, such as `22,80-90`; tcp and udp only"),
    ] = None
    remote: Annotated[
        Annotated[str, Meta(max_length=64)] | None,
        Meta(description="The other side's IPv4 or IPv6 network; everybody without it"),
    ] = None
    description: Annotated[str, Meta(description="Free text", max_length=200)] = ""


class SecurityPolicyRecord(Struct, frozen=True, kw_only=True):
    """What the store holds."""

    id: SecurityPolicyId
    name: str
    description: str = ""
    default_inbound: PolicyAction = PolicyAction.DROP
    default_outbound: PolicyAction = PolicyAction.ACCEPT
    rules: list[PolicyRule] = field(default_factory=list)
    created_at: datetime


class SecurityPolicy(Result, frozen=True, kw_only=True):
    """As the API shows it."""

    id: SecurityPolicyId
    name: str
    description: str = ""
    default_inbound: PolicyAction
    default_outbound: PolicyAction
    rules: list[PolicyRule]
    nics_attached: int = 0
    """Network cards that it is assigned to."""
    created_at: datetime
