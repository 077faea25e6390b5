"""Which MAC addresses network cards have, known without reading every record for each new card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from nanocore.contracts.state_store import Change, StateStore
from nanocore.model.instance import InstanceRecord
from nanoplugins.compute.records import INSTANCES


class Macs:
    """Follows the store. Counts, as two instances could have been given the same address at the same moment."""

    def __init__(self) -> None:
        self._of: dict[str, list[str]] = {}
        self._counts: Counter[str] = Counter()
        self._end_watch: Callable[[], None] | None = None

    def __contains__(self, mac: str) -> bool:
        """Return whether a network card has the address."""
        return self._counts[mac] > 0

    def load(self, store: StateStore) -> None:
        """Read every record once, and follow the store from now on."""
        for entry in store.list(INSTANCES):
            self._follow(entry.key, entry.value)
        self._end_watch = store.watch(self._on_changes)

    def close(self) -> None:
        """Stop following."""
        if self._end_watch is not None:
            self._end_watch()
            self._end_watch = None

    def _on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.collection == INSTANCES.name:
                record: Any = change.value
                self._follow(change.key, record)

    def _follow(self, key: str, record: InstanceRecord | None) -> None:
        now = [] if record is None else [nic.mac for nic in record.nics]
        self._counts.update(now)
        for mac in self._of.pop(key, ()):
            self._counts[mac] -= 1
            if not self._counts[mac]:
                del self._counts[mac]
        if now:
            self._of[key] = now
