"""Who asks, and whether they may: credentials to principals, principals to permissions."""

from __future__ import annotations

from collections.abc import Callable

from nanocore.contracts.authorizer import ANONYMOUS, LOCAL, SYSTEM, Principal, ResourceRef
from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import PUBLIC
from nanoplugins.identity_local.accounts import Accounts
from nanoplugins.identity_local.roles import covers, is_permitted, permissions_of

SESSION_PREFIX = "session:"
TOKEN_PREFIX = "token:"  # noqa: S105  the credential's kind
OF_THIS_NODE = {
    LOCAL: Principal(user_id="local", username="root", roles=["admin"]),
    SYSTEM: Principal(user_id="system", username="system", roles=["admin"]),
}


class LocalAuthorizer:
    """``[kernel] authorizer = "local"``."""

    name = "local"

    def __init__(self, accounts: Callable[[], Accounts]) -> None:
        self._accounts = accounts

    async def resolve(self, credential: str, *, is_local: bool) -> Principal | None:
        """Return the principal, ``None`` for anonymous; see ``Authorizer.resolve``."""
        if credential in ("", ANONYMOUS):
            return None
        if credential in OF_THIS_NODE and is_local:
            return OF_THIS_NODE[credential]
        found = None
        if credential.startswith(SESSION_PREFIX):
            found = self._by_session(credential.removeprefix(SESSION_PREFIX))
        elif credential.startswith(TOKEN_PREFIX):
            found = self._by_token(credential.removeprefix(TOKEN_PREFIX))
        if found is None:
            # One answer for unknown, expired and revoked: a guess learns nothing.
            raise NanoError(ErrorCode.UNAUTHENTICATED, "the session or token is not valid any more; log in again")
        return found

    async def authorize(self, principal: Principal | None, permission: str, resource: ResourceRef | None) -> None:
        """Return if ``principal`` may; every object is everybody's, so ``resource`` only words the refusal."""
        if permission == PUBLIC:
            return
        if principal is None:
            raise NanoError(ErrorCode.UNAUTHENTICATED, "log in first")
        # Asking who one is does not keep a session alive, so that an open console or event stream does not either.
        if principal.session_id is not None and permission != "session.own":
            self._accounts().touch_session(principal.session_id)
        if not is_permitted(permissions_of(principal.roles), permission):
            about = f" for {resource.kind} {resource.id[:80]}" if resource is not None else ""
            roles = ", ".join(principal.roles) or "none"
            raise NanoError(
                ErrorCode.PERMISSION_DENIED,
                f"{principal.username} may not use {permission}{about}: their roles are {roles}; "
                "ask an administrator for a role that includes it",
            )

    def _by_session(self, secret: str) -> Principal | None:
        session = self._accounts().find_session(secret)
        user = None if session is None else self._accounts().find_user(session.user_id)
        if session is None or user is None:
            return None
        return Principal(user_id=user.id, username=user.username, roles=list(user.roles), session_id=session.id)

    def _by_token(self, secret: str) -> Principal | None:
        token = self._accounts().use_token(secret)
        user = None if token is None else self._accounts().find_user(token.user_id)
        if token is None or user is None:
            return None
        roles = [role for role in token.roles if covers(user.roles, role)]
        return Principal(user_id=user.id, username=user.username, roles=roles, token_id=token.id)
