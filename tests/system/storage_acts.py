"""What tests of storage ask of a node again and again."""

from __future__ import annotations

from typing import Any

from nanocore.testing.kernel_process import KernelProcess

MIB = 1024**2


def done(kernel: KernelProcess, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Send a request and return its operation's result once it has ended well."""
    operation = kernel.client.wait(kernel.client.request(method, path, json=body), timeout_seconds=120)
    result: dict[str, Any] = operation["result"]
    return result


def make_volume(kernel: KernelProcess, name: str = "data", size_bytes: int = 8 * MIB, **more: Any) -> str:
    """Create a free volume and return its id."""
    return str(done(kernel, "POST", "/volumes", {"name": name, "size_bytes": size_bytes} | more)["volume_id"])


def volume(kernel: KernelProcess, id: str) -> dict[str, Any]:
    """Return a volume as the API shows it."""
    found: dict[str, Any] = kernel.client.get(f"/volumes/{id}")
    return found


def disks(kernel: KernelProcess, instance_id: str) -> list[dict[str, Any]]:
    """Return an instance's disks."""
    found: list[dict[str, Any]] = kernel.client.get(f"/instances/{instance_id}")["disks"]
    return found


def take_snapshot(kernel: KernelProcess, instance_id: str, name: str) -> str:
    """Take a snapshot and return its id."""
    return str(done(kernel, "POST", f"/instances/{instance_id}/snapshots", {"name": name})["snapshot_id"])


def snapshots(kernel: KernelProcess, instance_id: str) -> dict[str, dict[str, Any]]:
    """Return an instance's snapshots by name."""
    return {item["name"]: item for item in kernel.client.items(f"/instances/{instance_id}/snapshots")}
