"""Answers to ``nanocore.capabilities.identity``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from nanocore.capabilities.identity import (
    CreateSession,
    CreateToken,
    DeleteSession,
    DeleteToken,
    GetSession,
    ListTokens,
    NewSession,
    SessionInfo,
)
from nanocore.clock import Clock
from nanocore.contracts.authorizer import Principal
from nanocore.contracts.handler import Call, Handler
from nanocore.errors import ErrorCode, NanoError
from nanocore.model.account import Token, TokenRecord, User, UserRecord
from nanoplugins.identity_local.accounts import Accounts, csrf_token
from nanoplugins.identity_local.attempts import Attempts
from nanoplugins.identity_local.authorizer import SESSION_PREFIX
from nanoplugins.identity_local.passwords import Passwords
from nanoplugins.identity_local.roles import ROLES, covers, is_permitted, permissions_of


class Handlers:
    """Runs on the core; ``accounts`` can be asked for once services run."""

    def __init__(
        self,
        accounts: Callable[[], Accounts],
        passwords: Callable[[], Passwords],
        attempts: Attempts,
        clock: Clock,
        administrator: str,
    ) -> None:
        self._accounts = accounts
        self._passwords = passwords
        self._attempts = attempts
        self._clock = clock
        self._administrator = administrator

    def all(self) -> list[Handler]:
        """Return the declarations."""
        return [
            Handler(CreateSession, self.create_session),
            Handler(GetSession, self.get_session),
            Handler(DeleteSession, self.delete_session),
            Handler(ListTokens, self.list_tokens),
            Handler(CreateToken, self.create_token),
            Handler(DeleteToken, self.delete_token),
        ]

    async def create_session(self, message: CreateSession, call: Call) -> NewSession:
        """Log in."""
        del call
        username = message.username.strip()
        self._attempts.begin(username, message.address, self._clock.monotonic())
        user = self._accounts().find_username(username)
        is_right = await self._passwords().is_right(user.password_hash if user else None, message.password)
        if user is None or not is_right:
            raise NanoError(ErrorCode.UNAUTHENTICATED, "user name or password is wrong")
        self._attempts.succeed(username, message.address)
        secret, session = await self._accounts().add_session(user)
        return NewSession(
            user=_user(user),
            csrf_token=csrf_token(secret),
            expires_at=self._accounts().session_end(session),
            credential=SESSION_PREFIX + secret,
        )

    async def get_session(self, message: GetSession, call: Call) -> SessionInfo:
        """Say who the caller is."""
        del message
        actor = _actor(call)
        known = self._accounts().find_user(actor.user_id)
        user = User(
            id=actor.user_id,
            username=actor.username,
            roles=list(actor.roles),
            permissions=permissions_of(actor.roles),
            created_at=known.created_at if known else None,
        )
        secret = call.credential.removeprefix(SESSION_PREFIX)
        session = self._accounts().find_session(secret) if actor.session_id is not None else None
        if session is None:
            return SessionInfo(user=user)
        return SessionInfo(user=user, csrf_token=csrf_token(secret), expires_at=self._accounts().session_end(session))

    async def delete_session(self, message: DeleteSession, call: Call) -> None:
        """Log out."""
        del message
        actor = _actor(call)
        if actor.session_id is None:
            raise NanoError(
                ErrorCode.WRONG_STATE, "this request came without a session; revoke a token by DELETE /tokens/{id}"
            )
        await self._accounts().delete_session(actor.session_id)

    async def list_tokens(self, message: ListTokens, call: Call) -> list[Token]:
        """List the caller's tokens."""
        del message
        return [self._token(token) for token in self._accounts().list_tokens(self._owner(_actor(call)).id)]

    async def create_token(self, message: CreateToken, call: Call) -> Token:
        """Make a token that may no more, and lives no longer, than what asks for it."""
        actor = _actor(call)
        owner = self._owner(actor)
        roles = list(actor.roles) if message.roles is None else list(dict.fromkeys(message.roles))
        for role in roles:
            if role not in ROLES:
                known = ", ".join(ROLES)
                raise NanoError(
                    ErrorCode.INVALID_ARGUMENT,
                    f"roles: there is no role {role[:80]!r}; there are {known}",
                    field="roles",
                )
            if not covers(actor.roles, role):
                raise NanoError(
                    ErrorCode.PERMISSION_DENIED, f"a token can't have role {role}: it may more than you do yourself"
                )
        expires_at = None
        if message.expires_in_seconds is not None:
            try:
                expires_at = self._clock.now() + timedelta(seconds=message.expires_in_seconds)
            except OverflowError as error:
                raise NanoError(
                    ErrorCode.INVALID_ARGUMENT, "expires_in_seconds is beyond the calendar", field="expires_in_seconds"
                ) from error
        parent = self._accounts().find_token(actor.token_id) if actor.token_id else None
        if parent is not None and parent.expires_at is not None:
            expires_at = min(expires_at or parent.expires_at, parent.expires_at)
        secret, token = await self._accounts().add_token(owner.id, message.name, roles, expires_at, actor.token_id)
        return self._token(token, secret)

    async def delete_token(self, message: DeleteToken, call: Call) -> None:
        """Revoke a token: one's own, an administrator anybody's."""
        actor = _actor(call)
        token = self._accounts().find_token(message.id)
        may_all = is_permitted(permissions_of(actor.roles), "token.delete")
        if token is None or (token.user_id != self._owner(actor).id and not may_all):
            raise NanoError(ErrorCode.NOT_FOUND, f"there is no token with id {message.id[:80]}")
        await self._accounts().delete_token(token.id)

    def _owner(self, actor: Principal) -> UserRecord:
        """Return the user whose tokens ``actor`` handles; root on the core's own host acts for the administrator."""
        user = self._accounts().find_user(actor.user_id)
        if user is None and actor.session_id is None and actor.token_id is None:
            user = self._accounts().find_username(self._administrator)
        if user is None:
            raise NanoError(ErrorCode.WRONG_STATE, f"{actor.username} is no user that could have tokens")
        return user

    def _token(self, record: TokenRecord, secret: str | None = None) -> Token:
        return Token(
            id=record.id,
            name=record.name,
            user_id=record.user_id,
            roles=list(record.roles),
            created_at=record.created_at,
            expires_at=record.expires_at,
            last_used_at=self._accounts().token_used_at(record.id),
            token=secret,
        )


def _actor(call: Call) -> Principal:
    if call.actor is None:
        raise NanoError(ErrorCode.UNAUTHENTICATED, "log in first")
    return call.actor


def _user(record: UserRecord) -> User:
    return User(
        id=record.id,
        username=record.username,
        roles=list(record.roles),
        permissions=permissions_of(record.roles),
        is_enabled=record.is_enabled,
        created_at=record.created_at,
    )
