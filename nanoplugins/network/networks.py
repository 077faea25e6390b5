"""What users ask about networks."""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nanocore.capabilities.network import GetNetwork, ListNetworks
from nanocore.capabilities.network_api import CreateNetwork, DeleteNetwork, UpdateNetwork
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import Call, Handler, Reply
from nanocore.contracts.listing import PageInfo
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Put
from nanocore.errors import ConfigError, ErrorCode, NanoError
from nanocore.ids import NetworkId, new_id, parse_name
from nanocore.model.network import Network, NetworkMode, NetworkRecord
from nanocore.wire import structs
from nanoplugins.network import addresses
from nanoplugins.network.allocation import cards_with, default_network
from nanoplugins.network.board import Board
from nanoplugins.network.config import NetworkConfig
from nanoplugins.network.records import ADDRESS_POOLS, CARDS, NETWORK, NETWORKS
from nanoplugins.network.updates import CellUpdates

ROUTES = Path("/proc/thread-self/net/route")
SHAPE = ("cidr", "ipv6_cidr", "interface")
"""What can't change while network cards use the network: their addresses and bridge would be others."""


class Networks:
    """Handlers of ``network.*_network``."""

    def __init__(self, context: PluginContext, board: Board, updates: CellUpdates, lock: asyncio.Lock) -> None:
        self._context = context
        self._board = board
        self._updates = updates
        self._lock = lock

    def handlers(self) -> list[Handler]:
        """Return one handler a message."""
        return [
            Handler(ListNetworks, self.list),
            Handler(GetNetwork, self.get, resource=_resource),
            Handler(CreateNetwork, self.create),
            Handler(UpdateNetwork, self.update, resource=_resource),
            Handler(DeleteNetwork, self.delete, resource=_resource),
        ]

    async def list(self, query: ListNetworks, _call: Call) -> Reply[PageInfo]:
        """Answer ``network.list_networks``."""
        return await self._board.networks.answer(query)

    async def get(self, query: GetNetwork, _call: Call) -> Network:
        """Answer ``network.get_network``; an empty id means the default network."""
        return self._board.networks.get(query.id or default_network(self._board.store).id)

    async def create(self, command: CreateNetwork, _call: Call) -> Network:
        """Answer ``network.create_network``."""
        async with self._lock:
            record = NetworkRecord(
                id=NetworkId(new_id()),
                name=command.name,
                description=command.description,
                mode=command.mode,
                domain=self._context.config(NetworkConfig).domain if command.domain is None else command.domain,
                is_default=command.is_default,
                created_at=self._context.clock.now(),
            )
            record = self._with_shape(record, command.cidr, command.ipv6_cidr, command.interface)
            changes = NETWORK.creation(self._board.store, record)
            if record.is_default:
                changes += self._default_moved()
            await self._board.store.commit(*changes)
        return self._board.networks.get(record.id)

    async def update(self, command: UpdateNetwork, _call: Call) -> Network:
        """Answer ``network.update_network``."""
        async with self._lock:
            entry = NETWORK.find(self._board.store, command.id)
            wanted = {
                name: getattr(command, name)
                for name in ("name", "description", "domain")
                if getattr(command, name) is not None
            }
            record = structs.replace(entry.value, **wanted)
            if any(getattr(command, name) is not None for name in SHAPE):
                record = self._reshaped(record, command)
            if command.is_default is False and record.is_default:
                raise NanoError(
                    ErrorCode.WRONG_STATE,
                    f"{record.name} is the default network; make another network the default instead",
                    field="is_default",
                )
            _check_domain(record.domain)
            is_new_default = bool(command.is_default) and not record.is_default
            record = structs.replace(record, is_default=record.is_default or is_new_default)
            changes = NETWORK.change(self._board.store, entry, record)
            await self._board.store.commit(*changes, *(self._default_moved() if is_new_default else ()))
            if record != entry.value:
                self._updates.schedule(cards_with(self._board.store, network=record.id))
        await self._updates.settle()
        return self._board.networks.get(record.id)

    async def delete(self, command: DeleteNetwork, _call: Call) -> None:
        """Answer ``network.delete_network``."""
        store = self._board.store
        async with self._lock:
            entry = NETWORK.find(store, command.id)
            record = entry.value
            if record.is_default:
                raise NanoError(
                    ErrorCode.WRONG_STATE,
                    f"{record.name} is the default network; make another network the default first",
                )
            cards = store.list(CARDS, index="network", value=record.id)
            if cards:
                raise NanoError(
                    ErrorCode.WRONG_STATE,
                    f"{len(cards)} network cards use network {record.name}, such as that of instance "
                    f"{cards[0].value.name}; detach them first",
                )
            pools = store.list(ADDRESS_POOLS, index="network", value=record.id)
            if pools:
                raise NanoError(
                    ErrorCode.WRONG_STATE,
                    f"network {record.name} has {len(pools)} address pools, such as {pools[0].value.name}; "
                    "delete them first",
                )
            await store.commit(*NETWORK.deletion(entry))

    async def create_default(self) -> None:
        """Make the default network at the first start."""
        store = self._board.store
        if any(entry.value.is_default for entry in store.list(NETWORKS)):
            return
        config = self._context.config(NetworkConfig)
        try:
            _check_domain(config.domain)
            if config.default_cidr == addresses.AUTOMATIC:
                cidr = addresses.choose_range(_known_routes())
            else:
                cidr = addresses.parse_cidr(config.default_cidr, field="default_cidr")
        except NanoError as error:
            raise ConfigError(error.message, key="[network]") from error
        record = NetworkRecord(
            id=NetworkId(new_id()),
            name="default",
            cidr=str(cidr),
            domain=config.domain,
            is_default=True,
            created_at=self._context.clock.now(),
        )
        await store.commit(*NETWORK.creation(store, record))
        self._context.log.info("default network made", cidr=record.cidr)

    def _reshaped(self, record: NetworkRecord, command: UpdateNetwork) -> NetworkRecord:
        cidr = record.cidr if command.cidr is None else command.cidr
        ipv6_cidr = record.ipv6_cidr if command.ipv6_cidr is None else command.ipv6_cidr
        interface = record.interface if command.interface is None else command.interface
        if (cidr, ipv6_cidr, interface) == (record.cidr, record.ipv6_cidr, record.interface):
            return record
        store = self._board.store
        cards = store.list(CARDS, index="network", value=record.id)
        if cards:
            raise NanoError(
                ErrorCode.WRONG_STATE,
                f"{len(cards)} network cards have addresses of network {record.name}, such as that of instance "
                f"{cards[0].value.name}; detach them before you change cidr, ipv6_cidr or interface",
            )
        pools = store.list(ADDRESS_POOLS, index="network", value=record.id)
        if cidr != record.cidr and pools:
            raise NanoError(
                ErrorCode.WRONG_STATE,
                f"address pool {pools[0].value.name} has ranges of {record.cidr}; delete it before you change cidr",
                field="cidr",
            )
        return self._with_shape(record, cidr, ipv6_cidr, interface)

    def _with_shape(self, record: NetworkRecord, cidr: str | None, ipv6_cidr: str, interface: str) -> NetworkRecord:
        """Return ``record`` with what its mode needs; raise ``invalid_argument`` for what it can't have."""
        _check_domain(record.domain)
        if record.mode is NetworkMode.BRIDGE:
            if cidr or ipv6_cidr:
                field = "cidr" if cidr else "ipv6_cidr"
                raise _invalid(field, "is the LAN's business in mode bridge; leave it out")
            if interface in ("", "lo"):
                raise _invalid("interface", "must name the cells' device or bridge that is on the LAN, such as eth1")
            return structs.replace(record, interface=interface)
        if interface:
            raise _invalid("interface", f"is for mode bridge; leave it out for {record.mode.value}")
        others = [each.value for each in self._board.store.list(NETWORKS) if each.value.id != record.id]
        if cidr:
            chosen = addresses.parse_cidr(cidr, field="cidr")
            _refuse_overlap(str(chosen), ((other.cidr, other.name) for other in others), "cidr")
        else:
            known = [*_known_routes(), *(ipaddress.IPv4Network(other.cidr) for other in others if other.cidr)]
            chosen = addresses.choose_range(known, addresses.CANDIDATES + addresses.MORE_CANDIDATES)
        ipv6 = addresses.parse_ipv6_cidr(ipv6_cidr, field="ipv6_cidr")
        if ipv6:
            _refuse_overlap(ipv6, ((other.ipv6_cidr, other.name) for other in others), "ipv6_cidr")
        return structs.replace(record, cidr=str(chosen), ipv6_cidr=ipv6)

    def _default_moved(self) -> Iterator[Put]:
        """Yield what takes the mark from the network that has it now."""
        for entry in self._board.store.list(NETWORKS):
            if entry.value.is_default:
                unmarked = structs.replace(entry.value, is_default=False)
                yield Put(NETWORKS, entry.key, unmarked, expect=entry.revision)


def _resource(message: Any) -> ResourceRef:  # noqa: ANN401  any message with an id
    return ResourceRef(kind="network", id=message.id)


def _known_routes() -> list[ipaddress.IPv4Network]:
    # A core may run on a system without /proc/net/route; then no route is known and the first range is as good.
    text = ROUTES.read_text(encoding="ascii") if ROUTES.exists() and sys.byteorder == "little" else ""
    return list(addresses.parse_routes(text))


def _check_domain(domain: str) -> None:
    for label in domain.split("."):
        parse_name(label, field="domain")


def _refuse_overlap(cidr: str, others: Iterable[tuple[str, str]], field: str) -> None:
    wanted = ipaddress.ip_network(cidr)
    for text, name in others:
        if text and wanted.overlaps(ipaddress.ip_network(text)):
            raise _invalid(field, f"{cidr} overlaps network {name} ({text}); choose other addresses")


def _invalid(field: str, rule: str) -> NanoError:
    return NanoError(ErrorCode.INVALID_ARGUMENT, f"{field} {rule}", field=field)
