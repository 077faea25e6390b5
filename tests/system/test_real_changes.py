"""Clone, rebuild, network cards and batches with real libvirt and QEMU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nanocore.testing.kernel_process import KernelProcess
from nanocore.testing.tiny_guest import write_disk
from tests.system.acts import MIB, create, upload, wait_for_state

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs("libvirt", "qemu", "namespaces"),
    pytest.mark.timeout(900),
]


def done(kernel: KernelProcess, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    operation = kernel.client.request(method, path, json=body)
    result: dict[str, Any] = kernel.client.wait(operation, timeout_seconds=300)["result"]
    return result


def test_copied_rebuilt_and_many(real_kernel: KernelProcess, tmp_path: Path) -> None:
    disk = tmp_path / "tiny.raw"
    write_disk(disk)
    image_id = upload(real_kernel, disk, "tiny")
    made = create(real_kernel, "web-1", image_id, disks=[{"size_bytes": 8 * MIB, "name": "data"}])
    id = real_kernel.client.wait(made, timeout_seconds=300)["result"]["instance_id"]
    before = wait_for_state(real_kernel, id, "running")
    done(real_kernel, "POST", f"/instances/{id}/nics", {})
    clone = done(real_kernel, "POST", f"/instances/{id}/actions/clone", {"name": "web-2"})
    copy = wait_for_state(real_kernel, clone["instance_id"], "running")
    assert [each["size_bytes"] for each in copy["disks"]] == [each["size_bytes"] for each in before["disks"]]
    done(real_kernel, "POST", f"/instances/{id}/actions/power_off", {})
    wait_for_state(real_kernel, id, "stopped")
    done(real_kernel, "POST", f"/instances/{id}/actions/rebuild", {})
    after = wait_for_state(real_kernel, id, "running")
    assert after["disks"][1]["id"] == before["disks"][1]["id"]
    assert after["disks"][0]["id"] != before["disks"][0]["id"]
    batch = {"create": {"name_pattern": "many-{n}", "count": 2, "image_id": image_id, "memory_bytes": 64 * MIB}}
    result = done(real_kernel, "POST", "/instance-batches", batch)
    ids = [item["id"] for item in result["items"]]
    assert result["failed"] == 0
    assert done(real_kernel, "POST", "/instance-batches", {"action": "delete", "instance_ids": ids})["failed"] == 0
