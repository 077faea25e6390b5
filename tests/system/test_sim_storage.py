"""Volumes, disks, storage pools and snapshots of a whole node with simulated drivers, as a client sees them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nanocore.errors import ErrorCode, NanoError
from nanocore.testing.kernel_process import KernelProcess, wait_until
from tests.system.acts import create, upload, wait_for_state
from tests.system.storage_acts import MIB, disks, done, make_volume, snapshots, take_snapshot, volume

pytestmark = pytest.mark.process


def refused(kernel: KernelProcess, method: str, path: str, body: dict[str, Any] | None = None) -> NanoError:
    with pytest.raises(NanoError) as caught:
        kernel.client.request(method, path, json=body)
    return caught.value


def simulated(kernel: KernelProcess) -> dict[str, dict[str, Any]]:
    """Return what the simulated storage holds on disk."""
    saved = json.loads((kernel.root / "var" / "lib" / "nano" / "sim" / "volumes.json").read_text())
    return {item["id"]: item for item in saved["volumes"]}


@pytest.fixture
def stopped(kernel: KernelProcess, small_image: Path) -> str:
    """A stopped instance's id."""
    operation = create(kernel, "web-1", upload(kernel, small_image), is_started=False)
    id = str(kernel.client.wait(operation)["result"]["instance_id"])
    wait_for_state(kernel, id, "stopped")
    return id


def test_a_volume_of_its_own(kernel: KernelProcess) -> None:
    id = make_volume(kernel)
    shown = volume(kernel, id)
    assert (shown["state"], shown["storage_pool"], shown["node"]) == ("ready", "default", "core-1")
    done(kernel, "PATCH", f"/volumes/{id}", {"name": "more", "size_bytes": 16 * MIB})
    assert (volume(kernel, id)["name"], volume(kernel, id)["size_bytes"]) == ("more", 16 * MIB)
    assert refused(kernel, "PATCH", f"/volumes/{id}", {"size_bytes": 8 * MIB}).code is ErrorCode.INVALID_ARGUMENT
    done(kernel, "PATCH", f"/volumes/{id}", {"size_bytes": 8 * MIB, "is_shrink_confirmed": True})
    assert simulated(kernel)[id]["size_bytes"] == 8 * MIB
    kernel.stop()
    kernel.start()
    kernel.wait_ready()
    wait_until(lambda: volume(kernel, id)["state"] == "ready", what="the cell's word")
    assert kernel.client.get("/system")["problems"] == []
    done(kernel, "DELETE", f"/volumes/{id}")
    assert simulated(kernel) == {}
    assert refused(kernel, "GET", f"/volumes/{id}").code is ErrorCode.NOT_FOUND


def test_what_is_no_volume_is_refused_at_once(kernel: KernelProcess) -> None:
    for body, field in [
        ({"name": "x", "size_bytes": 8 * MIB + 1}, "size_bytes"),
        ({"name": "x", "size_bytes": 8 * MIB, "node_id": "nobody"}, "node_id"),
        ({"name": "x", "size_bytes": 8 * MIB, "compute_pool_id": "none"}, "compute_pool_id"),
    ]:
        error = refused(kernel, "POST", "/volumes", body)
        assert (error.code, error.details.get("field")) == (ErrorCode.INVALID_ARGUMENT, field)
    assert refused(kernel, "POST", "/volumes", {"name": "x", "size_bytes": 1}).code is ErrorCode.INVALID_ARGUMENT
    unknown = {"name": "x", "size_bytes": 8 * MIB, "storage_pool_id": "none"}
    assert refused(kernel, "POST", "/volumes", unknown).code is ErrorCode.NOT_FOUND
    with pytest.raises(NanoError) as caught:
        make_volume(kernel, "large", 64 * 1024**4)
    assert caught.value.code is ErrorCode.NO_CAPACITY
    assert kernel.client.get("/volumes")["total"] == 0
    assert simulated(kernel) == {}


def test_a_volume_goes_into_an_instance_and_out(kernel: KernelProcess, stopped: str) -> None:
    id = make_volume(kernel)
    done(kernel, "POST", f"/instances/{stopped}/disks", {"volume_id": id, "name": "logs"})
    assert [(disk["name"], disk["is_boot"]) for disk in disks(kernel, stopped)] == [("", True), ("logs", False)]
    shown = volume(kernel, id)
    assert (shown["instance"], shown["name"], shown["state"]) == ("web-1", "logs", "ready")
    assert kernel.client.get("/volumes")["total"] == 2
    error = refused(kernel, "DELETE", f"/volumes/{id}")
    assert error.code is ErrorCode.WRONG_STATE
    assert "web-1" in error.message
    again = refused(kernel, "POST", f"/instances/{stopped}/disks", {"volume_id": id})
    assert again.code is ErrorCode.WRONG_STATE
    boot = disks(kernel, stopped)[0]["id"]
    assert refused(kernel, "DELETE", f"/instances/{stopped}/disks/{boot}").code is ErrorCode.WRONG_STATE
    done(kernel, "DELETE", f"/instances/{stopped}/disks/{id}")
    assert (volume(kernel, id)["instance_id"], volume(kernel, id)["name"]) == (None, "logs")
    assert len(disks(kernel, stopped)) == 1


