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
    items = kernel.client.get("/instances", name="web-1")["items"]
    return items[0] if items else None


def make(kernel: KernelProcess) -> None:
    # A node that was just started gets no instance before its cell has said what it has.
    wait_until(lambda: kernel.client.get("/nodes")["items"][0]["accelerator"], what="the cell's first report")
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
    instance(kernel)
    for found in list(kernel.client.items("/instances")):
        kernel.client.wait(kernel.client.request("DELETE", f"/instances/{found['id']}"), timeout_seconds=30)


def no_work(_kernel: KernelProcess) -> None:
    return


def check_agreement(kernel: KernelProcess, read_cell: ReadCell) -> None:
    """Assert that no operation is stuck, and that the cell has exactly what the records say."""
    operations = list(kernel.client.items("/operations"))
    assert {operation["state"] for operation in operations} <= {"succeeded", "failed", "cancelled"}
    items = list(kernel.client.items("/instances"))
    assert all(item["state"]["observed"] in ("running", "stopped", "suspended") for item in items), items
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


def call(method: str, tail: Callable[[KernelProcess, dict[str, Any]], str], body: dict[str, Any] | None = None) -> Work:
    """Return the work of one request about the instance, below whose path ``tail`` leads."""

    def work(kernel: KernelProcess) -> None:
        found = instance(kernel)
        assert found is not None
        path = f"/instances/{found['id']}{tail(kernel, found)}"
        kernel.client.wait(kernel.client.request(method, path, json=body), timeout_seconds=60)

    return work


def at(tail: str) -> Callable[[KernelProcess, dict[str, Any]], str]:
    return lambda _kernel, _found: tail


def last_nic(_kernel: KernelProcess, found: dict[str, Any]) -> str:
    return f"/nics/{found['nics'][-1]['id']}"


def insert(kernel: KernelProcess) -> None:
    """Insert the one media image into the first drive."""
    media = kernel.client.get("/media-images")["items"][0]["id"]
    call("PUT", at("/media/0"), {"media_image_id": media})(kernel)


def several(*works: Work) -> Work:
    def work(kernel: KernelProcess) -> None:
        for each in works:
            each(kernel)

    return work


ADD_NIC = call("POST", at("/nics"), {})
MAKE_OFF = several(make, act("power_off"))
CLONE = call("POST", at("/actions/clone"), {"name": "web-2"})

WORKFLOWS: list[tuple[str, Work, Work]] = [
    ("create", no_work, make),
    ("stop", make, act("power_off")),
    ("start", MAKE_OFF, act("start")),
    ("delete", make, delete),
]
"""Name, what comes before, and what is killed."""
CHANGES: list[tuple[str, Work, Work]] = [
    ("suspend", make, act("suspend")),
    ("restore", several(make, act("suspend")), act("restore")),
    ("add_nic", make, ADD_NIC),
    ("remove_nic", several(make, ADD_NIC), call("DELETE", last_nic)),
    ("update_nic", make, call("PATCH", last_nic, {"security_policy_id": None})),
    ("insert_media", make, insert),
    ("eject_media", several(make, insert), call("DELETE", at("/media/0"))),
    ("rebuild", MAKE_OFF, call("POST", at("/actions/rebuild"), {})),
    ("clone_stopped", MAKE_OFF, CLONE),
    ("clone_running", make, CLONE),
]
"""The same for what changes an instance, or makes another one from it."""


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
