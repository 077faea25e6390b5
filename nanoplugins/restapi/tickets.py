"""Single-use permissions to open one console, for 30 s. Pure."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from nanocore.capabilities.hypervisor import ConsoleKind
from nanocore.clock import Clock
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId

LIFE_SECONDS = 30.0
MAX_TICKETS = 10_000


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket was made for."""

    credential: str
    instance_id: InstanceId
    kind: ConsoleKind
    ends_at: float


class Tickets:
    """Of this node; by digest, so that memory shows no ticket."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tickets: OrderedDict[str, Ticket] = OrderedDict()

    def issue(self, credential: str, instance_id: InstanceId, kind: ConsoleKind) -> str:
        """Return a new ticket."""
        while len(self._tickets) >= MAX_TICKETS:
            self._tickets.popitem(last=False)
        secret = secrets.token_urlsafe(32)
        ends_at = self._clock.monotonic() + LIFE_SECONDS
        self._tickets[_digest(secret)] = Ticket(credential, instance_id, kind, ends_at)
        return secret

    def redeem(self, secret: str, credential: str, instance_id: str, kind: str) -> Ticket:
        """Return the ticket and make it worthless; raise ``permission_denied`` unless everything fits."""
        ticket = self._tickets.pop(_digest(secret), None)
        if (
            ticket is None
            or ticket.ends_at <= self._clock.monotonic()
            or not hmac.compare_digest(ticket.credential.encode(), credential.encode())
            or (ticket.instance_id, ticket.kind.value) != (instance_id, kind)
        ):
            raise NanoError(
                ErrorCode.PERMISSION_DENIED,
                "this console ticket is used, too old, or not yours; ask for a new one",
                reason="restapi.ticket",
            )
        return ticket


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
