"""``kill -9`` at every fail point of what is done inside guests, and of instances with first-boot settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanocore.testing.kernel_process import KernelProcess, wait_until
from nanocore.testing.kill_points import killed_at, record_points
from tests.system.acts import create, upload
from tests.system.crashes import delete, instance, settled

pytestmark = [pytest.mark.full, pytest.mark.process, pytest.mark.timeout(900)]
CLOUD_INIT = {"username": "ada", "password": "correct horse"}


def make(kernel: KernelProcess) -> None:
    image_id = kernel.client.get("/disk-images")["items"][0]["id"]
    kernel.client.wait(create(kernel, "web-1", image_id, cloud_init=CLOUD_INIT), timeout_seconds=30)


def act(name: str, **body: Any) -> Any:
    def work(kernel: KernelProcess) -> None:
        found = instance(kernel)
        assert found is not None
        path = f"/instances/{found['id']}/guest/actions/{name}"
        kernel.client.wait(kernel.client.request("POST", path, json=body), timeout_seconds=30)

    return work


def check(kernel: KernelProcess) -> None:
    """Assert that seeds and records agree, and that no operation is stuck."""
    # A node that has just started lists no operations for a moment, which is no peace.
    wait_until(lambda: list(kernel.client.items("/operations")) and settled(kernel), what="peace")
    wanted = {item["id"] for item in kernel.client.items("/instances")}
    folder = kernel.root / "var/lib/nano/guest_tools/seeds"
    wait_until(lambda: {file.stem for file in folder.glob("*.iso")} == wanted, what="seeds as wanted")
    assert not list(folder.glob("*.partial")) or wanted


@pytest.fixture
def stopped(tmp_path: Path, small_image: Path) -> Iterator[KernelProcess]:
    kernel = KernelProcess(tmp_path)
    kernel.start()
    kernel.wait_ready()
    upload(kernel, small_image)
    kernel.stop()
    try:
        yield kernel
    finally:
        kernel.stop()


def prepare(kernel: KernelProcess, *works: Any) -> None:
    kernel.start()
    kernel.wait_ready()
    for work in works:
        work(kernel)
    kernel.stop()


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("set_password", {"username": "root", "password": "correct horse"}),
        ("set_hostname", {"hostname": "web-2"}),
        ("freeze", {"seconds": 300}),
        ("thaw", {}),
    ],
)
def test_actions(stopped: KernelProcess, name: str, body: dict[str, Any]) -> None:
    prepare(stopped, make)
    work = act(name, **body)
    points = record_points(stopped, work)
    assert any(point.startswith("guest.") for point in points)
    for point in points:
        assert killed_at(stopped, point, work), f"{point} was not reached"
        prepare(stopped, check)
    print(f"guest {name}: killed at {len(points)} fail points, none stuck")


def test_seeds(stopped: KernelProcess) -> None:
    points = record_points(stopped, make)
    seeds = [point for point in points if "seed" in point or "/define/" in point]
    assert len(seeds) >= 4, points
    prepare(stopped, check, delete, check)
    for point in seeds:
        assert killed_at(stopped, point, make), f"{point} was not reached"
        prepare(stopped, check, delete, check)
    prepare(stopped, make)
    gone = [point for point in record_points(stopped, delete) if "delete_guest" in point or "seed" in point]
    for point in gone:
        prepare(stopped, make)
        assert killed_at(stopped, point, delete), f"{point} was not reached"
        prepare(stopped, check, delete, check)
    print(f"seeds: killed at {len(seeds)} + {len(gone)} fail points, none left over")
