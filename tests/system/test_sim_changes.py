"""What can be changed at an instance, and made from it, on a node with simulated drivers."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from nanocore.errors import ErrorCode, NanoError
from nanocore.testing.kernel_process import KernelProcess, wait_until
from tests.system.acts import MIB, create, upload, wait_for_state

pytestmark = pytest.mark.process

NOBODY = str(uuid.UUID(int=7))


def made(kernel: KernelProcess, image: Path, **more: Any) -> dict[str, Any]:
    """Return a new running instance."""
    ended = kernel.client.wait(create(kernel, "web-1", upload(kernel, image), **more))
    return wait_for_state(kernel, ended["result"]["instance_id"], "running")


def do(kernel: KernelProcess, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the result of the operation that a request begins."""
    ended: dict[str, Any] = kernel.client.wait(kernel.client.request(method, path, json=body))
    return ended["result"]


def read(kernel: KernelProcess, id: str) -> dict[str, Any]:
    """Return an instance once nothing changes it any more."""

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = kernel.client.get(f"/instances/{id}")
        return found if found["operation_id"] is None else None

    return wait_until(look, what=f"the end of what changes {id}")


def allocated(kernel: KernelProcess) -> int:
    return int(kernel.client.get("/networks")["items"][0]["addresses_allocated"])


def test_network_cards_come_and_go_while_it_runs(kernel: KernelProcess, small_image: Path) -> None:
    id = made(kernel, small_image)["id"]
    added = do(kernel, "POST", f"/instances/{id}/nics", {})
    instance = read(kernel, id)
    assert [nic["id"] for nic in instance["nics"]][1:] == [added["nic_id"]]
    assert instance["nics"][1]["addresses"] == added["addresses"]
    assert allocated(kernel) == 2
    assert instance["changes_at_next_start"] == []
    do(kernel, "DELETE", f"/instances/{id}/nics/{added['nic_id']}")
    assert len(read(kernel, id)["nics"]) == 1
    assert allocated(kernel) == 1


def test_a_policy_is_put_on_a_network_card(kernel: KernelProcess, small_image: Path) -> None:
    instance = made(kernel, small_image)
    policy = kernel.client.request("POST", "/security-policies", json={"name": "closed", "rules": []})
    path = f"/instances/{instance['id']}/nics/{instance['nics'][0]['id']}"
    do(kernel, "PATCH", path, {"security_policy_id": policy["id"]})
    nic = read(kernel, instance["id"])["nics"][0]
    assert (nic["security_policy_id"], nic["security_policy"]) == (policy["id"], "closed")
    do(kernel, "PATCH", path, {"security_policy_id": None})
    assert read(kernel, instance["id"])["nics"][0]["security_policy_id"] is None


def test_sizes_and_limits_change_while_it_runs(kernel: KernelProcess, small_image: Path) -> None:
    id = made(kernel, small_image, vcpus=2)["id"]
    kernel.client.request("PATCH", f"/instances/{id}", json={"qos": {"disk_iops": 200}, "firmware": "uefi"})
    instance = read(kernel, id)
    assert instance["qos"]["disk_iops"] == 200
    assert instance["changes_at_next_start"] == ["firmware"]
    for action, state in (("power_off", "stopped"), ("start", "running")):
        do(kernel, "POST", f"/instances/{id}/actions/{action}", {})
        wait_for_state(kernel, id, state)
    assert read(kernel, id)["changes_at_next_start"] == []


def test_suspend_and_restore(kernel: KernelProcess, small_image: Path) -> None:
    id = made(kernel, small_image)["id"]
    do(kernel, "POST", f"/instances/{id}/actions/suspend", {})
    wait_for_state(kernel, id, "suspended")
    instance = read(kernel, id)
    assert instance["state"]["desired"] == "suspended"
    allowed = {action["name"] for action in instance["allowed_actions"] if action["allowed"]}
    assert {"restore", "power_off", "delete"} <= allowed
    assert not {"start", "pause", "snapshot"} & allowed
    with pytest.raises(NanoError, match="suspended") as caught:
        kernel.client.request("POST", f"/instances/{id}/nics", json={})
    assert caught.value.code is ErrorCode.WRONG_STATE
    do(kernel, "POST", f"/instances/{id}/actions/restore", {})
    assert wait_for_state(kernel, id, "running")["state"]["desired"] == "running"


