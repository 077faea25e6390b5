"""``kill -9`` at every fail point of what is done with volumes, disks, snapshots and paths, whatever the drivers are.

One piece of work goes through every workflow, so that its fail points are each met once; a node dies at each of them,
starts again, and must have neither lost, doubled nor left anything.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nanocore.testing.kernel_process import KernelProcess, wait_until
from nanocore.testing.kill_points import DIE_SECONDS, killed_at, record_points
from tests.system.crashes import delete, make
from tests.system.crashes import instance as the_instance
from tests.system.storage_acts import MIB, done, make_volume, take_snapshot

PEACE_SECONDS = 120.0
ReadVolumes = Callable[[KernelProcess], dict[str, list["VolumeFile"]]]
"""Returns what the storage driver really holds: every file, by volume."""


@dataclass(frozen=True)
class VolumeFile:
    """One file of a volume."""

    size_bytes: int
    snapshots: frozenset[str]


def life(kernel: KernelProcess) -> None:
    """Go through every workflow, beginning with one running instance of one disk, and leave nothing."""
    instance = the_instance(kernel)
    assert instance is not None
    path = f"/instances/{instance['id']}"
    volume = make_volume(kernel)
    done(kernel, "PATCH", f"/volumes/{volume}", {"size_bytes": 12 * MIB})
    done(kernel, "POST", f"{path}/disks", {"volume_id": volume})
    done(kernel, "PATCH", f"{path}/disks/{volume}", {"size_bytes": 16 * MIB})
    first = take_snapshot(kernel, instance["id"], "first")
    second = take_snapshot(kernel, instance["id"], "second")
    done(kernel, "POST", f"{path}/snapshots/{first}/actions/restore")
    done(kernel, "DELETE", f"{path}/snapshots/{first}")
    done(kernel, "POST", f"{path}/actions/power_off", {})
    third = take_snapshot(kernel, instance["id"], "third")
    done(kernel, "POST", f"{path}/snapshots/{third}/actions/restore")
    for snapshot in (third, second):
        done(kernel, "DELETE", f"{path}/snapshots/{snapshot}")
    drain(kernel)
    done(kernel, "DELETE", f"{path}/disks/{volume}")
    done(kernel, "DELETE", f"/volumes/{volume}")
    new = done(kernel, "POST", f"{path}/disks", {"size_bytes": 8 * MIB})["volume_id"]
    done(kernel, "DELETE", f"{path}/disks/{new}?is_kept=false")
    kept = done(kernel, "POST", f"{path}/disks", {"size_bytes": 8 * MIB, "is_kept": True})["volume_id"]
    take_snapshot(kernel, instance["id"], "last")
    done(kernel, "DELETE", path)
    done(kernel, "DELETE", f"/volumes/{kept}")


def drain(kernel: KernelProcess) -> None:
    """Drain the path that takes new volumes."""
    pool = kernel.client.get("/storage-pools")["items"][0]
    own = pool["paths"][0]["id"]
    done(kernel, "POST", f"/storage-pools/{pool['id']}/paths/{own}/actions/drain")


def with_paths(kernel: KernelProcess) -> dict[str, Any] | None:
    """Return the one storage pool once its cell has told a path."""
    pool: dict[str, Any] = kernel.client.get("/storage-pools")["items"][0]
    return pool if pool["paths"] else None


def reset(kernel: KernelProcess, more: str) -> None:
    """Have one running instance, no free volumes, and two paths, of which the second takes nothing new yet."""
    client = kernel.client
    delete(kernel)
    for item in list(client.items("/volumes")):
        done(kernel, "DELETE", f"/volumes/{item['id']}")
    pool = wait_until(lambda: with_paths(kernel), what="the cell to tell its paths")
    every = f"/storage-pools/{pool['id']}/paths"
    if len(pool["paths"]) == 1:
        added = {"node_id": pool["paths"][0]["node_id"], "path": more}
        pool = client.request("POST", every, json=added)
    for item in pool["paths"]:
        client.request("POST", f"{every}/{item['id']}/actions/enable")
    other = pool["paths"][1]["id"]
    client.request("POST", f"{every}/{other}/actions/disable")
    make(kernel)
    client.request("POST", f"{every}/{other}/actions/enable")


def check_agreement(kernel: KernelProcess, read_volumes: ReadVolumes) -> None:
    """Assert that no operation is stuck, and that the driver holds exactly what the records say."""
    client = kernel.client
    assert {item["state"] for item in client.items("/operations")} <= {"succeeded", "failed", "cancelled"}
    volumes = {item["id"]: item for item in client.items("/volumes")}
    held = read_volumes(kernel)
    assert set(held) == set(volumes)
    assert all(len(files) == 1 for files in held.values()), held
    assert {item["state"] for item in volumes.values()} <= {"ready"}, volumes
    assert {id: item["size_bytes"] for id, item in volumes.items()} == {
        id: files[0].size_bytes for id, files in held.items()
    }
    wanted: dict[str, set[str]] = {id: set() for id in volumes}
    attached: set[str] = set()
    for instance in client.items("/instances"):
        attached |= {disk["id"] for disk in instance["disks"]}
        for snapshot in client.items(f"/instances/{instance['id']}/snapshots"):
            assert snapshot["state"] == "ready", snapshot
            for id in snapshot["volume_ids"]:
                wanted[id].add(snapshot["id"])
    assert {id: set(files[0].snapshots) for id, files in held.items()} == wanted
    assert attached == {id for id, item in volumes.items() if item["instance_id"]}
    assert client.get("/system")["problems"] == []


def what_goes_on(kernel: KernelProcess) -> list[str]:
    """Return what still changes, and which volumes have not been heard of."""
    client = kernel.client
    volumes: list[dict[str, Any]] = list(client.items("/volumes"))
    instances: list[dict[str, Any]] = list(client.items("/instances"))
    return [
        *(
            f"operation {item['kind']} is {item['state']} at {item['progress']}"
            for item in client.items("/operations")
            if item["state"] not in ("succeeded", "failed", "cancelled")
        ),
        *(f"volume {item['name']} is {item['state']}" for item in volumes if item["state"] == "unknown"),
        *(f"volume {item['name']} has {item['operation_id']}" for item in volumes if item["operation_id"]),
        *(f"instance has {item['operation_id']}" for item in instances if item["operation_id"]),
        *("instance is unknown" for item in instances if item["state"]["observed"] == "unknown"),
    ]


def wait_for_peace(kernel: KernelProcess, point: str) -> None:
    """Wait until nothing goes on any more."""
    try:
        wait_until(lambda: not what_goes_on(kernel), seconds=PEACE_SECONDS, what="peace")
    except TimeoutError as error:
        raise AssertionError(f"killed at {point}, no peace: {what_goes_on(kernel)}") from error


def kill_everywhere(kernel: KernelProcess, read_volumes: ReadVolumes, more: str, *, every: int = 1) -> int:
    """Kill ``kernel`` at each fail point of ``life``, or each ``every``-th; return their number."""
    _restarted(kernel, lambda: reset(kernel, more))
    points = record_points(kernel, life)
    assert len(points) >= 80, points
    _restarted(kernel, lambda: reset(kernel, more))
    chosen = points[::every]
    for point in chosen:
        assert _is_killed_at(kernel, point), f"{point} was not reached"
        kernel.start()
        kernel.wait_ready()
        wait_for_peace(kernel, point)
        try:
            check_agreement(kernel, read_volumes)
        except AssertionError as error:
            raise AssertionError(f"killed at {point}: {error}") from error
        print(f"whole after {point}", flush=True)
        reset(kernel, more)
        kernel.stop()
    return len(chosen)


def _is_killed_at(kernel: KernelProcess, point: str) -> bool:
    """Return whether the node died at ``point``; some are met by every start already, as cells are told things then."""
    try:
        return killed_at(kernel, point, life)
    except AssertionError:
        return kernel.wait_ended(DIE_SECONDS) == -signal.SIGKILL


def _restarted(kernel: KernelProcess, work: Callable[[], None]) -> None:
    kernel.start()
    kernel.wait_ready()
    work()
    kernel.stop()
