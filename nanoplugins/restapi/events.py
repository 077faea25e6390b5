"""``/api/v2/events``: changes as they happen, by WebSocket."""

from __future__ import annotations

import asyncio

from tornado import websocket

from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import encode_json
from nanoplugins.restapi.feed import Inbox
from nanoplugins.restapi.identities import is_permitted
from nanoplugins.restapi.sockets import SocketHandler

GATHER_SECONDS = 0.05
"""Changes within this time reach a client in one go, the latest of each object only."""


class EventsHandler(SocketHandler):
    """One client of the feed; ``?topics=instances,nodes&cursor=…``."""

    async def prepare(self) -> None:
        """Check login and topics."""
        await super().prepare()
        self._topics = self._wanted()
        self._inbox: Inbox | None = None
        self._task: asyncio.Task[None] | None = None

    def open(self, *args: str, **kwargs: str) -> None:
        """Begin to send."""
        del args, kwargs
        if self.begin():
            self._inbox = self.api.feed.open(self._topics, self.get_query_argument("cursor", ""))
            self._task = asyncio.create_task(self._pump(self._inbox))

    def on_message(self, message: str | bytes) -> None:
        """Ignore what a client says: everything is in the address."""

    def on_close(self) -> None:
        """Stop sending."""
        super().on_close()
        if self._inbox is not None:
            self.api.feed.close(self._inbox)
        if self._task is not None:
            self._task.cancel()

    async def _pump(self, inbox: Inbox) -> None:
        feed = self.api.feed
        try:
            await self.write_message(encode_json({"type": "hello", "cursor": feed.cursor}).decode())
            while True:
                await inbox.woken.wait()
                for event in inbox.take(feed.cursor):
                    # Waits until it is on its way: what comes meanwhile is coalesced in the inbox.
                    await self.write_message(encode_json(event).decode())
                await asyncio.sleep(GATHER_SECONDS)
        except websocket.WebSocketClosedError:
            return

    def _wanted(self) -> frozenset[str]:
        known = self.api.topics
        text = self.get_query_argument("topics", "")
        permissions = self.info.user.permissions
        if not text:
            return frozenset(noun for noun, needed in known.items() if is_permitted(permissions, needed))
        wanted = frozenset(text.split(","))
        unknown = sorted(wanted - set(known))
        if unknown:
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                f"topics: there is no {unknown[0][:80]!r}; there are {', '.join(sorted(known))}",
                field="topics",
            )
        for noun in sorted(wanted):
            if not is_permitted(permissions, known[noun]):
                raise NanoError(ErrorCode.PERMISSION_DENIED, f"topic {noun} needs the permission {known[noun]}")
        return wanted
