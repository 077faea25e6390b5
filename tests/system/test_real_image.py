"""An image built from a real guest that runs, and from one that is stopped; what boots from it is what was copied."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from nanocore.errors import ErrorCode, NanoError
from nanocore.testing.kernel_process import KernelProcess
from tests.system import real
from tests.system.acts import create, upload, wait_for_state

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs("libvirt", "qemu", "namespaces"),
    pytest.mark.timeout(900),
]
MIB = 1024**2
MARK_SECTOR = 5
"""Between the boot sector and the first partition."""


def build(kernel: KernelProcess, name: str, instance_id: str) -> dict[str, Any]:
    """Build an image of an instance and return it."""
    body = {"name": name, "from_instance_id": instance_id}
    done = kernel.client.wait(kernel.client.request("POST", "/disk-images", json=body), timeout_seconds=300)
    image: dict[str, Any] = kernel.client.get(f"/disk-images/{done['result']['image_id']}")
    assert (image["state"], image["format"]) == ("ready", "qcow2")
    return image


def mark_of(kernel: KernelProcess, image: dict[str, Any], folder: Path) -> bytes:
    """Return what the image has in the sector that the guest wrote."""
    file = folder / image["name"]
    kernel.client.download_image(f"/disk-images/{image['id']}", file)
    assert (
        b'"backing-filename"'
        not in subprocess.run(
            ["qemu-img", "info", "-f", "qcow2", "--output=json", file], check=True, capture_output=True
        ).stdout
    )
    subprocess.run(["qemu-img", "check", "-f", "qcow2", file], check=True, capture_output=True)
    raw = folder / f"{image['name']}.raw"
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", file, raw], check=True)
    with raw.open("rb") as disk:
        disk.seek(MARK_SECTOR * 512)
        return disk.read(512).rstrip(b"\0")


def write(kernel: KernelProcess, id: str, text: str) -> None:
    """Have the guest write ``text`` to its disk, past its caches."""
    line = f"printf {text} | dd of=/dev/vda bs=512 seek={MARK_SECTOR} conv=sync 2>/dev/null; sync; echo wrote-$((40+2))"
    real.serial_dialogue(kernel, id, line, "wrote-42")


def test_build_from_a_running_and_a_stopped_guest(real_kernel: KernelProcess, demo_image: Path, tmp_path: Path) -> None:
    kernel = real_kernel
    demo = upload(kernel, demo_image, "demo")
    made = kernel.client.wait(create(kernel, "first", demo, memory_bytes=128 * MIB), timeout_seconds=120)
    id = made["result"]["instance_id"]
    real.wait_for_page(made["result"]["addresses"][0], "first")
    write(kernel, id, "running-copy")
    live = build(kernel, "live", id)
    # The demo guest has no agent that could bring its file systems to rest.
    assert live["source"]["is_consistent"] is False
    assert mark_of(kernel, live, tmp_path) == b"running-copy"
    wait_for_state(kernel, id, "running")

    write(kernel, id, "stopped-copy")
    kernel.client.wait(kernel.client.request("POST", f"/instances/{id}/actions/power_off", json={}))
    cold = build(kernel, "cold", id)
    assert cold["source"]["is_consistent"] is True
    assert mark_of(kernel, cold, tmp_path) == b"stopped-copy"
    disks = {disk["id"] for item in kernel.client.items("/instances") for disk in item["disks"]}
    assert {name.split(".")[0] for name in real.volume_files(kernel)} == disks, "no copy is left on the cell"

    again = kernel.client.wait(create(kernel, "second", live["id"], memory_bytes=128 * MIB), timeout_seconds=120)
    real.wait_for_page(again["result"]["addresses"][0], "second")
    with pytest.raises(NanoError, match="instance second") as caught:
        kernel.client.request("DELETE", f"/disk-images/{live['id']}")
    assert caught.value.code is ErrorCode.WRONG_STATE
    evicted = kernel.client.request("POST", f"/disk-images/{live['id']}/actions/evict", json={})
    assert (evicted["evicted_from"], len(evicted["kept_on"])) == ([], 1)