def test_a_new_disk_is_changed_and_deleted(kernel: KernelProcess, stopped: str) -> None:
    path = f"/instances/{stopped}/disks"
    assert refused(kernel, "POST", path, {}).code is ErrorCode.INVALID_ARGUMENT
    id = done(kernel, "POST", path, {"size_bytes": 8 * MIB})["volume_id"]
    done(kernel, "PATCH", f"{path}/{id}", {"size_bytes": 16 * MIB, "name": "big"})
    assert [(disk["name"], disk["size_bytes"]) for disk in disks(kernel, stopped)][1] == ("big", 16 * MIB)
    assert refused(kernel, "PATCH", f"{path}/{id}", {"size_bytes": 8 * MIB}).code is ErrorCode.INVALID_ARGUMENT
    done(kernel, "PATCH", f"{path}/{id}", {"size_bytes": 8 * MIB, "is_shrink_confirmed": True})
    assert simulated(kernel)[id]["size_bytes"] == 8 * MIB
    done(kernel, "DELETE", f"{path}/{id}?is_kept=false")
    assert id not in simulated(kernel)
    assert refused(kernel, "GET", f"/volumes/{id}").code is ErrorCode.NOT_FOUND


def test_a_kept_disk_outlives_its_instance(kernel: KernelProcess, stopped: str) -> None:
    kept = done(kernel, "POST", f"/instances/{stopped}/disks", {"size_bytes": 8 * MIB, "is_kept": True})["volume_id"]
    take_snapshot(kernel, stopped, "before")
    done(kernel, "DELETE", f"/instances/{stopped}")
    assert set(simulated(kernel)) == {kept}
    assert simulated(kernel)[kept].get("snapshots", []) == []
    assert volume(kernel, kept)["instance_id"] is None
    kernel.stop()
    kernel.start()
    kernel.wait_ready()
    wait_until(lambda: volume(kernel, kept)["state"] == "ready", what="the cell's word")
    assert kernel.client.get("/system")["problems"] == []


def test_snapshots_make_a_tree(kernel: KernelProcess, stopped: str) -> None:
    path = f"/instances/{stopped}"
    disk = done(kernel, "POST", f"{path}/disks", {"size_bytes": 8 * MIB})["volume_id"]
    first = take_snapshot(kernel, stopped, "first")
    done(kernel, "PATCH", f"{path}/disks/{disk}", {"size_bytes": 16 * MIB})
    second = take_snapshot(kernel, stopped, "second")
    done(kernel, "POST", f"{path}/snapshots/{first}/actions/restore")
    assert [item["size_bytes"] for item in disks(kernel, stopped)][1] == 8 * MIB
    third = take_snapshot(kernel, stopped, "third")
    tree = snapshots(kernel, stopped)
    assert {name: item["parent_id"] for name, item in tree.items()} == {"first": None, "second": first, "third": first}
    assert [name for name, item in tree.items() if item["is_current"]] == ["third"]
    assert all(item["is_consistent"] and item["state"] == "ready" for item in tree.values())
    assert refused(kernel, "POST", f"{path}/snapshots", {"name": "third"}).code is ErrorCode.ALREADY_EXISTS
    assert refused(kernel, "DELETE", f"{path}/disks/{disk}").code is ErrorCode.WRONG_STATE
    done(kernel, "DELETE", f"{path}/snapshots/{first}")
    tree = snapshots(kernel, stopped)
    assert {name: item["parent_id"] for name, item in tree.items()} == {"second": None, "third": None}
    done(kernel, "DELETE", f"{path}/snapshots/{third}")
    assert simulated(kernel)[disk]["snapshots"] == [second]
    assert refused(kernel, "GET", f"{path}/snapshots/{third}").code is ErrorCode.NOT_FOUND
    done(kernel, "DELETE", path)
    assert simulated(kernel) == {}


