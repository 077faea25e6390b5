"""Who a credential is, as the core said last: for CSRF, permissions at this edge, and cutting what a login opened."""

from __future__ import annotations

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Protocol

from nanocore.capabilities.identity import GetSession, SessionInfo
from nanocore.clock import Clock
from nanocore.contracts.authorizer import ANONYMOUS
from nanocore.errors import ErrorCode, NanoError
from nanoplugins.restapi.core_link import CoreLink

FRESH_SECONDS = 5.0
MAX_KNOWN = 10_000
CHECK_SECONDS = 0.75
CHECK_TIMEOUT_SECONDS = 1.0
SESSION_PREFIX = "session:"
PARALLEL_CHECKS = 32


class Cuttable(Protocol):
    """An open WebSocket."""

    credential: str

    def cut(self, reason: str) -> None:
        """Close it now."""
        ...


def is_permitted(permissions: Iterable[str], permission: str) -> bool:
    """Return whether one of ``permissions`` (patterns, as in ``User.permissions``) covers ``permission``."""
    noun, _, verb = permission.partition(".")
    return any(granted in ("*", permission, f"*.{verb}", f"{noun}.*") for granted in permissions)


class Identities:
    """A bounded cache of ``GetSession`` answers. The core decides on every message anyway."""

    def __init__(self, core: CoreLink, clock: Clock, *, max_sockets: int) -> None:
        self._core = core
        self._clock = clock
        self._max_sockets = max_sockets
        self._known: OrderedDict[str, tuple[float, SessionInfo]] = OrderedDict()
        self._sockets: dict[str, set[Cuttable]] = {}

    async def info(self, credential: str) -> SessionInfo:
        """Return who ``credential`` is; raise ``unauthenticated`` for nobody."""
        now = self._clock.monotonic()
        known = self._known.get(credential)
        if known is not None and now - known[0] < FRESH_SECONDS:
            return known[1]
        return await self.ask(credential)

    async def user_id(self, credential: str) -> str:
        """Return the id of the user behind ``credential``, which never changes; ``anonymous`` for nobody."""
        if credential == ANONYMOUS:
            return ANONYMOUS
        known = self._known.get(credential)
        return (known[1] if known else await self.ask(credential)).user.id

    async def check_csrf(self, credential: str, token: str) -> None:
        """Return if ``token`` belongs to the cookie's session; raise ``permission_denied`` or ``unauthenticated``."""
        known = self._known.get(credential)
        info = known[1] if known else await self.ask(credential)
        if not hmac.compare_digest((info.csrf_token or "").encode(), token.encode()) or not token:
            raise NanoError(
                ErrorCode.PERMISSION_DENIED,
                "a request with the session cookie that changes something needs the header X-CSRF-Token with the "
                "csrf_token of GET /api/v2/session",
                reason="http.csrf",
            )

    def forget(self, credential: str) -> None:
        """Drop what is known of a credential that logged out, and close what it opened."""
        self._known.pop(credential, None)
        self._cut(credential, "logged out")

    # -- sockets

    def register(self, socket: Cuttable) -> Callable[[], None]:
        """Watch over ``socket`` until the returned function is called. Raises ``busy`` when there are too many."""
        sockets = self._sockets.setdefault(socket.credential, set())
        if len(sockets) >= self._max_sockets:
            raise NanoError(ErrorCode.BUSY, f"you have {len(sockets)} WebSockets open; close some")
        sockets.add(socket)

        def unregister() -> None:
            sockets.discard(socket)
            if not sockets and self._sockets.get(socket.credential) is sockets:
                del self._sockets[socket.credential]

        return unregister

    def socket_count(self) -> int:
        """Return the number of open WebSockets."""
        return sum(len(sockets) for sockets in self._sockets.values())

    async def watch(self) -> None:
        """Ask again and again for every credential with a socket open; cut those that ended. Runs until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            gate = asyncio.Semaphore(PARALLEL_CHECKS)
            await asyncio.gather(*(self._check(credential, gate) for credential in list(self._sockets)))

    def cut_all(self, reason: str) -> None:
        """Close every socket; the node stops."""
        for credential in list(self._sockets):
            self._cut(credential, reason)

    async def _check(self, credential: str, gate: asyncio.Semaphore) -> None:
        async with gate:
            try:
                await self.ask(credential, timeout_seconds=CHECK_TIMEOUT_SECONDS)
            except NanoError as error:
                # A core that can't be reached ends streams by itself; only a clear no ends a socket here.
                if error.code in (ErrorCode.UNAUTHENTICATED, ErrorCode.PERMISSION_DENIED):
                    self._known.pop(credential, None)
                    self._cut(credential, "session ended")

    def _cut(self, credential: str, reason: str) -> None:
        for socket in list(self._sockets.get(credential, ())):
            socket.cut(reason)

    async def ask(self, credential: str, *, timeout_seconds: float | None = None) -> SessionInfo:
        """Return who ``credential`` is by the core's word of now; raise ``unauthenticated`` for nobody."""
        info = await self._core.call(GetSession(), credential=credential, timeout_seconds=timeout_seconds)
        self._known[credential] = (self._clock.monotonic(), info)
        self._known.move_to_end(credential)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return info
