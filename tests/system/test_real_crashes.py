"""Kills at every fail point with real libvirt, QEMU, files and bridges."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanocore.testing.kernel_process import KernelProcess
from nanocore.testing.libvirtd import PrivateLibvirtd
from nanocore.testing.tiny_guest import write_disk
from tests.system import real, storage_crashes
from tests.system.acts import remove_instances, upload
from tests.system.crashes import CHANGES, WORKFLOWS, ReadCell, Work, kill_everywhere

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs("libvirt", "qemu", "namespaces"),
    pytest.mark.timeout(1200),
]


@pytest.fixture
def stopped_kernel(tmp_path: Path, libvirtd: PrivateLibvirtd, small_iso: Path) -> Iterator[KernelProcess]:
    """A node on real drivers with the tiny guest's image, stopped; what is left is removed at the end."""
    disk = tmp_path / "tiny.raw"
    write_disk(disk)
    process = KernelProcess(tmp_path, real.configuration(libvirtd.uri), name="real-1")
    try:
        process.start()
        process.wait_ready()
        upload(process, disk, "tiny")
        process.client.upload_image("/media-images", small_iso, {"name": "tools"})
        process.stop()
        yield process
    finally:
        process.kill()
        process.start()
        process.wait_ready()
        remove_instances(process)
        process.stop()


@pytest.fixture
def read_cell(libvirtd: PrivateLibvirtd) -> ReadCell:
    """A reader of libvirt's domains, the pool's files and the ports."""

    def read(kernel: KernelProcess) -> dict[str, set[str]]:
        return {
            "guests": set(real.domains(libvirtd.uri)),
            "volumes": real.volume_files(kernel),
            "ports": real.ports(kernel),
        }

    return read


@pytest.mark.parametrize(("name", "before", "work"), WORKFLOWS)
def test_killed_at_every_point(
    stopped_kernel: KernelProcess, read_cell: ReadCell, name: str, before: Work, work: Work
) -> None:
    count = kill_everywhere(stopped_kernel, read_cell, before, work)
    print(f"{name}, real: killed at {count} fail points, 0 orphans, 0 stuck operations")


def read_volumes(kernel: KernelProcess) -> dict[str, list[storage_crashes.VolumeFile]]:
    """Return what lies in the pool's folders."""
    found: dict[str, list[storage_crashes.VolumeFile]] = {}
    for folder in (kernel.root / "var" / "lib" / "nano" / "storage_local", kernel.root / "more"):
        for file in folder.rglob("*.qcow2*"):
            command = ["qemu-img", "info", "-U", "-f", "qcow2", "--output=json", str(file)]
            facts = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
            names = frozenset(str(snapshot["name"]) for snapshot in facts.get("snapshots", []))
            found.setdefault(file.stem, []).append(storage_crashes.VolumeFile(facts["virtual-size"], names))
    return found


@pytest.mark.parametrize("every", [pytest.param(12, id="some"), pytest.param(1, id="all", marks=pytest.mark.full)])
def test_killed_while_working_on_storage(stopped_kernel: KernelProcess, every: int) -> None:
    more = stopped_kernel.root / "more"
    more.mkdir()
    count = storage_crashes.kill_everywhere(stopped_kernel, read_volumes, str(more), every=every)
    print(f"storage, real: killed at {count} fail points, 0 lost, 0 doubled, 0 left, 0 stuck operations")


@pytest.mark.full
@pytest.mark.parametrize(("name", "before", "work"), CHANGES)
def test_killed_at_every_point_of_a_change(
    stopped_kernel: KernelProcess, read_cell: ReadCell, name: str, before: Work, work: Work
) -> None:
    count = kill_everywhere(stopped_kernel, read_cell, before, work)
    print(f"{name}, real: killed at {count} fail points, 0 orphans, 0 stuck operations")
