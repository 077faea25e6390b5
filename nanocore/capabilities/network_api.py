"""What users ask of networks, address pools and security policies; answered by plugin ``network`` on the core."""

from __future__ import annotations

from typing import Annotated, ClassVar

from nanocore.contracts.listing import ListQuery, PageInfo
from nanocore.ids import NAME_PATTERN, AddressPoolId, NetworkId, SecurityPolicyId
from nanocore.model.network import (
    AddressPool,
    AddressRange,
    Network,
    NetworkMode,
    PolicyAction,
    PolicyRule,
    Reservation,
    SecurityPolicy,
)
from nanocore.wire import Command, Meta, Query, field

Name = Annotated[
    str, Meta(description="Lower-case letters, digits, inner hyphens", pattern=NAME_PATTERN, max_length=63)
]
Description = Annotated[str, Meta(description="Free text", max_length=2000)]
Cidr = Annotated[str, Meta(description="IPv4 network, /16 to /30", max_length=18)]
Ipv6Cidr = Annotated[
    str, Meta(description="IPv6 network, /64 to /112; `auto` makes a unique local one; empty: none", max_length=43)
]
Domain = Annotated[str, Meta(description="DNS domain of the guests' names", max_length=200)]
Interface = Annotated[
    str,
    Meta(description="Device or bridge of the cells that is on the LAN", pattern=r"^[A-Za-z0-9_.-]*$", max_length=15),
]
Ranges = Annotated[list[AddressRange], Meta(description="Ranges of the network's addresses", max_length=64)]
Rules = Annotated[list[PolicyRule], Meta(description="In order: the first that matches decides", max_length=200)]


class CreateNetwork(Command[Network], frozen=True, kw_only=True):
    """Make a network; cells make their part of it with the first network card there.

    ``nat`` and ``isolated`` take ``cidr`` (left out: a free private range) and ``ipv6_cidr``, ``bridge`` takes
    ``interface``.
    """

    op: ClassVar[str] = "network.create_network"
    permission: ClassVar[str | None] = "network.create"

    name: Name
    description: Description = ""
    mode: NetworkMode = NetworkMode.NAT
    cidr: Cidr | None = None
    ipv6_cidr: Ipv6Cidr = ""
    domain: Domain | None = None
    interface: Interface = ""
    is_default: bool = False


class UpdateNetwork(Command[Network], frozen=True, kw_only=True):
    """Change what is given; ``cidr``, ``ipv6_cidr`` and ``interface`` only while no network card uses it.

    ``is_default`` can be set only: the network that was the default is it no longer.
    """

    op: ClassVar[str] = "network.update_network"
    permission: ClassVar[str | None] = "network.update"

    id: NetworkId
    name: Name | None = None
    description: Description | None = None
    cidr: Cidr | None = None
    ipv6_cidr: Ipv6Cidr | None = None
    domain: Domain | None = None
    interface: Interface | None = None
    is_default: bool | None = None


class DeleteNetwork(Command[None], frozen=True, kw_only=True):
    """Delete a network that nothing uses; the default one stays."""

    op: ClassVar[str] = "network.delete_network"
    permission: ClassVar[str | None] = "network.delete"

    id: NetworkId


class ListAddressPools(ListQuery, Query[PageInfo], frozen=True, kw_only=True):
    """A page of address pools."""

    op: ClassVar[str] = "network.list_address_pools"
    permission: ClassVar[str | None] = "address_pool.read"


class GetAddressPool(Query[AddressPool], frozen=True, kw_only=True):
    """One address pool."""

    op: ClassVar[str] = "network.get_address_pool"
    permission: ClassVar[str | None] = "address_pool.read"

    id: AddressPoolId


class CreateAddressPool(Command[AddressPool], frozen=True, kw_only=True):
    """Make an address pool: from now on new network cards get addresses of the network's address pools only."""

    op: ClassVar[str] = "network.create_address_pool"
    permission: ClassVar[str | None] = "address_pool.create"

    name: Name
    description: Description = ""
    network_id: NetworkId
    ranges: Ranges


class UpdateAddressPool(Command[AddressPool], frozen=True, kw_only=True):
    """Change what is given; ranges must keep every reserved address."""

    op: ClassVar[str] = "network.update_address_pool"
    permission: ClassVar[str | None] = "address_pool.update"

    id: AddressPoolId
    name: Name | None = None
    description: Description | None = None
    ranges: Ranges | None = None


class DeleteAddressPool(Command[None], frozen=True, kw_only=True):
    """Delete an address pool without reservations; network cards keep the addresses that they have."""

    op: ClassVar[str] = "network.delete_address_pool"
    permission: ClassVar[str | None] = "address_pool.delete"

    id: AddressPoolId


class ListReservations(ListQuery, Query[PageInfo], frozen=True, kw_only=True):
    """A page of an address pool's reservations."""

    op: ClassVar[str] = "network.list_reservations"
    permission: ClassVar[str | None] = "address_pool.read"

    id: AddressPoolId


class ReserveAddress(Command[Reservation], frozen=True, kw_only=True):
    """Keep an address: only a network card that asks for it by name gets it."""

    op: ClassVar[str] = "network.reserve_address"
    permission: ClassVar[str | None] = "address_pool.update"

    id: AddressPoolId
    address: Annotated[
        Annotated[str, Meta(max_length=15)] | None, Meta(description="IPv4 address; left out: the lowest free one")
    ] = None
    description: Description = ""


class DeleteReservation(Command[None], frozen=True, kw_only=True):
    """Release an address; a network card that has it keeps it."""

    op: ClassVar[str] = "network.delete_reservation"
    permission: ClassVar[str | None] = "address_pool.update"

    id: AddressPoolId
    address: Annotated[str, Meta(description="The reserved IPv4 address", max_length=15)]


class ListSecurityPolicies(ListQuery, Query[PageInfo], frozen=True, kw_only=True):
    """A page of security policies."""

    op: ClassVar[str] = "network.list_security_policies"
    permission: ClassVar[str | None] = "security_policy.read"


class GetSecurityPolicy(Query[SecurityPolicy], frozen=True, kw_only=True):
    """One security policy."""

    op: ClassVar[str] = "network.get_security_policy"
    permission: ClassVar[str | None] = "security_policy.read"

    id: SecurityPolicyId


class CreateSecurityPolicy(Command[SecurityPolicy], frozen=True, kw_only=True):
    """Make a security policy; it does nothing until a network card gets it."""

    op: ClassVar[str] = "network.create_security_policy"
    permission: ClassVar[str | None] = "security_policy.create"

    name: Name
    description: Description = ""
    default_inbound: PolicyAction = PolicyAction.DROP
    default_outbound: PolicyAction = PolicyAction.ACCEPT
    rules: Rules = field(default_factory=list)


class UpdateSecurityPolicy(Command[SecurityPolicy], frozen=True, kw_only=True):
    """Change what is given; running guests get it at once, and keep what they have open and still may."""

    op: ClassVar[str] = "network.update_security_policy"
    permission: ClassVar[str | None] = "security_policy.update"

    id: SecurityPolicyId
    name: Name | None = None
    description: Description | None = None
    default_inbound: PolicyAction | None = None
    default_outbound: PolicyAction | None = None
    rules: Rules | None = None


class DeleteSecurityPolicy(Command[None], frozen=True, kw_only=True):
    """Delete a security policy that no network card has."""

    op: ClassVar[str] = "network.delete_security_policy"
    permission: ClassVar[str | None] = "security_policy.delete"

    id: SecurityPolicyId
