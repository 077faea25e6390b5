"""What users ask about security policies."""

from __future__ import annotations

import asyncio
from typing import Any

from nanocore.capabilities.network_api import (
    CreateSecurityPolicy,
    DeleteSecurityPolicy,
    GetSecurityPolicy,
    ListSecurityPolicies,
    UpdateSecurityPolicy,
)
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import Call, Handler, Reply
from nanocore.contracts.listing import PageInfo
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import SecurityPolicyId, new_id
from nanocore.model.network import SecurityPolicy, SecurityPolicyRecord
from nanocore.wire import structs
from nanoplugins.network.allocation import cards_with
from nanoplugins.network.board import Board
from nanoplugins.network.records import CARDS, SECURITY_POLICY
from nanoplugins.network.rules import parse_rules
from nanoplugins.network.updates import CellUpdates

CHANGEABLE = ("name", "description", "default_inbound", "default_outbound")


class SecurityPolicies:
    """Handlers of ``network.*_security_policy``."""

    def __init__(self, context: PluginContext, board: Board, updates: CellUpdates, lock: asyncio.Lock) -> None:
        self._context = context
        self._board = board
        self._updates = updates
        self._lock = lock

    def handlers(self) -> list[Handler]:
        """Return one handler a message."""
        return [
            Handler(ListSecurityPolicies, self._list),
            Handler(GetSecurityPolicy, self._get, resource=_resource),
            Handler(CreateSecurityPolicy, self._create),
            Handler(UpdateSecurityPolicy, self._update, resource=_resource),
            Handler(DeleteSecurityPolicy, self._delete, resource=_resource),
        ]

    async def _list(self, query: ListSecurityPolicies, _call: Call) -> Reply[PageInfo]:
        return await self._board.policies.answer(query)

    async def _get(self, query: GetSecurityPolicy, _call: Call) -> SecurityPolicy:
        return self._board.policies.get(query.id)

    async def _create(self, command: CreateSecurityPolicy, _call: Call) -> SecurityPolicy:
        store = self._board.store
        async with self._lock:
            record = SecurityPolicyRecord(
                id=SecurityPolicyId(new_id()),
                name=command.name,
                description=command.description,
                default_inbound=command.default_inbound,
                default_outbound=command.default_outbound,
                rules=parse_rules(command.rules),
                created_at=self._context.clock.now(),
            )
            await store.commit(*SECURITY_POLICY.creation(store, record))
        return self._board.policies.get(record.id)

    async def _update(self, command: UpdateSecurityPolicy, _call: Call) -> SecurityPolicy:
        store = self._board.store
        async with self._lock:
            entry = SECURITY_POLICY.find(store, command.id)
            wanted = {name: getattr(command, name) for name in CHANGEABLE if getattr(command, name) is not None}
            if command.rules is not None:
                wanted["rules"] = parse_rules(command.rules)
            record = structs.replace(entry.value, **wanted)
            await store.commit(*SECURITY_POLICY.change(store, entry, record))
            if record != entry.value:
                self._updates.schedule(cards_with(store, policy=record.id))
        await self._updates.settle()
        return self._board.policies.get(record.id)

    async def _delete(self, command: DeleteSecurityPolicy, _call: Call) -> None:
        store = self._board.store
        async with self._lock:
            entry = SECURITY_POLICY.find(store, command.id)
            cards = store.list(CARDS, index="policy", value=command.id)
            if cards:
                raise NanoError(
                    ErrorCode.WRONG_STATE,
                    f"{len(cards)} network cards have security policy {entry.value.name}, such as that of instance "
                    f"{cards[0].value.name}; give them another one first",
                )
            await store.commit(*SECURITY_POLICY.deletion(entry))


def _resource(message: Any) -> ResourceRef:  # noqa: ANN401  any message with an id
    return ResourceRef(kind="security_policy", id=message.id)
