"""Who asks, and whether they may."""

from __future__ import annotations

from typing import Protocol

from nanocore.wire import Result, field

ANONYMOUS = "anonymous"
"""The credential of a request without login."""

LOCAL = "local"
"""The credential of root on the core's own host (local socket); honoured from this node only."""

SYSTEM = "system"
"""The credential of the platform's own work, such as a timed job; honoured from this node only."""


class ResourceRef(Result, frozen=True, kw_only=True):
    """An object of the API, by noun and id; ``name`` is for people, as it was when the reference was made."""

    kind: str
    id: str
    name: str | None = None


class Principal(Result, frozen=True, kw_only=True):
    """The one on whose behalf something is done."""

    user_id: str
    username: str
    roles: list[str] = field(default_factory=list)
    session_id: str | None = None
    token_id: str | None = None


class Authorizer(Protocol):
    """Chosen by configuration (``[kernel] authorizer``); consulted by dispatch for every request with a permission."""

    name: str

    async def resolve(self, credential: str, *, is_local: bool) -> Principal | None:
        """Return who ``credential`` stands for, ``None`` for nobody (anonymous).

        ``is_local`` says that the message came from this node itself. Raises ``unauthenticated`` for a
        credential that is unknown, expired or revoked.
        """
        ...

    async def authorize(self, principal: Principal | None, permission: str, resource: ResourceRef | None) -> None:
        """Return if ``principal`` may; else raise ``unauthenticated``, ``permission_denied`` or ``not_found``."""
        ...
