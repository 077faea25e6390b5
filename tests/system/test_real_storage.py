"""Disks and snapshots of a real guest under QEMU: what it reads and writes while they change under it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from nanocore.errors import ErrorCode, NanoError
from nanocore.testing.kernel_process import KernelProcess, wait_until
from nanocore.testing.libvirtd import PrivateLibvirtd
from tests.system import real
from tests.system.acts import create, upload, wait_for_state
from tests.system.storage_acts import MIB, disks, done, make_volume, snapshots, take_snapshot, volume

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs("libvirt", "qemu", "namespaces"),
    pytest.mark.timeout(900),
]


def run(kernel: KernelProcess, id: str, command: str, word: str) -> str:
    """Run ``command`` in the guest until it prints ``word``, which must not stand in the command itself."""
    assert word not in command
    return real.serial_dialogue(kernel, id, command, word)


def write(kernel: KernelProcess, id: str, text: str) -> None:
    """Write ``text`` to the start of the guest's second disk."""
    run(kernel, id, f"echo {text} | dd of=/dev/vdb conv=fsync 2>/dev/null && echo wrote-$((40+2))", "wrote-42")


def starts_with(kernel: KernelProcess, id: str, text: str) -> None:
    """Wait until the guest's second disk is seen to begin with ``text``."""
    run(kernel, id, f"head -c {len(text)} /dev/vdb | md5sum", _md5(text))


def _md5(text: str) -> str:
    return subprocess.run(["md5sum"], input=text.encode(), capture_output=True, check=True).stdout.decode().split()[0]


def start_guest(kernel: KernelProcess, image: Path) -> tuple[str, str]:
    """Return id and address of a running guest that answers."""
    ended = kernel.client.wait(
        create(kernel, "hello", upload(kernel, image, "demo"), memory_bytes=128 * MIB), timeout_seconds=120
    )
    id, address = ended["result"]["instance_id"], ended["result"]["addresses"][0]
    real.wait_for_page(address, "hello")
    return id, address


def test_a_disk_lives_through_everything_while_the_guest_runs(
    real_kernel: KernelProcess, libvirtd: PrivateLibvirtd, demo_image: Path
) -> None:
    kernel = real_kernel
    id, address = start_guest(kernel, demo_image)
    path = f"/instances/{id}"
    disk = make_volume(kernel, "data", 16 * MIB)
    done(kernel, "POST", f"{path}/disks", {"volume_id": disk})
    run(kernel, id, "echo sectors=$(cat /sys/block/vdb/size)", f"sectors={16 * MIB // 512}")
    write(kernel, id, "before")
    first = take_snapshot(kernel, id, "first")
    assert snapshots(kernel, id)["first"]["is_consistent"] is False
    assert volume(kernel, disk)["snapshots"] == 1
    done(kernel, "PATCH", f"{path}/disks/{disk}", {"size_bytes": 32 * MIB})
    run(kernel, id, "echo sectors=$(cat /sys/block/vdb/size)", f"sectors={32 * MIB // 512}")
    write(kernel, id, "after!")
    second = take_snapshot(kernel, id, "second")

    done(kernel, "POST", f"{path}/snapshots/{first}/actions/restore")
    wait_for_state(kernel, id, "running")
    real.wait_for_page(address, "hello")
    assert [item["size_bytes"] for item in disks(kernel, id)][1] == 16 * MIB
    starts_with(kernel, id, "before\n")

    done(kernel, "DELETE", f"{path}/snapshots/{first}")
    done(kernel, "POST", f"{path}/actions/power_off", {})
    done(kernel, "POST", f"{path}/snapshots/{second}/actions/restore")
    wait_for_state(kernel, id, "stopped")
    done(kernel, "POST", f"{path}/actions/start", {})
    real.wait_for_page(address, "hello")
    starts_with(kernel, id, "after!\n")
    done(kernel, "DELETE", f"{path}/snapshots/{second}")

    done(kernel, "DELETE", f"{path}/disks/{disk}")
    run(kernel, id, "test -e /sys/block/vdb || echo none-$((40+2))", "none-42")
    shown = volume(kernel, disk)
    assert (shown["instance_id"], shown["snapshots"], shown["state"]) == (None, 0, "ready")
    checked = subprocess.run(
        ["qemu-img", "check", "-f", "qcow2", "--output=json", real.volume_file(kernel, disk)],
        capture_output=True,
        check=True,
    )
    assert json.loads(checked.stdout)["check-errors"] == 0
    done(kernel, "DELETE", f"/volumes/{disk}")
    assert real.domains(libvirtd.uri) == {id: "running"}


def test_draining_waits_for_a_guest_that_runs(real_kernel: KernelProcess, demo_image: Path, tmp_path: Path) -> None:
    kernel = real_kernel
    client = kernel.client
    id, address = start_guest(kernel, demo_image)
    pool = client.get("/storage-pools")["items"][0]
    own, node_id = pool["paths"][0]["id"], pool["paths"][0]["node_id"]
    paths = f"/storage-pools/{pool['id']}/paths"
    missing = tmp_path / "more"
    with pytest.raises(NanoError) as caught:
        client.request("POST", paths, json={"node_id": node_id, "path": str(missing)})
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert "does not exist" in caught.value.message
    missing.mkdir(mode=0o711)
    free = make_volume(kernel, "free", 16 * MIB)
    client.request("POST", paths, json={"node_id": node_id, "path": str(missing)})
    told = done(kernel, "POST", f"{paths}/{own}/actions/drain")
    assert told["moved"] == ["free"]
    assert list(told["waiting"].values()) == ["waits until instance hello stops (it is running)"]
    assert volume(kernel, free)["path"] == str(missing)

    done(kernel, "POST", f"/instances/{id}/actions/power_off", {})
    boot = disks(kernel, id)[0]["id"]
    wait_until(lambda: volume(kernel, boot)["path"] == str(missing), seconds=60, what="the waiting disk's move")
    wait_until(lambda: not client.get(f"/instances/{id}")["operation_id"], what="peace")
    done(kernel, "POST", f"/instances/{id}/actions/start", {})
    real.wait_for_page(address, "hello")
    done(kernel, "DELETE", f"/volumes/{free}")
    done(kernel, "DELETE", f"/instances/{id}")
    assert list((missing / "volumes").iterdir()) == []
