"""Real nodes as processes, and what they run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanocore.testing.kernel_process import KernelProcess

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
    from nanocore.testing.kernel_process import wait_until

    def look() -> dict[str, Any] | None:
        instance: dict[str, Any] = kernel.client.get(f"/instances/{instance_id}")
        return instance if instance["state"]["observed"] == state else None

    return wait_until(look, what=f"state {state} of {instance_id}")
