"""What the state store holds of accounts."""

from __future__ import annotations

from datetime import datetime

from nanocore.contracts.state_store import Collection
from nanocore.model.account import TokenRecord, UserRecord
from nanocore.wire import Struct


class SessionRecord(Struct, frozen=True, kw_only=True):
    """A login; the record's key is the SHA-256 of its secret, which nobody but the client has."""

    id: str
    user_id: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    """The end however busy it is; the idle limit comes on top."""


USERS: Collection[UserRecord] = Collection(
    "identity_users", UserRecord, indexes=(("username", lambda user: user.username),)
)
SESSIONS: Collection[SessionRecord] = Collection(
    "identity_sessions",
    SessionRecord,
    indexes=(("id", lambda session: session.id), ("user_id", lambda session: session.user_id)),
)
TOKENS: Collection[TokenRecord] = Collection(
    "identity_tokens",
    TokenRecord,
    indexes=(("token_sha256", lambda token: token.token_sha256), ("user_id", lambda token: token.user_id)),
)
