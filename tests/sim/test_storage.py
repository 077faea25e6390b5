from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nanocore.capabilities.storage import StorageDriver
from nanocore.errors import ErrorCode, NanoError
from nanocore.model.instance import MIB
from nanocore.testing.storage_suite import StorageSuite, SuiteImage
from nanoplugins.sim.storage import SimStorage


class TestSimStorage(StorageSuite):
    def driver(self, folder: Path) -> StorageDriver:
        return SimStorage(folder / "volumes.json")

    def full_driver(self, folder: Path) -> StorageDriver:
        return SimStorage(folder / "volumes.json", total_bytes=MIB)

    def image(self, folder: Path) -> SuiteImage:
        return SuiteImage(path=folder / "image.qcow2", format="qcow2", size_bytes=8 * MIB)


def test_damaged_snapshot_is_named(tmp_path: Path) -> None:
    snapshot = tmp_path / "volumes.json"
    snapshot.write_bytes(b'{"volumes": [{"id": 3}]}')
    with pytest.raises(NanoError, match=r"volumes\.json") as caught:
        asyncio.run(SimStorage(snapshot).open())
    assert caught.value.code is ErrorCode.UNAVAILABLE
