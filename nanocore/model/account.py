"""Users, sessions and API tokens."""

from __future__ import annotations

from datetime import datetime

from nanocore.wire import Result, Struct, field


class UserRecord(Struct, frozen=True, kw_only=True):
    """What the store holds of a user."""

    id: str
    username: str
    password_hash: str
    """argon2id, in its own text format."""
    roles: list[str] = field(default_factory=list)
    is_enabled: bool = True
    created_at: datetime


class User(Result, frozen=True, kw_only=True):
    """As the API shows it."""

    id: str
    username: str
    roles: list[str]
    permissions: list[str]
    is_enabled: bool = True
    created_at: datetime | None = None


class TokenRecord(Struct, frozen=True, kw_only=True):
    """An API token; only its digest is kept."""

    id: str
    name: str
    user_id: str
    token_sha256: str
    roles: list[str] = field(default_factory=list)
    created_at: datetime
    expires_at: datetime | None = None
    parent_id: str | None = None
    """Id of the token it was made with, whose end is its own."""


class Token(Result, frozen=True, kw_only=True):
    """As the API shows it; ``token`` only in the answer that created it."""

    id: str
    name: str
    user_id: str
    roles: list[str]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    token: str | None = None
