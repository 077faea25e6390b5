"""What an instance is wanted to be after a snapshot was brought back."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from nanocore.contracts.operation import StepContext
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Put
from nanocore.ids import SnapshotId, StepKey, new_id
from nanocore.model.instance import DesiredState
from nanocore.model.snapshot import SnapshotRecord
from nanocore.testing.fake_clock import FakeClock
from nanocore.testing.memory_store import MemoryStore
from nanocore.wire import structs
from nanoplugins.compute.records import INSTANCES, get_instance
from nanoplugins.compute.storage.snapshot_workflows import RestoreSnapshotWorkflow, SnapshotInput
from nanoplugins.compute.storage.volume_workflows import VolumeParts
from nanoplugins.sim.storage import SimStorage
from tests.compute.storage_bench import NODE, storage_bench


@pytest.mark.parametrize(
    ("was_running", "before", "after"),
    [
        (True, DesiredState.PAUSED, DesiredState.RUNNING),
        (True, DesiredState.RUNNING, DesiredState.RUNNING),
        (False, DesiredState.STOPPED, DesiredState.STOPPED),
    ],
)
def test_a_guest_that_is_started_again_is_wanted_running(
    was_running: bool,  # noqa: FBT001
    before: DesiredState,
    after: DesiredState,
) -> None:
    async def main() -> None:
        async with storage_bench(MemoryStore(), FakeClock(), SimStorage()) as bench:
            instance, store = structs.replace(bench.instance, desired=before), bench.context.store
            await store.commit(Put(INSTANCES, instance.id, instance))
            snapshot = SnapshotRecord(
                id=SnapshotId(new_id()), name="one", instance_id=instance.id, created_at=bench.context.clock.now()
            )
            input = SnapshotInput(record=snapshot, instance=instance.name, node_id=NODE, was_running=was_running)
            parts = VolumeParts(cast("PluginContext", bench.context), bench.board, bench.storage.board)
            steps = {step.name: step for step in RestoreSnapshotWorkflow(parts).steps(input)}
            told = SimpleNamespace(key=StepKey("key"), outcomes={"restore": []})
            await steps["record"].do(cast("StepContext", told))
            assert get_instance(store, instance.id).desired is after

    asyncio.run(main())
