"""A whole node with simulated drivers, as a client sees it."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from nanocore.errors import ErrorCode, NanoError
from nanocore.testing.kernel_process import KernelProcess, wait_until
from tests.system.acts import create, upload, wait_for_state

pytestmark = pytest.mark.process


def test_an_instance_lives_from_creation_to_deletion(kernel: KernelProcess, small_image: Path) -> None:
    client = kernel.client
    operation = create(kernel, "web-1", upload(kernel, small_image))
    assert operation["state"] in ("pending", "running")
    ended = client.wait(operation)
    id = ended["result"]["instance_id"]
    instance = wait_for_state(kernel, id, "running")
    assert instance["nics"][0]["addresses"] == ended["result"]["addresses"]
    assert instance["node"] == "core-1"
    assert instance["state"]["desired"] == "running"
    for action, state in [
        ("pause", "paused"),
        ("resume", "running"),
        ("reboot", "running"),
        ("reset", "running"),
        ("stop", "stopped"),
        ("start", "running"),
        ("power_off", "stopped"),
    ]:
        client.wait(client.request("POST", f"/instances/{id}/actions/{action}", json={}))
        wait_for_state(kernel, id, state)
    changed = client.request("PATCH", f"/instances/{id}", json={"vcpus": 2, "tags": ["blue"]})
    assert (changed["vcpus"], changed["tags"]) == (2, ["blue"])
    client.wait(client.request("DELETE", f"/instances/{id}"))
    with pytest.raises(NanoError) as caught:
        client.get(f"/instances/{id}")
    assert caught.value.code is ErrorCode.NOT_FOUND
    assert client.get("/networks")["items"][0]["addresses_allocated"] == 0


def test_a_hundred_creates_at_once_all_end_well(kernel: KernelProcess, small_image: Path) -> None:
    image_id = upload(kernel, small_image)
    operations = [create(kernel, f"many-{index}", image_id) for index in range(100)]
    ended = [kernel.client.wait(operation) for operation in operations]
    assert {operation["state"] for operation in ended} == {"succeeded"}
    addresses = [address for operation in ended for address in operation["result"]["addresses"]]
    assert len(set(addresses)) == 100
    listed = list(kernel.client.items("/instances", **{"state.observed": "running"}))
    assert len(listed) == 100
    deletions = [kernel.client.request("DELETE", f"/instances/{item['id']}") for item in listed]
    for operation in deletions:
        kernel.client.wait(operation)
    assert kernel.client.get("/instances")["total"] == 0
    assert kernel.client.get("/networks")["items"][0]["addresses_allocated"] == 0


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"image_id": str(uuid.UUID(int=7))}, ErrorCode.INVALID_ARGUMENT, "image_id"),
        ({"image_id": "../../etc/passwd"}, ErrorCode.INVALID_ARGUMENT, "image_id"),
        ({"name": "<script>alert(1)</script>"}, ErrorCode.INVALID_ARGUMENT, "name"),
        ({"name": "-web"}, ErrorCode.INVALID_ARGUMENT, "name"),
        ({"vcpus": 0}, ErrorCode.INVALID_ARGUMENT, "vcpus"),
        ({"memory_bytes": 64 * 1024**2 + 1}, ErrorCode.INVALID_ARGUMENT, "memory_bytes"),
        ({"compute_pool_id": str(uuid.UUID(int=7))}, ErrorCode.NOT_FOUND, "compute_pool_id"),
        ({"memory_bytes": 4 * 1024**4}, ErrorCode.NO_CAPACITY, None),
    ],
)
def test_a_refused_creation_leaves_nothing(
    kernel: KernelProcess, small_image: Path, change: dict[str, object], code: ErrorCode, field: str | None
) -> None:
    image_id = upload(kernel, small_image)
    with pytest.raises(NanoError) as caught:
        create(kernel, **{"name": "web-1", "image_id": image_id, **change})  # type: ignore[arg-type]
    assert caught.value.code is code
    if field is not None:
        assert field in str(caught.value.details)
    assert kernel.client.get("/instances")["total"] == 0
    assert kernel.client.get("/operations")["total"] == 0
    assert kernel.client.get("/networks")["items"][0]["addresses_allocated"] == 0


def test_a_taken_name_is_refused_until_it_is_free(kernel: KernelProcess, small_image: Path) -> None:
    image_id = upload(kernel, small_image)
    first = kernel.client.wait(create(kernel, "web-1", image_id))
    with pytest.raises(NanoError) as caught:
        create(kernel, "web-1", image_id)
    assert caught.value.code is ErrorCode.ALREADY_EXISTS
    kernel.client.wait(kernel.client.request("DELETE", f"/instances/{first['result']['instance_id']}"))
    kernel.client.wait(create(kernel, "web-1", image_id))


def test_a_repeated_key_creates_once(kernel: KernelProcess, small_image: Path) -> None:
    body = {"name": "web-1", "image_id": upload(kernel, small_image), "memory_bytes": 64 * 1024**2}
    first, second = (
        kernel.client.request("POST", "/instances", json=body, idempotency_key="one-key") for _ in range(2)
    )
    assert first["id"] == second["id"]
    kernel.client.wait(first)
    assert kernel.client.get("/instances")["total"] == 1


def test_everything_survives_a_kill(kernel: KernelProcess, small_image: Path) -> None:
    image_id = upload(kernel, small_image)
    ended = kernel.client.wait(create(kernel, "web-1", image_id))
    before = wait_for_state(kernel, ended["result"]["instance_id"], "running")
    kernel.kill()
    kernel.start()
    kernel.wait_ready()
    after = wait_for_state(kernel, before["id"], "running")
    assert (after["name"], after["nics"], after["disks"]) == (before["name"], before["nics"], before["disks"])


def test_sigterm_ends_the_node_cleanly(kernel: KernelProcess) -> None:
    assert kernel.stop() == 0
    assert not [line for line in kernel.log_lines() if line.get("level") in ("error", "critical")]


def test_the_last_compute_pool_and_a_used_cell_are_protected(kernel: KernelProcess, small_image: Path) -> None:
    client = kernel.client
    kernel.client.wait(create(kernel, "web-1", upload(kernel, small_image)))
    pool = client.get("/compute-pools")["items"][0]
    with pytest.raises(NanoError, match="last compute pool"):
        client.request("DELETE", f"/compute-pools/{pool['id']}")
    with pytest.raises(NanoError, match="live on this cell"):
        client.request("DELETE", f"/compute-pools/{pool['id']}/cells/{pool['cells'][0]}")
    made = client.request("POST", "/compute-pools", json={"name": "second"})
    with pytest.raises(NanoError, match="has no cells"):
        create(kernel, "web-2", client.get("/disk-images")["items"][0]["id"], compute_pool_id=made["id"])
    client.request("DELETE", f"/compute-pools/{made['id']}")
    wait_until(lambda: client.get("/compute-pools")["total"] == 1)
