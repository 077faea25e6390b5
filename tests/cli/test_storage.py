"""``nano volume``, ``storage-pool``, ``snapshot`` and what ``nano instance`` does with disks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanocore.testing.kernel_process import KernelProcess
from tests.cli.test_nano import nano
from tests.system.acts import create, upload

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, small_image: Path) -> Iterator[Path]:
    """A running node's root, with the running instance web-1."""
    process = KernelProcess(tmp_path_factory.mktemp("node"))
    process.start()
    try:
        process.wait_ready()
        process.client.wait(create(process, "web-1", upload(process, small_image)))
        yield process.root
    finally:
        process.stop()


def well(root: Path, *arguments: str) -> str:
    done = nano(root, "--wait", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read(root: Path, *arguments: str) -> Any:
    return json.loads(well(root, "-o", "json", *arguments))


def test_a_volume_is_made_grown_attached_detached_and_deleted(root: Path) -> None:
    assert read(root, "volume", "create", "data", "--size", "8M")["state"] == "ready"
    assert read(root, "volume", "update", "data", "--size", "16M")["size_bytes"] == 16 * 1024**2
    refused = nano(root, "--wait", "volume", "update", "data", "--size", "8M")
    assert (refused.returncode, "is_shrink_confirmed" in refused.stderr) == (2, True)
    assert read(root, "volume", "update", "data", "--size", "8M", "--shrink")["size_bytes"] == 8 * 1024**2
    well(root, "volume", "attach", "data", "web-1")
    assert "web-1" in well(root, "volume", "list")
    assert nano(root, "--wait", "volume", "delete", "-y", "data").returncode == 5
    well(root, "volume", "detach", "data")
    assert nano(root, "volume", "detach", "data").returncode == 5
    well(root, "volume", "delete", "-y", "data")
    assert nano(root, "volume", "get", "data").returncode == 3


def test_a_disk_of_an_instance(root: Path) -> None:
    assert read(root, "instance", "add-disk", "web-1", "--size", "8M", "--name", "logs")["instance"] == "web-1"
    assert read(root, "instance", "update-disk", "web-1", "logs", "--size", "16M", "--keep")["is_kept"] is True
    assert read(root, "instance", "update-disk", "web-1", "logs", "--no-keep")["is_kept"] is False
    unknown = nano(root, "--wait", "instance", "remove-disk", "-y", "web-1", "nothing")
    assert (unknown.returncode, "logs" in unknown.stderr) == (3, True)
    well(root, "instance", "remove-disk", "-y", "web-1", "logs")
    assert len(read(root, "instance", "get", "web-1")["disks"]) == 1


def test_snapshots_are_a_tree(root: Path) -> None:
    for name in ("clean", "configured"):
        well(root, "snapshot", "create", "web-1", name)
    lines = well(root, "snapshot", "list", "web-1").splitlines()
    assert lines[1].startswith("clean")
    assert lines[2].startswith("  configured")
    well(root, "snapshot", "restore", "-y", "web-1", "clean")
    assert read(root, "snapshot", "get", "web-1", "clean")["is_current"] is True
    assert read(root, "instance", "get", "web-1")["state"]["observed"] == "running"
    for name in ("clean", "configured"):
        well(root, "snapshot", "delete", "-y", "web-1", name)
    assert nano(root, "snapshot", "get", "web-1", "clean").returncode == 3


def test_a_schedule(root: Path) -> None:
    made = read(root, "snapshot-schedule", "create", "web-1", "hourly", "--every", "1h", "--keep", "3")
    assert (made["interval_seconds"], made["keep"]) == (3600, 3)
    assert read(root, "snapshot-schedule", "update", "hourly", "--disable")["is_enabled"] is False
    assert "hourly" in well(root, "snapshot-schedule", "list")
    well(root, "snapshot-schedule", "delete", "-y", "hourly")
    wrong = nano(root, "snapshot-schedule", "create", "web-1", "x", "--every", "soon", "--keep", "3")
    assert (wrong.returncode, "30m" in wrong.stderr) == (2, True)


def test_a_storage_pool(root: Path) -> None:
    well(root, "storage-pool", "create", "fast")
    refused = nano(root, "storage-pool", "add-path", "fast", "core-1", "/missing/disk")
    assert (refused.returncode, "does not exist" in refused.stderr) == (2, True)
    well(root, "storage-pool", "add-path", "fast", "core-1", "/nvme-1")
    well(root, "storage-pool", "add-path", "fast", "core-1", "/nvme-2")
    made = read(root, "volume", "create", "quick", "--size", "8M", "--storage-pool", "fast", "--node", "core-1")
    other = {"/nvme-1": "/nvme-2", "/nvme-2": "/nvme-1"}[made["path"]]
    assert well(root, "storage-pool", "drain-path", "fast", "core-1", made["path"]) == "quick: moved\n"
    assert read(root, "volume", "get", "quick")["path"] == other
    states = {path["path"]: path["state"] for path in read(root, "storage-pool", "paths", "fast")}
    assert states == {made["path"]: "draining", other: "online"}
    well(root, "storage-pool", "disable-path", "fast", "core-1", other)
    well(root, "storage-pool", "enable-path", "fast", "core-1", other)
    well(root, "storage-pool", "remove-path", "fast", "core-1", made["path"])
    assert nano(root, "storage-pool", "delete", "-y", "fast").returncode == 5
    well(root, "volume", "delete", "-y", "quick")
    well(root, "storage-pool", "remove-path", "fast", "core-1", other)
    well(root, "storage-pool", "delete", "-y", "fast")
    assert nano(root, "storage-pool", "remove-path", "default", "core-1", "/nowhere").returncode == 3
