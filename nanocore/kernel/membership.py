"""Who is there: hello, beats, missed beats, good-bye. Pure: told what happened and when, answers what changed."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from nanocore.contracts.node import NodeInfo, Peer

BEAT_SECONDS = 0.75
MISSED_BEATS = 2
CHECK_SECONDS = 0.2
STRETCH_ABOVE = 2000
"""Nodes on one core or relay beyond which beats come threefold more rarely."""
STRETCH = 3


@dataclass(slots=True)
class _State:
    info: NodeInfo
    is_reachable: bool
    since: datetime


class Membership:
    """The peers of one node and whether they answer."""

    def __init__(self, beat_seconds: float = BEAT_SECONDS, *, stretch_above: int = STRETCH_ABOVE) -> None:
        self._beat_seconds = beat_seconds
        self._stretch_above = stretch_above
        self._states: dict[str, _State] = {}
        # Watched peers, the one heard longest ago first: a check looks at the head only.
        self._heard: OrderedDict[str, float] = OrderedDict()
        self._checked_at: float | None = None

    @property
    def beat_seconds(self) -> float:
        """How often peers should beat now."""
        return self._beat_seconds * (STRETCH if len(self._heard) > self._stretch_above else 1)

    def hello(self, info: NodeInfo, *, now: float, at: datetime, is_watched: bool) -> bool:
        """Note who a peer is; return whether it was not reachable before.

        ``is_watched``: it dialled us and beats; a peer that we dialled is as reachable as its link.
        """
        if is_watched:
            self._heard[info.id] = now
            self._heard.move_to_end(info.id)
        state = self._states.get(info.id)
        if state is None:
            self._states[info.id] = _State(info, is_reachable=True, since=at)
            return True
        state.info = info
        return self._set(state, at, is_reachable=True)

    def heard(self, id: str, *, now: float, at: datetime) -> NodeInfo | None:
        """Note a sign of life; return the peer if it had counted as unreachable."""
        if id in self._heard:
            self._heard[id] = now
            self._heard.move_to_end(id)
            return None
        state = self._states.get(id)
        if state is None or state.is_reachable:
            return None
        self._heard[id] = now
        self._set(state, at, is_reachable=True)
        return state.info

    def leave(self, id: str, *, at: datetime) -> NodeInfo | None:
        """Note that a peer is gone; return it if it was reachable."""
        self._heard.pop(id, None)
        state = self._states.get(id)
        return state.info if state is not None and self._set(state, at, is_reachable=False) else None

    def check(self, *, now: float, at: datetime) -> list[NodeInfo]:
        """Return the peers that have just missed two beats. Call every ``CHECK_SECONDS``.

        A check that comes late says that this node stood still, not its peers: then everybody gets a beat's time.
        """
        late = self._checked_at is not None and now - self._checked_at > self._beat_seconds
        self._checked_at = now
        if late:
            self._heard = OrderedDict((id, max(heard, now - self._beat_seconds)) for id, heard in self._heard.items())
        limit = now - MISSED_BEATS * self.beat_seconds
        lost: list[NodeInfo] = []
        while self._heard:
            id, heard = next(iter(self._heard.items()))
            if heard > limit:
                break
            info = self.leave(id, at=at)
            if info is not None:
                lost.append(info)
        return lost

    def find(self, id: str) -> NodeInfo | None:
        """Return what a peer said of itself."""
        state = self._states.get(id)
        return None if state is None else state.info

    def is_reachable(self, id: str) -> bool:
        """Return whether a peer answers."""
        state = self._states.get(id)
        return state is not None and state.is_reachable

    def reachable(self) -> list[NodeInfo]:
        """Return every peer that answers."""
        return [state.info for state in self._states.values() if state.is_reachable]

    def peer(self, id: str) -> Peer | None:
        """Return a peer as ``membership.list_peers`` shows it."""
        state = self._states.get(id)
        return None if state is None else Peer(info=state.info, is_reachable=state.is_reachable, since=state.since)

    def forget(self, id: str) -> None:
        """Drop a peer altogether."""
        self._heard.pop(id, None)
        self._states.pop(id, None)

    def _set(self, state: _State, at: datetime, *, is_reachable: bool) -> bool:
        if state.is_reachable == is_reachable:
            return False
        state.is_reachable = is_reachable
        state.since = at
        return True
