"""Real nodes as processes, and what they run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanocore.testing.kernel_process import KernelProcess, wait_until
from nanocore.testing.libvirtd import PrivateLibvirtd, private_libvirtd
from nanoplugins.quickstart import demo_image as demo_image_module
from tests.system import real

MIB = 1024**2


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[KernelProcess]:
    """An all-in-one node with simulated drivers, running."""
    process = KernelProcess(tmp_path)
    process.start()
    try:
        process.wait_ready()
        yield process
    finally:
        process.stop()


@pytest.fixture(scope="session")
def small_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty disk image that passes inspection."""
    file = tmp_path_factory.mktemp("image") / "small.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(file), "16M"], check=True)
    return file


def upload(kernel: KernelProcess, file: Path, name: str = "small") -> str:
    """Upload an image and return its id."""
    return str(kernel.client.upload_disk_image(file, name)["id"])


def create(kernel: KernelProcess, name: str, image_id: str, **more: Any) -> dict[str, Any]:
    """Create an instance and return the operation."""
    body = {"name": name, "image_id": image_id, "memory_bytes": 64 * MIB} | more
    answer: dict[str, Any] = kernel.client.request("POST", "/instances", json=body)
    return answer


def wait_for_state(kernel: KernelProcess, instance_id: str, state: str) -> dict[str, Any]:
    """Return the instance once it is observed in ``state``."""

    def look() -> dict[str, Any] | None:
        instance: dict[str, Any] = kernel.client.get(f"/instances/{instance_id}")
        return instance if instance["state"]["observed"] == state else None

    return wait_until(look, what=f"state {state} of {instance_id}")


@pytest.fixture(scope="session")
def libvirtd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateLibvirtd]:
    """A libvirtd of this test run."""
    with private_libvirtd(tmp_path_factory.mktemp("lv")) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def demo_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo disk image, built from the distribution's packages; kept between runs in ``.cache``."""
    cached = Path(__file__).parents[2] / ".cache" / "demo.qcow2"
    if not cached.exists():
        cached.parent.mkdir(exist_ok=True)
        fresh = tmp_path_factory.mktemp("demo") / "demo.qcow2"
        demo_image_module.build(fresh, print)
        shutil.move(fresh, cached)
    return cached


@pytest.fixture
def real_kernel(tmp_path: Path, libvirtd: PrivateLibvirtd) -> Iterator[KernelProcess]:
    """An all-in-one node on real libvirt, QEMU and bridges, running; everything it made is gone afterwards."""
    bridges, tables = real.own_links(), real.own_tables()
    process = KernelProcess(tmp_path, real.configuration(libvirtd.uri), name="real-1")
    process.start()
    try:
        process.wait_ready()
        wait_until(lambda: process.client.get("/nodes")["items"][0]["usage"]["cores"], seconds=60, what="a report")
        yield process
        remove_instances(process)
    finally:
        process.stop()
    assert real.domains(libvirtd.uri) == {}
    assert real.own_links() == bridges
    assert real.own_tables() == tables
    assert real.volume_files(process) == set()
    assert not real.processes_of(tmp_path)


def remove_instances(kernel: KernelProcess) -> None:
    """Delete every instance and wait for it."""
    wait_until(
        lambda: all(item["state"]["observed"] != "unknown" for item in kernel.client.get("/instances")["items"]),
        what="the cell's word",
    )
    for item in kernel.client.get("/instances")["items"]:
        kernel.client.wait(kernel.client.request("DELETE", f"/instances/{item['id']}"))
