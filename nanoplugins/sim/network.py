"""Networks in memory, for tests and demonstrations: no bridge is made, everything else is as on a real cell."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from nanocore.capabilities.network import NetworkDriverInfo, NetworkSpec, PolicySpec, PortInfo, PortSpec
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import parse_id, parse_name
from nanocore.model.network import NetworkMode
from nanocore.wire import Struct, decode_json, encode_json


class _SimPort(Struct, frozen=True, kw_only=True):
    network: NetworkSpec
    port: PortSpec


class SimNetwork:
    """Keeps a file a port in ``folder``, so that a killed cell has its ports again, as a real one has."""

    name = "sim"

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._ports: dict[str, _SimPort] = {}

    @property
    def info(self) -> NetworkDriverInfo:
        """Return the facts: nothing is really reachable."""
        return NetworkDriverInfo(name=self.name, has_nat=False, has_dhcp=False)

    async def open(self) -> None:
        """Load what is there from before."""
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._ports = {path.stem: decode_json(path.read_bytes(), _SimPort) for path in self._folder.glob("*.json")}

    async def close(self) -> None:
        """Let go."""
        self._ports = {}

    async def ensure_port(self, network: NetworkSpec, port: PortSpec) -> str:
        """Record the port; return the name that its bridge would have. Raises as a real driver does."""
        _check(network, port)
        for other in self._ports.values():
            if other.port.nic_id != port.nic_id and other.network.id == network.id:
                _refuse_twin(other.port, port)
        made = self._ports[port.nic_id] = _SimPort(network=network, port=port)
        if self._folder is not None:
            partial = self._folder / f"{port.nic_id}.partial"
            partial.write_bytes(encode_json(made))
            partial.replace(partial.with_suffix(".json"))
        return _bridge(network)

    async def delete_port(self, nic_id: str) -> None:
        """Forget a port; absent is fine."""
        parse_id(nic_id, field="nic_id")
        if self._ports.pop(nic_id, None) is not None and self._folder is not None:
            (self._folder / f"{nic_id}.json").unlink(missing_ok=True)

    async def update_port(self, network: NetworkSpec, port: PortSpec) -> bool:
        """As ``ensure_port``, but only for a port that exists; return whether it does."""
        if port.nic_id not in self._ports:
            return False
        await self.ensure_port(network, port)
        return True

    async def get_port(self, nic_id: str) -> PortInfo:
        """Return the names that a port's bridge and device would have; ``not_found``."""
        found = self._ports.get(nic_id)
        if found is None:
            raise NanoError(ErrorCode.NOT_FOUND, f"network card {nic_id[:80]} has no port on this node")
        is_isolated = found.network.mode is not NetworkMode.BRIDGE
        return PortInfo(bridge=_bridge(found.network), device=f"st{nic_id[:8]}", is_isolated=is_isolated)

    async def list_ports(self) -> list[str]:
        """Return the ids of all network cards with a port."""
        return list(self._ports)

    async def remove_all(self) -> None:
        """Forget everything."""
        for nic_id in list(self._ports):
            await self.delete_port(nic_id)


def _bridge(network: NetworkSpec) -> str:
    return f"sim{network.id[:8]}"


def _check(network: NetworkSpec, port: PortSpec) -> None:
    parse_id(network.id, field="network.id")
    parse_id(port.nic_id, field="port.nic_id")
    parse_name(port.hostname, field="port.hostname")
    if network.mode is NetworkMode.BRIDGE:
        _require(bool(network.interface), "network.interface", "must name a device of this node", network.interface)
        _require(not port.addresses, "port.addresses", "are the LAN's business", str(port.addresses))
        if port.policy is not None:
            text = (
                f"security policy {port.policy.name} can't be enforced in network {network.name}, a bridge to the LAN"
            )
            raise NanoError(ErrorCode.UNSUPPORTED, text, field="port.policy")
        return
    where = [(ipaddress.ip_network(network.cidr), network.gateway)]
    if network.ipv6_cidr:
        where.append((ipaddress.ip_network(network.ipv6_cidr), network.ipv6_gateway))
    _require(bool(port.addresses), "port.addresses", "must hold at least one address", "none")
    for text in port.addresses:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            address = None
        is_fine = any(address is not None and address in cidr and text != gateway for cidr, gateway in where)
        _require(is_fine, "port.addresses", f"must be addresses of {network.cidr} other than the gateway", text)
    if port.policy is not None:
        _check_policy(port.policy)


def _check_policy(policy: PolicySpec) -> None:
    for index, rule in enumerate(policy.rules):
        try:
            if rule.remote is not None:
                ipaddress.ip_network(rule.remote)
            for part in (rule.ports or "1").split(","):
                for end in part.split("-"):
                    int(end)
        except ValueError as error:
            field = f"port.policy.rules[{index}]"
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"{field}: {error}", field=field) from error


def _require(is_fine: bool, field: str, rule: str, got: str) -> None:  # noqa: FBT001  the condition itself
    if not is_fine:
        raise NanoError(ErrorCode.INVALID_ARGUMENT, f"{field} {rule}, got {got[:80]!r}", field=field)


def _refuse_twin(other: PortSpec, port: PortSpec) -> None:
    shared = {other.mac} & {port.mac} or set(other.addresses) & set(port.addresses)
    if shared:
        raise NanoError(
            ErrorCode.CONFLICT,
            f"{shared.pop()} already belongs to network card {other.nic_id} of {other.hostname}; "
            "delete that port first",
        )
