"""The public API of networks, address pools and security policies."""

from __future__ import annotations

from nanocore.capabilities import network, network_api
from nanocore.capabilities.rest import Route
from nanocore.model.network import AddressPool, Network, Reservation, SecurityPolicy

_ID = "2c4f9a31-6f0e-4a55-9b0e-0f6f5a2f7a10"


def all_routes() -> list[Route]:
    """Return every route of this plugin."""
    return [*_network_routes(), *_pool_routes(), *_policy_routes()]


def _network_routes() -> list[Route]:
    new = {"name": "lab", "mode": "nat", "cidr": "10.20.0.0/24", "ipv6_cidr": "auto"}
    return [
        Route(
            "GET",
            "/networks",
            network.ListNetworks,
            "List networks",
            example={"limit": 20},
            is_list=True,
            item=Network,
        ),
        Route(
            "POST",
            "/networks",
            network_api.CreateNetwork,
            "Create a network",
            new,
            status=201,
            location="/networks/{id}",
        ),
        Route("GET", "/networks/{id}", network.GetNetwork, "Show one network"),
        Route("PATCH", "/networks/{id}", network_api.UpdateNetwork, "Change a network", {"is_default": True}),
        Route("DELETE", "/networks/{id}", network_api.DeleteNetwork, "Delete a network that nothing uses", status=204),
    ]


def _pool_routes() -> list[Route]:
    ranges = [{"first": "10.20.0.10", "last": "10.20.0.99"}]
    one = "/address-pools/{id}"
    return [
        Route(
            "GET",
            "/address-pools",
            network_api.ListAddressPools,
            "List address pools",
            is_list=True,
            item=AddressPool,
        ),
        Route(
            "POST",
            "/address-pools",
            network_api.CreateAddressPool,
            "Create an address pool",
            {"name": "lab-servers", "network_id": _ID, "ranges": ranges},
            status=201,
            location="/address-pools/{id}",
        ),
        Route("GET", one, network_api.GetAddressPool, "Show one address pool"),
        Route("PATCH", one, network_api.UpdateAddressPool, "Change an address pool", {"ranges": ranges}),
        Route(
            "DELETE",
            one,
            network_api.DeleteAddressPool,
            "Delete an address pool without reservations",
            status=204,
        ),
        Route(
            "GET",
            f"{one}/reservations",
            network_api.ListReservations,
            "List an address pool's reserved addresses",
            is_list=True,
            item=Reservation,
        ),
        Route(
            "POST",
            f"{one}/reservations",
            network_api.ReserveAddress,
            "Reserve an address",
            {"address": "10.20.0.20", "description": "printer"},
            status=201,
        ),
        Route(
            "DELETE",
            f"{one}/reservations/{{address}}",
            network_api.DeleteReservation,
            "Release a reserved address",
            status=204,
        ),
    ]


def _policy_routes() -> list[Route]:
    rule = {"direction": "inbound", "action": "accept", "protocol": "tcp", "ports": "22,80-90"}
    one = "/security-policies/{id}"
    return [
        Route(
            "GET",
            "/security-policies",
            network_api.ListSecurityPolicies,
            "List security policies",
            is_list=True,
            item=SecurityPolicy,
        ),
        Route(
            "POST",
            "/security-policies",
            network_api.CreateSecurityPolicy,
            "Create a security policy",
            {"name": "web", "default_inbound": "drop", "rules": [rule]},
            status=201,
            location="/security-policies/{id}",
        ),
        Route("GET", one, network_api.GetSecurityPolicy, "Show one security policy"),
        Route("PATCH", one, network_api.UpdateSecurityPolicy, "Change a security policy", {"rules": [rule]}),
        Route(
            "DELETE",
            one,
            network_api.DeleteSecurityPolicy,
            "Delete a security policy that no network card has",
            status=204,
        ),
    ]
