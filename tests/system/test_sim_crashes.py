"""Kills at every fail point with simulated drivers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanocore.testing.kernel_process import KernelProcess
from tests.system import storage_crashes
from tests.system.acts import upload
from tests.system.crashes import CHANGES, WORKFLOWS, Work, kill_everywhere

pytestmark = [pytest.mark.full, pytest.mark.process, pytest.mark.timeout(3600)]


def read_cell(kernel: KernelProcess) -> dict[str, set[str]]:
    """Return what the simulated drivers hold on disk."""
    folder = kernel.root / "var" / "lib" / "nano" / "sim"
    guests: dict[str, Any] = {}
    for line in (folder / "guests.jsonl").read_text().splitlines():
        change = json.loads(line)
        guests[change["id"]] = change["guest"]
    return {
        "guests": {id for id, guest in guests.items() if guest is not None},
        "volumes": {volume["id"] for volume in json.loads((folder / "volumes.json").read_text())["volumes"]},
        "ports": {port.stem for port in (folder / "ports").glob("*.json")},
    }


@pytest.fixture
def stopped_kernel(tmp_path: Path, small_image: Path, small_iso: Path) -> Iterator[KernelProcess]:
    """A node with one image, stopped."""
    process = KernelProcess(tmp_path)
    process.start()
    process.wait_ready()
    upload(process, small_image)
    process.client.upload_image("/media-images", small_iso, {"name": "tools"})
    process.stop()
    try:
        yield process
    finally:
        process.stop()


@pytest.mark.parametrize(("name", "before", "work"), [*WORKFLOWS, *CHANGES])
def test_killed_at_every_point(stopped_kernel: KernelProcess, name: str, before: Work, work: Work) -> None:
    count = kill_everywhere(stopped_kernel, read_cell, before, work)
    print(f"{name}, simulated: killed at {count} fail points, 0 orphans, 0 stuck operations")


def read_volumes(kernel: KernelProcess) -> dict[str, list[storage_crashes.VolumeFile]]:
    """Return what the simulated storage holds on disk."""
    saved = json.loads((kernel.root / "var" / "lib" / "nano" / "sim" / "volumes.json").read_text())
    return {
        item["id"]: [storage_crashes.VolumeFile(item["size_bytes"], frozenset(item.get("snapshots", [])))]
        for item in saved["volumes"]
    }


def test_killed_at_every_point_of_storage(stopped_kernel: KernelProcess) -> None:
    count = storage_crashes.kill_everywhere(stopped_kernel, read_volumes, "/more")
    print(f"storage, simulated: killed at {count} fail points, 0 lost, 0 doubled, 0 left, 0 stuck operations")
