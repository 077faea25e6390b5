"""Sessions and API tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

from nanocore.ids import LABEL_PATTERN
from nanocore.model.account import Token, User
from nanocore.wire import PUBLIC, Command, Meta, Query, Result


class NewSession(Result, frozen=True, kw_only=True):
    """A login that succeeded; ``credential`` goes into the cookie and nowhere else."""

    user: User
    csrf_token: str
    expires_at: datetime
    credential: str


class CreateSession(Command[NewSession], frozen=True, kw_only=True):
    """Log in. Wrong password and unknown user give the same answer in the same time; too many tries ``busy``."""

    op: ClassVar[str] = "identity.create_session"
    permission: ClassVar[str | None] = PUBLIC

    username: Annotated[str, Meta(description="User name", max_length=200)]
    password: Annotated[str, Meta(description="Password", max_length=1024)]
    otp: Annotated[
        Annotated[str, Meta(max_length=16)] | None, Meta(description="One-time code, where the user has set one up")
    ] = None
    address: Annotated[str, Meta(description="Set by the API: where the request came from")] = ""


class SessionInfo(Result, frozen=True, kw_only=True):
    """Who the caller is; ``csrf_token`` and ``expires_at`` only for a cookie session."""

    user: User
    csrf_token: str | None = None
    expires_at: datetime | None = None


class GetSession(Query[SessionInfo], frozen=True, kw_only=True):
    """Who the caller is."""

    op: ClassVar[str] = "identity.get_session"
    permission: ClassVar[str | None] = "session.own"


class DeleteSession(Command[None], frozen=True, kw_only=True):
    """Log out; what the session opened is cut."""

    op: ClassVar[str] = "identity.delete_session"
    permission: ClassVar[str | None] = "session.own"


class ListTokens(Query[list[Token]], frozen=True, kw_only=True):
    """The caller's API tokens, without their secrets."""

    op: ClassVar[str] = "identity.list_tokens"
    permission: ClassVar[str | None] = "token.own"


class CreateToken(Command[Token], frozen=True, kw_only=True):
    """Make an API token; its secret is in this answer only."""

    op: ClassVar[str] = "identity.create_token"
    permission: ClassVar[str | None] = "token.own"

    name: Annotated[str, Meta(description="What it is for", min_length=1, max_length=200, pattern=LABEL_PATTERN)]
    expires_in_seconds: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="Life in seconds; default: no end")
    ] = None
    roles: Annotated[
        list[str] | None, Meta(description="Roles that may no more than the user; default: the user's own")
    ] = None


class DeleteToken(Command[None], frozen=True, kw_only=True):
    """Revoke an API token."""

    op: ClassVar[str] = "identity.delete_token"
    permission: ClassVar[str | None] = "token.own"

    id: str
