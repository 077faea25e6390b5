"""Deletion forgets an instance as it is at the end, whatever it was when deletion was asked for."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

from nanocore.contracts.operation import StepContext
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Delete, Put
from nanocore.ids import StepKey
from nanocore.testing.fake_clock import FakeClock
from nanocore.testing.memory_store import MemoryStore
from nanocore.wire import structs
from nanoplugins.compute.delete import DeleteInput, DeleteWorkflow
from nanoplugins.compute.records import INSTANCE_NAMES, INSTANCES, NameRecord
from nanoplugins.sim.storage import SimStorage
from tests.compute.storage_bench import storage_bench


def test_a_name_that_came_while_deletion_began_is_free_again() -> None:
    async def main() -> None:
        async with storage_bench(MemoryStore(), FakeClock(), SimStorage()) as bench:
            asked, store = bench.instance, bench.context.store
            await store.commit(
                Put(INSTANCES, asked.id, structs.replace(asked, name="web-2")),
                Put(INSTANCE_NAMES, "web-2", NameRecord(id=asked.id)),
                Delete(INSTANCE_NAMES, asked.name),
            )
            workflow = DeleteWorkflow(cast("PluginContext", bench.context), bench.board)
            forget = workflow.steps(DeleteInput(record=asked))[-1]
            await forget.do(cast("StepContext", SimpleNamespace(key=StepKey("key"), outcomes={})))
            assert store.list(INSTANCES) == []
            assert store.list(INSTANCE_NAMES) == []

    asyncio.run(main())
