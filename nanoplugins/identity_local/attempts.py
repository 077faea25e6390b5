"""How often somebody may guess: wrong passwords in a sliding window, by user and address. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque

from nanocore.errors import ErrorCode, NanoError

MAX_KEYS = 10_000
"""The longest unused keys go first, so that a flood of names can't fill the memory."""

Key = tuple[str, str]


class Attempts:
    """Asked by the login before the password is looked at, so that parallel guesses count too."""

    def __init__(self, *, per_user: int, per_address: int, window_seconds: float) -> None:
        self._per_user = per_user
        self._per_address = per_address
        self._window = window_seconds
        self._times: OrderedDict[Key, deque[float]] = OrderedDict()

    def begin(self, username: str, address: str, now: float) -> None:
        """Count one attempt at ``now`` (monotonic seconds); raise ``busy`` when there were too many."""
        user, anybody = self._keys(username, address)
        for key, limit in ((user, self._per_user), (anybody, self._per_address)):
            times = self._recent(key, now)
            if len(times) >= limit:
                wait = max(1, round(times[0] + self._window - now))
                raise NanoError(
                    ErrorCode.BUSY,
                    f"too many attempts to log in from {address or 'here'}; try again in {wait} s",
                    reason="identity.too_many_attempts",
                    retry_after_seconds=wait,
                )
        for key in (user, anybody):
            self._recent(key, now).append(now)

    def succeed(self, username: str, address: str) -> None:
        """Forget the attempts of a user who knew the password, and one of the address."""
        user, anybody = self._keys(username, address)
        self._times.pop(user, None)
        times = self._times.get(anybody)
        if times:
            times.pop()

    def _keys(self, username: str, address: str) -> tuple[Key, Key]:
        return (username, address), ("", address)

    def _recent(self, key: Key, now: float) -> deque[float]:
        times = self._times.setdefault(key, deque())
        self._times.move_to_end(key)
        while times and times[0] <= now - self._window:
            times.popleft()
        while len(self._times) > MAX_KEYS:
            self._times.popitem(last=False)
        return times
