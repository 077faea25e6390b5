"""Users, sessions and tokens over the state store. Secrets are known to their holders only: here are digests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, Protocol

from nanocore.clock import Clock
from nanocore.contracts.state_store import Delete, Put, StateStore
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import new_id
from nanocore.model.account import TokenRecord, UserRecord
from nanocore.wire import structs
from nanoplugins.identity_local.config import IdentityLocalConfig
from nanoplugins.identity_local.records import SESSIONS, TOKENS, USERS, SessionRecord

TOKEN_PREFIX = "nano_"  # noqa: S105  marks our tokens for secret scanners
SECRET_BYTES = 32
SEEN_WRITE_SECONDS = 60.0
"""How stale a session's durable ``last_seen_at`` may be; a request a minute is written, not each."""
MAX_SESSIONS_PER_USER = 100
MAX_TOKENS_PER_USER = 200


class Spawn(Protocol):
    """``PluginContext.spawn``."""

    def __call__(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run ``work`` as a task."""
        ...


def digest(secret: str) -> str:
    """Return what is kept of a secret. 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def csrf_token(secret: str) -> str:
    """Return the token that belongs to a session's secret; who has only the token can't get at the secret."""
    mac = hmac.digest(secret.encode(), b"nano csrf token", "sha256")
    return base64.urlsafe_b64encode(mac).decode().rstrip("=")


class Accounts:
    """The only reader and writer of the three collections."""

    def __init__(self, store: StateStore, clock: Clock, config: IdentityLocalConfig, spawn: Spawn) -> None:
        self._store = store
        self._clock = clock
        self._config = config
        self._spawn = spawn
        self._seen: dict[str, datetime] = {}
        self._token_used: dict[str, datetime] = {}

    # -- users

    def has_users(self) -> bool:
        """Return whether the first start is over."""
        return bool(self._store.list(USERS))

    def find_user(self, id: str) -> UserRecord | None:
        """Return an enabled user or ``None``."""
        entry = self._store.get(USERS, id)
        return entry.value if entry is not None and entry.value.is_enabled else None

    def find_username(self, username: str) -> UserRecord | None:
        """Return the enabled user of that name or ``None``."""
        entries = self._store.list(USERS, index="username", value=username)
        return entries[0].value if entries and entries[0].value.is_enabled else None

    async def add_user(self, username: str, password_hash: str, roles: list[str]) -> UserRecord:
        """Make a user; raise ``already_exists``."""
        if self._store.list(USERS, index="username", value=username):
            raise NanoError(ErrorCode.ALREADY_EXISTS, f"there is a user {username!r} already")
        now = self._clock.now()
        user = UserRecord(id=new_id(), username=username, password_hash=password_hash, roles=roles, created_at=now)
        await self._store.commit(Put(USERS, user.id, user, expect=0))
        return user

    # -- sessions

    async def add_session(self, user: UserRecord) -> tuple[str, SessionRecord]:
        """Log ``user`` in; return the secret and the record. The oldest of too many sessions end."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        now = self._clock.now()
        session = SessionRecord(
            id=new_id(),
            user_id=user.id,
            created_at=now,
            last_seen_at=now,
            expires_at=now + timedelta(seconds=self._config.session_seconds),
        )
        theirs = sorted(
            self._store.list(SESSIONS, index="user_id", value=user.id), key=lambda entry: entry.value.created_at
        )
        surplus = theirs[: max(0, len(theirs) - MAX_SESSIONS_PER_USER + 1)]
        await self._store.commit(
            Put(SESSIONS, digest(secret), session, expect=0), *(Delete(SESSIONS, entry.key) for entry in surplus)
        )
        return secret, session

    def find_session(self, secret: str) -> SessionRecord | None:
        """Return the live session of ``secret`` or ``None``."""
        entry = self._store.get(SESSIONS, digest(secret))
        if entry is None or self.session_end(entry.value) <= self._clock.now():
            return None
        return entry.value

    def session_end(self, session: SessionRecord) -> datetime:
        """Return when a session ends if nothing more is done with it."""
        seen = self._seen.get(session.id, session.last_seen_at)
        return min(session.expires_at, seen + timedelta(seconds=self._config.session_idle_seconds))

    def touch_session(self, id: str) -> None:
        """Note that a session is in use; written once a minute at most."""
        now = self._clock.now()
        entries = self._store.list(SESSIONS, index="id", value=id)
        if not entries:
            return
        entry = entries[0]
        written = self._seen.get(id, entry.value.last_seen_at)
        if (now - written).total_seconds() < SEEN_WRITE_SECONDS:
            return
        self._seen[id] = now
        session = structs.replace(entry.value, last_seen_at=now)
        self._spawn(self._write_seen(entry.key, session, entry.revision), name="identity session seen")

    async def _write_seen(self, key: str, session: SessionRecord, revision: int) -> None:
        try:
            await self._store.commit(Put(SESSIONS, key, session, expect=revision))
        except NanoError as error:
            # It ended meanwhile, or the disk refuses; then the idle limit counts from an older time.
            if error.code not in (ErrorCode.CONFLICT, ErrorCode.UNAVAILABLE):
                raise

    async def delete_session(self, id: str) -> None:
        """End a session; an absent one is fine."""
        await self._store.commit(
            *(Delete(SESSIONS, entry.key) for entry in self._store.list(SESSIONS, index="id", value=id))
        )
        self._seen.pop(id, None)

    # -- tokens

    async def add_token(
        self, user_id: str, name: str, roles: list[str], expires_at: datetime | None, parent_id: str | None = None
    ) -> tuple[str, TokenRecord]:
        """Make a token; return its secret and the record. Raises ``quota_exceeded``."""
        if len(self._store.list(TOKENS, index="user_id", value=user_id)) >= MAX_TOKENS_PER_USER:
            raise NanoError(
                ErrorCode.QUOTA_EXCEEDED, f"a user has at most {MAX_TOKENS_PER_USER} tokens; delete one first"
            )
        secret = TOKEN_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        token = TokenRecord(
            id=new_id(),
            name=name,
            user_id=user_id,
            token_sha256=digest(secret),
            roles=roles,
            created_at=self._clock.now(),
            expires_at=expires_at,
            parent_id=parent_id,
        )
        await self._store.commit(Put(TOKENS, token.id, token, expect=0))
        return secret, token

    def use_token(self, secret: str) -> TokenRecord | None:
        """Return the live token of ``secret`` or ``None``, and note that it was used."""
        entries = self._store.list(TOKENS, index="token_sha256", value=digest(secret))
        now = self._clock.now()
        if not entries or (entries[0].value.expires_at or now + timedelta(1)) <= now:
            return None
        token = entries[0].value
        self._token_used[token.id] = now
        return token

    def token_used_at(self, id: str) -> datetime | None:
        """Return when a token was used last, as far as this process knows."""
        return self._token_used.get(id)

    def list_tokens(self, user_id: str) -> list[TokenRecord]:
        """Return a user's tokens, oldest first."""
        entries = self._store.list(TOKENS, index="user_id", value=user_id)
        return sorted((entry.value for entry in entries), key=lambda token: token.created_at)

    def find_token(self, id: str) -> TokenRecord | None:
        """Return a token by its id."""
        entry = self._store.get(TOKENS, id)
        return None if entry is None else entry.value

    async def delete_token(self, id: str) -> None:
        """Revoke a token and those that were made with it, at once; an absent one is fine."""
        token = self.find_token(id)
        others = [] if token is None else self.list_tokens(token.user_id)
        family = {id}
        while made := {other.id for other in others if other.parent_id in family} - family:
            family |= made
        await self._store.commit(*(Delete(TOKENS, member) for member in family))
        for member in family:
            self._token_used.pop(member, None)

    async def sweep(self) -> None:
        """Delete what has expired. Run by a timed job; nothing depends on it but the size of the store."""
        now = self._clock.now()
        dead = [entry for entry in self._store.list(SESSIONS) if self.session_end(entry.value) <= now]
        old = [entry for entry in self._store.list(TOKENS) if entry.value.expires_at and entry.value.expires_at <= now]
        changes = [
            *(Delete(SESSIONS, entry.key, expect=entry.revision) for entry in dead),
            *(Delete(TOKENS, entry.key, expect=entry.revision) for entry in old),
        ]
        try:
            if changes:
                await self._store.commit(*changes)
        except NanoError as error:
            if error.code is not ErrorCode.CONFLICT:
                raise
            return  # one of them was written just now; the next run sees it as it is then
        for entry in dead:
            self._seen.pop(entry.value.id, None)
        for token in old:
            self._token_used.pop(token.value.id, None)
