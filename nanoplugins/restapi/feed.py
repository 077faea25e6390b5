"""Changes of the API's objects for WebSocket clients: a ring with a cursor, coalesced and bounded per client."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable

from nanocore.contracts.listing import ResourceChanged

RING_LENGTH = 20_000
MAX_PENDING = 5_000
"""Different objects that may wait for one client; beyond it is told to read again."""

EventDict = dict[str, object]


class Inbox:
    """What waits for one client: the latest event of each object."""

    def __init__(self, topics: frozenset[str] | None) -> None:
        self._topics = topics
        self.woken = asyncio.Event()
        self._pending: OrderedDict[tuple[str, str], EventDict] = OrderedDict()
        self._needs_reset = False

    def put(self, event: EventDict) -> None:
        """Add an event if its topic is wanted; an older one about the same object is dropped."""
        if self._topics is not None and event["topic"] not in self._topics:
            return
        key = (str(event["topic"]), str(event["id"]))
        if len(self._pending) >= MAX_PENDING and key not in self._pending:
            self.reset()
        elif not self._needs_reset:
            self._pending[key] = event
            self._pending.move_to_end(key)
        self.woken.set()

    def reset(self) -> None:
        """Drop everything: the client has to read again."""
        self._pending.clear()
        self._needs_reset = True
        self.woken.set()

    def take(self, cursor: str) -> list[EventDict]:
        """Return and forget what waits; ``cursor`` is the feed's own now."""
        self.woken.clear()
        if self._needs_reset:
            self._needs_reset = False
            return [{"type": "reset", "cursor": cursor}]
        events = list(self._pending.values())
        self._pending.clear()
        return events


class Feed:
    """Every change that this node heard of. ``epoch`` tells cursors of an earlier process apart."""

    def __init__(self, epoch: str) -> None:
        self._epoch = epoch
        self._sequence = 0
        self._ring: deque[tuple[int, EventDict]] = deque(maxlen=RING_LENGTH)
        self._inboxes: set[Inbox] = set()

    @property
    def cursor(self) -> str:
        """Return where the feed stands."""
        return f"{self._epoch}-{self._sequence}"

    def record(self, change: ResourceChanged) -> None:
        """Add a change and hand it to whoever wants its noun."""
        self._sequence += 1
        event: EventDict = {
            "type": "event",
            "cursor": self.cursor,
            "topic": change.noun,
            "id": change.id,
            "revision": change.revision,
            "is_deleted": change.is_deleted,
        }
        self._ring.append((self._sequence, event))
        for inbox in self._inboxes:
            inbox.put(event)

    def open(self, topics: Iterable[str] | None, cursor: str) -> Inbox:
        """Return an inbox for ``topics`` (``None``: all) that goes on after ``cursor``, or begins with a reset.

        An empty cursor means from now on.
        """
        inbox = Inbox(None if topics is None else frozenset(topics))
        after = self._after(cursor)
        if after is None:
            inbox.reset()
        else:
            for sequence, event in self._ring:
                if sequence > after:
                    inbox.put(event)
        self._inboxes.add(inbox)
        return inbox

    def close(self, inbox: Inbox) -> None:
        """Stop filling ``inbox``."""
        self._inboxes.discard(inbox)

    def reset_all(self) -> None:
        """Tell every client to read again, also those that come back: changes may have been missed."""
        self._ring.clear()
        self._sequence += 1
        for inbox in self._inboxes:
            inbox.reset()

    def _after(self, cursor: str) -> int | None:
        """Return the sequence that ``cursor`` names, or ``None`` if the ring does not reach back to it."""
        if not cursor:
            return self._sequence
        epoch, _, text = cursor.rpartition("-")
        if epoch != self._epoch or not text.isdigit() or len(text) > len(str(self._sequence)):
            return None
        after = int(text)
        oldest = self._ring[0][0] - 1 if self._ring else self._sequence
        return after if oldest <= after <= self._sequence else None