def test_paths_are_added_drained_and_removed(kernel: KernelProcess, stopped: str) -> None:
    client = kernel.client
    pool = client.get("/storage-pools")["items"][0]
    assert pool["name"] == "default"
    node_id, own = pool["paths"][0]["node_id"], pool["paths"][0]["id"]
    path = f"/storage-pools/{pool['id']}/paths"
    error = refused(kernel, "POST", path, {"node_id": node_id, "path": "/missing/disk"})
    assert (error.code, error.details.get("field")) == (ErrorCode.INVALID_ARGUMENT, "path")
    assert "/missing/disk" in error.message
    free = make_volume(kernel)
    assert refused(kernel, "POST", f"{path}/{own}/actions/drain").code is ErrorCode.WRONG_STATE
    added = client.request("POST", path, json={"node_id": node_id, "path": "/more"})["paths"][1]
    told = done(kernel, "POST", f"{path}/{own}/actions/drain")
    assert (len(told["moved"]), told["waiting"]) == (2, {})
    assert {item["folder"] for item in simulated(kernel).values()} == {"/more"}
    assert volume(kernel, free)["path"] == "/more"
    late = make_volume(kernel, "late")
    assert simulated(kernel)[late]["folder"] == "/more"
    assert refused(kernel, "DELETE", f"{path}/{added['id']}").code is ErrorCode.WRONG_STATE
    client.request("POST", f"{path}/{own}/actions/enable")
    client.request("POST", f"{path}/{added['id']}/actions/disable")
    later = make_volume(kernel, "later")
    assert simulated(kernel)[later]["folder"] != "/more"
    assert len(done(kernel, "POST", f"{path}/{added['id']}/actions/drain")["moved"]) == 3
    left = client.request("DELETE", f"{path}/{added['id']}")
    assert [item["id"] for item in left["paths"]] == [own]
    assert client.get("/system")["problems"] == []


def test_storage_pools_are_named_sets_of_paths(kernel: KernelProcess) -> None:
    client = kernel.client
    node_id = client.get("/nodes")["items"][0]["id"]
    made = client.request("POST", "/storage-pools", json={"name": "fast"})
    assert refused(kernel, "POST", "/storage-pools", {"name": "fast"}).code is ErrorCode.ALREADY_EXISTS
    empty = {"name": "x", "size_bytes": 8 * MIB, "storage_pool_id": made["id"]}
    assert refused(kernel, "POST", "/volumes", empty).code is ErrorCode.NO_CAPACITY
    client.request("POST", f"/storage-pools/{made['id']}/paths", json={"node_id": node_id, "path": "/nvme"})
    wait_until(
        lambda: client.get(f"/storage-pools/{made['id']}")["paths"][0]["state"] == "online", what="the cell's word"
    )
    id = make_volume(kernel, storage_pool_id=made["id"])
    assert (volume(kernel, id)["storage_pool"], volume(kernel, id)["path"]) == ("fast", "/nvme")
    assert refused(kernel, "DELETE", f"/storage-pools/{made['id']}").code is ErrorCode.WRONG_STATE
    client.request("PATCH", f"/storage-pools/{made['id']}", json={"name": "slow"})
    assert volume(kernel, id)["storage_pool"] in ("fast", "slow")
    done(kernel, "DELETE", f"/volumes/{id}")
    shown = client.get(f"/storage-pools/{made['id']}")
    client.request("DELETE", f"/storage-pools/{made['id']}/paths/{shown['paths'][0]['id']}")
    client.request("DELETE", f"/storage-pools/{made['id']}")
    default = client.get("/storage-pools")["items"][0]
    assert refused(kernel, "DELETE", f"/storage-pools/{default['id']}").code is ErrorCode.WRONG_STATE


def test_a_storage_pool_decides_where_an_instance_goes(kernel: KernelProcess, small_image: Path) -> None:
    client = kernel.client
    image_id = upload(kernel, small_image)
    fast = client.request("POST", "/storage-pools", json={"name": "fast"})["id"]
    with pytest.raises(NanoError) as caught:
        create(kernel, "web-1", image_id, storage_pool_id=fast)
    assert caught.value.code is ErrorCode.NO_CAPACITY
    assert "storage pool fast has no path" in caught.value.message
    node_id = client.get("/nodes")["items"][0]["id"]
    client.request("POST", f"/storage-pools/{fast}/paths", json={"node_id": node_id, "path": "/nvme"})
    free = make_volume(kernel, "free")
    data = [{"size_bytes": 8 * MIB, "storage_pool_id": fast}, {"volume_id": free}]
    ended = client.wait(create(kernel, "web-1", image_id, disks=data, is_started=False))
    found = disks(kernel, ended["result"]["instance_id"])
    assert [simulated(kernel)[disk["id"]]["folder"] for disk in found] == ["/sim", "/nvme", "/sim"]
    pool = client.get("/compute-pools")["items"][0]["id"]
    client.request("PATCH", f"/compute-pools/{pool}", json={"storage_pool_ids": [fast]})
    ended = client.wait(create(kernel, "web-2", image_id, is_started=False))
    assert [disk["storage_pool_id"] for disk in disks(kernel, ended["result"]["instance_id"])] == [fast]
    default = client.get("/storage-pools")["items"][0]["id"]
    path = f"/instances/{ended['result']['instance_id']}/disks"
    error = refused(kernel, "POST", path, {"size_bytes": 8 * MIB, "storage_pool_id": default})
    assert (error.code, error.details.get("field")) == (ErrorCode.INVALID_ARGUMENT, "storage_pool_id")
