"""``kill -9`` at every fail point of creating, starting, stopping and deleting, with simulated drivers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nanocore.testing.kernel_process import KernelProcess, wait_until
from nanocore.testing.kill_points import killed_at, record_points
from tests.system.conftest import create, upload

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]

Work = Callable[[KernelProcess], None]


def instance(kernel: KernelProcess) -> dict[str, Any] | None:
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


def check_agreement(kernel: KernelProcess) -> None:
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


def read_cell(kernel: KernelProcess) -> dict[str, set[str]]:
    """Return what the simulated drivers hold on disk."""
    folder = kernel.root / "var" / "lib" / "nano" / "sim"
    guests: dict[str, Any] = {}
    for line in (folder / "guests.jsonl").read_text().splitlines():
        change = json.loads(line)
        guests[change["id"]] = change["guest"]
    return {
        "guests": {id for id, guest in guests.items() if guest is not None},
        "volumes": {volume["id"] for volume in json.loads((folder / "volumes.json").read_text())["volumes"]},
        "ports": {port.stem for port in (folder / "ports").glob("*.json")},
    }


def settled(kernel: KernelProcess) -> bool:
    states = {operation["state"] for operation in kernel.client.items("/operations")}
    busy = [item for item in kernel.client.items("/instances") if item["operation_id"]]
    unknown = [item for item in kernel.client.items("/instances") if item["state"]["observed"] == "unknown"]
    return states <= {"succeeded", "failed", "cancelled"} and not busy and not unknown


@pytest.fixture
def stopped_kernel(tmp_path: Path, small_image: Path) -> Iterator[KernelProcess]:
    """A node with one image, stopped."""
    process = KernelProcess(tmp_path)
    process.start()
    process.wait_ready()
    upload(process, small_image)
    process.stop()
    try:
        yield process
    finally:
        process.stop()


@pytest.mark.parametrize(
    ("name", "before", "work", "after"),
    [
        ("create", no_work, make, delete),
        ("stop", make, act("stop"), delete),
        ("start", lambda kernel: (make(kernel), act("power_off")(kernel)), act("start"), delete),
        ("delete", make, delete, delete),
    ],
)
def test_killed_at_every_point(
    stopped_kernel: KernelProcess,
    name: str,
    before: Work,
    work: Work,
    after: Work,
    record_property: Callable[[str, object], None],
) -> None:
    kernel = stopped_kernel

    prepare(kernel, before)
    points = record_points(kernel, work)
    prepare(kernel, after, before)
    assert len(points) >= 8, points
    for point in points:
        assert killed_at(kernel, point, work), f"{point} was not reached"
        kernel.start()
        kernel.wait_ready()
        wait_until(lambda: settled(kernel), what=f"peace after {point}")
        check_agreement(kernel)
        after(kernel)
        check_agreement(kernel)
        before(kernel)
        kernel.stop()
    record_property("fail_points", len(points))
    print(f"{name}: killed at {len(points)} fail points, 0 orphans, 0 stuck operations")


def prepare(kernel: KernelProcess, *works: Work) -> None:
    """Do ``works`` on a node of their own."""
    kernel.start()
    kernel.wait_ready()
    for work in works:
        work(kernel)
    kernel.stop()
