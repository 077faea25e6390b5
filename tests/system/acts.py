"""What tests ask of a node again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nanocore.testing.kernel_process import KernelProcess, wait_until

MIB = 1024**2


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


def remove_instances(kernel: KernelProcess) -> None:
    """Delete every instance and wait for it."""
    wait_until(
        lambda: all(item["state"]["observed"] != "unknown" for item in kernel.client.get("/instances")["items"]),
        what="the cell's word",
    )
    for item in kernel.client.get("/instances")["items"]:
        kernel.client.wait(kernel.client.request("DELETE", f"/instances/{item['id']}"))
