from __future__ import annotations

from pathlib import Path

from nanocore.contracts.state_store import StateStore
from nanocore.testing.memory_store import MemoryStore
from nanocore.testing.state_store_suite import StateStoreSuite


class TestMemoryStore(StateStoreSuite):
    is_durable = False

    def make_store(self, folder: Path) -> StateStore:
        return MemoryStore()
