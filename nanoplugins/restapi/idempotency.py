"""The same ``Idempotency-Key`` gets the same answer for a day, also while the first request still runs."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from nanocore.clock import Clock
from nanocore.errors import ErrorCode, NanoError
from nanoplugins.restapi.problems import Answer

KEEP_SECONDS = 24 * 3600.0
MAX_KEPT = 10_000
_KEY = re.compile(r"[\x21-\x7e]{1,200}")


@dataclass(slots=True)
class _Entry:
    at: float
    fingerprint: str
    done: asyncio.Event = field(default_factory=asyncio.Event)
    answer: Answer | None = None


def scoped_key(key: str, user_id: str, method: str, path: str) -> str:
    """Return the key as the core stores it: nobody can meet another user's, or another request's, by the same text."""
    if not _KEY.fullmatch(key):
        raise NanoError(
            ErrorCode.INVALID_ARGUMENT,
            "Idempotency-Key must be 1 to 200 visible ASCII characters, such as a UUID",
            field="Idempotency-Key",
        )
    return hashlib.sha256(f"{user_id}\0{method}\0{path}\0{key}".encode()).hexdigest()


class KeptAnswers:
    """In memory: a restart forgets them, and for commands that carry the key the core's journal goes on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    async def once(self, key: str, body: bytes, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return the kept answer for ``key``, or that of ``work``; a failure is not kept.

        Raises ``invalid_argument`` when the same key comes with another body.
        """
        fingerprint = hashlib.sha256(body).hexdigest()
        while (entry := self._find(key)) is not None:
            if entry.fingerprint != fingerprint:
                raise NanoError(
                    ErrorCode.INVALID_ARGUMENT,
                    "this Idempotency-Key was used for another body; take a new key for a new request",
                    reason="http.idempotency_key",
                    field="Idempotency-Key",
                )
            await entry.done.wait()
            if entry.answer is not None:
                return entry.answer
        entry = self._entries[key] = _Entry(self._clock.monotonic(), fingerprint)
        try:
            entry.answer = await work()
        finally:
            if entry.answer is None:
                self._entries.pop(key, None)
            entry.done.set()
        return entry.answer

    def holds(self, key: str) -> bool:
        """Return whether a request with ``key`` would be answered from here."""
        return self._find(key) is not None

    def _find(self, key: str) -> _Entry | None:
        oldest = self._clock.monotonic() - KEEP_SECONDS
        while self._entries:
            first = next(iter(self._entries.values()))
            if first.at > oldest and len(self._entries) < MAX_KEPT:
                break
            self._entries.popitem(last=False)
        return self._entries.get(key)