def test_rebuild_keeps_data_disks_and_addresses(kernel: KernelProcess, small_image: Path) -> None:
    before = made(kernel, small_image, disks=[{"size_bytes": 32 * MIB, "name": "data"}])
    id = before["id"]
    with pytest.raises(NanoError, match="can't rebuild: it is running"):
        kernel.client.request("POST", f"/instances/{id}/actions/rebuild", json={})
    do(kernel, "POST", f"/instances/{id}/actions/power_off", {})
    wait_for_state(kernel, id, "stopped")
    other = upload(kernel, small_image, "other")
    result = do(kernel, "POST", f"/instances/{id}/actions/rebuild", {"image_id": other})
    after = wait_for_state(kernel, id, "running")
    assert after["image"]["name"] == "other"
    assert after["disks"][0]["id"] == result["volume_id"] != before["disks"][0]["id"]
    assert (after["disks"][1], after["nics"]) == (before["disks"][1], before["nics"])
    volumes = {volume["id"] for volume in kernel.client.get("/volumes")["items"]}
    assert volumes == {disk["id"] for disk in after["disks"]}


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_a_clone_has_nothing_in_common(kernel: KernelProcess, small_image: Path, state: str) -> None:
    source = made(kernel, small_image, disks=[{"size_bytes": 32 * MIB}], protected=True, tags=["a"])
    if state == "stopped":
        do(kernel, "POST", f"/instances/{source['id']}/actions/power_off", {})
        source = wait_for_state(kernel, source["id"], "stopped")
    result = do(kernel, "POST", f"/instances/{source['id']}/actions/clone", {"name": "web-2"})
    clone = wait_for_state(kernel, result["instance_id"], "running")
    assert (clone["name"], clone["tags"], clone["protected"]) == ("web-2", ["a"], False)
    sizes = [disk["size_bytes"] for disk in clone["disks"]]
    assert sizes == [disk["size_bytes"] for disk in source["disks"]]
    for noun, key in (("disks", "id"), ("nics", "id"), ("nics", "mac"), ("nics", "addresses")):
        theirs = [str(item[key]) for item in source[noun]]
        assert not {str(item[key]) for item in clone[noun]} & set(theirs), (noun, key)
    now = read(kernel, source["id"])
    assert (now["state"]["observed"], now["disks"]) == (state, source["disks"])


def test_a_volume_becomes_a_disk_of_a_new_instance(kernel: KernelProcess, small_image: Path) -> None:
    client = kernel.client
    volume = do(kernel, "POST", "/volumes", {"name": "data", "size_bytes": 32 * MIB})
    id = volume["volume_id"]
    instance = made(kernel, small_image, disks=[{"volume_id": id, "is_kept": True}])
    assert instance["disks"][1] | {"used_bytes": None} == {
        "id": id, "name": "data", "size_bytes": 32 * MIB, "used_bytes": None, "is_boot": False, "is_kept": True,
        "image_id": None, "storage_pool_id": instance["disks"][1]["storage_pool_id"],
    }  # fmt: skip
    with pytest.raises(NanoError, match="disk of instance web-1") as caught:
        create(kernel, "web-2", client.get("/disk-images")["items"][0]["id"], disks=[{"volume_id": id}])
    assert "disks[0].volume_id" in caught.value.details["errors"]
    do(kernel, "DELETE", f"/instances/{instance['id']}")
    left = client.get("/volumes")["items"]
    assert [(item["id"], item["instance_id"]) for item in left] == [(id, None)]


def test_a_creation_that_fails_gives_the_volume_back(kernel: KernelProcess, small_image: Path) -> None:
    client = kernel.client
    id = do(kernel, "POST", "/volumes", {"name": "data", "size_bytes": 32 * MIB})["volume_id"]
    first = made(kernel, small_image)
    address = first["nics"][0]["addresses"][0]
    body = {"name": "web-2", "disk_size_bytes": 16 * MIB, "disks": [{"volume_id": id}], "nics": [{"address": address}]}
    with pytest.raises(NanoError) as caught:
        client.wait(client.request("POST", "/instances", json=body))
    assert caught.value.code is ErrorCode.CONFLICT
    assert client.get(f"/volumes/{id}")["instance_id"] is None
    assert client.get("/instances")["total"] == 1
    assert client.get("/volumes")["total"] == 2


def test_media_go_in_and_out_while_it_runs(kernel: KernelProcess, small_image: Path, small_media: str) -> None:
    id = made(kernel, small_image)["id"]
    do(kernel, "PUT", f"/instances/{id}/media/0", {"media_image_id": small_media})
    assert read(kernel, id)["media"][0]["media_image_id"] == small_media
    do(kernel, "PUT", f"/instances/{id}/media/1", {"media_image_id": small_media})
    instance = read(kernel, id)
    assert [drive["slot"] for drive in instance["media"]] == [0, 1]
    assert instance["changes_at_next_start"] == ["media"]
    do(kernel, "DELETE", f"/instances/{id}/media/0")
    assert read(kernel, id)["media"][0] == {"slot": 0, "media_image_id": None, "media_image": None}
    with pytest.raises(NanoError) as caught:
        kernel.client.request("PUT", f"/instances/{id}/media/0", json={"media_image_id": NOBODY})
    assert "media_image_id" in str(caught.value.details)


@pytest.fixture
def small_media(kernel: KernelProcess, small_iso: Path) -> str:
    return str(kernel.client.upload_image("/media-images", small_iso, {"name": "tools"})["id"])
