"""WebSockets: what events and consoles share."""

from __future__ import annotations

from collections.abc import Callable

from tornado import websocket

from nanocore.capabilities.identity import SessionInfo
from nanocore.contracts.authorizer import ANONYMOUS
from nanocore.errors import ErrorCode, NanoError
from nanoplugins.restapi.handling import BaseHandler
from nanoplugins.restapi.problems import HttpProblem

CLOSE_SESSION_ENDED = 4401
CLOSE_TRY_LATER = 1013
CLOSE_FAILED = 1011
MAX_REASON_BYTES = 120
MAX_MESSAGE_BYTES = 1024 * 1024


class SocketHandler(websocket.WebSocketHandler, BaseHandler):
    """Checks come before the handshake, so that a refusal is a problem like any other."""

    info: SessionInfo

    async def prepare(self) -> None:
        """Check handshake, origin and login."""
        if self.request.headers.get("Upgrade", "").lower() != "websocket":
            raise HttpProblem(
                426,
                ErrorCode.INVALID_ARGUMENT,
                "this address speaks WebSocket only",
                reason="http.upgrade",
                headers={"Upgrade": "websocket"},
            )
        if self.is_from_elsewhere():
            raise NanoError(
                ErrorCode.PERMISSION_DENIED, "WebSockets of other sites are not taken", reason="http.origin"
            )
        self.socket_credential = self.credential()
        if self.socket_credential == ANONYMOUS:
            raise NanoError(ErrorCode.UNAUTHENTICATED, "log in first")
        self.info = await self.api.identities.info(self.socket_credential)
        self._unregister: Callable[[], None] | None = None
        self._watched = _Watched(self.socket_credential, self.cut)

    def check_origin(self, origin: str) -> bool:
        """Return true: ``prepare`` has checked it, with a better answer."""
        del origin
        return True

    def begin(self) -> bool:
        """Put the open socket under watch; return whether it may stay."""
        try:
            self._unregister = self.api.identities.register(self._watched)
        except NanoError as error:
            self.close(CLOSE_TRY_LATER, _reason(error.message))
            return False
        return True

    def cut(self, reason: str) -> None:
        """Close because the login behind it ended."""
        self.close(CLOSE_SESSION_ENDED, _reason(reason))

    def fail(self, error: NanoError) -> None:
        """Close because of ``error``."""
        self.close(CLOSE_FAILED, _reason(str(error)))

    def on_close(self) -> None:
        """Let go; called once by Tornado."""
        if self._unregister is not None:
            self._unregister()


class _Watched:
    """The socket as ``Identities`` sees it."""

    def __init__(self, credential: str, cut: Callable[[str], None]) -> None:
        self.credential = credential
        self.cut = cut


def _reason(text: str) -> str:
    return text.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
