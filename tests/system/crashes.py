"""``kill -9`` at every fail point of creating, starting, stopping and deleting, whatever the drivers are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nanocore.testing.kernel_process import KernelProcess, wait_until
from nanocore.testing.kill_points import killed_at, record_points
from tests.system.acts import create

Work = Callable[[KernelProcess], object]
ReadCell = Callable[[KernelProcess], dict[str, set[str]]]
"""Returns what the drivers really hold: ids of ``guests``, ``volumes`` and ``ports``."""


def instance(kernel: KernelProcess) -> dict[str, Any] | None:
    """Return the one instance, once its cell has said what it has."""
    wait_until(lambda: settled(kernel), what="the cell's word")
    items = kernel.client.get("/instances")["items"]
    return items[0] if items else None


def make(kernel: KernelProcess) -> None:
    image_id = kernel.client.get("/disk-images")["items"][0]["id"]
    kernel.client.wait(create(kernel, "web-1", image_id), timeout_seconds=30)


def act(action: str) -> Work:
    def work(kernel: KernelProcess) -> None:
        found = instance(kernel)
        assert found is not None
        path = f"/instances/{found['id']}/actions/{action}"
        kernel.client.wait(kernel.client.request("POST", path, json={}), timeout_seconds=30)

    return work


def delete(kernel: KernelProcess) -> None:
    found = instance(kernel)
    if found is not None:
        kernel.client.wait(kernel.client.request("DELETE", f"/instances/{found['id']}"), timeout_seconds=30)


def no_work(_kernel: KernelProcess) -> None:
    return


def check_agreement(kernel: KernelProcess, read_cell: ReadCell) -> None:
    """Assert that no operation is stuck, and that the cell has exactly what the records say."""
    operations = list(kernel.client.items("/operations"))
    assert {operation["state"] for operation in operations} <= {"succeeded", "failed", "cancelled"}
    items = list(kernel.client.items("/instances"))
    assert all(item["state"]["observed"] in ("running", "stopped") for item in items), items
    inventory = read_cell(kernel)
    assert inventory["guests"] == {item["id"] for item in items}
    assert inventory["ports"] == {nic["id"] for item in items for nic in item["nics"]}
    assert inventory["volumes"] == {disk["id"] for item in items for disk in item["disks"]}
    allocated = kernel.client.get("/networks")["items"][0]["addresses_allocated"]
    assert allocated == sum(len(nic["addresses"]) for item in items for nic in item["nics"])
    assert kernel.client.get("/system")["problems"] == []


def settled(kernel: KernelProcess) -> bool:
    states = {operation["state"] for operation in kernel.client.items("/operations")}
    busy = [item for item in kernel.client.items("/instances") if item["operation_id"]]
    unknown = [item for item in kernel.client.items("/instances") if item["state"]["observed"] == "unknown"]
    return states <= {"succeeded", "failed", "cancelled"} and not busy and not unknown


WORKFLOWS: list[tuple[str, Work, Work]] = [
    ("create", no_work, make),
    ("stop", make, act("power_off")),
    ("start", lambda kernel: (make(kernel), act("power_off")(kernel)), act("start")),
    ("delete", make, delete),
]
"""Name, what comes before, and what is killed."""


def kill_everywhere(kernel: KernelProcess, read_cell: ReadCell, before: Work, work: Work) -> int:
    """Kill ``kernel`` at each fail point of ``work``; return their number. It is stopped before and after."""
    prepare(kernel, before)
    points = record_points(kernel, work)
    prepare(kernel, delete, before)
    assert len(points) >= 8, points
    for point in points:
        assert killed_at(kernel, point, work), f"{point} was not reached"
        kernel.start()
        kernel.wait_ready()
        wait_until(lambda: settled(kernel), what=f"peace after {point}")
        check_agreement(kernel, read_cell)
        delete(kernel)
        check_agreement(kernel, read_cell)
        before(kernel)
        kernel.stop()
    return len(points)


def prepare(kernel: KernelProcess, *works: Work) -> None:
    """Do ``works`` on a node of their own."""
    kernel.start()
    kernel.wait_ready()
    for work in works:
        work(kernel)
    kernel.stop()
