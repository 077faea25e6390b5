"""Templates and batches, on a node with simulated drivers."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from nanocore.errors import ErrorCode, NanoError
from nanocore.testing.kernel_process import KernelProcess, wait_until
from tests.system.acts import MIB, upload, wait_for_state

pytestmark = pytest.mark.process

NOBODY = str(uuid.UUID(int=7))
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGyoSs4WhTlE8Vv4yyAK7mZJzVYdPYcKqYPp0LSLvkhp you@home"


def batch(kernel: KernelProcess, body: dict[str, Any]) -> dict[str, Any]:
    """Return a batch's ended operation."""
    operation = kernel.client.request("POST", "/instance-batches", json=body)
    ended: dict[str, Any] = kernel.client.wait(operation, timeout_seconds=120)
    return ended


def new(count: int, **more: Any) -> dict[str, Any]:
    facts = {"name_pattern": "web-{n:02}", "count": count, "disk_size_bytes": 16 * MIB, "memory_bytes": 64 * MIB}
    return {"create": facts | more}


def test_a_template_is_laid_under_a_request(kernel: KernelProcess, small_image: Path) -> None:
    client = kernel.client
    values = {
        "image_id": upload(kernel, small_image),
        "vcpus": 2,
        "memory_bytes": 128 * MIB,
        "tags": ["web"],
        "disks": [{"size_bytes": 16 * MIB, "name": "data"}],
        "cloud_init": {
            "username": "nano",
            "ssh_keys": [KEY],
            "password": "very secret",
            "user_data": "#!/bin/sh\n: xyzzy",
        },
    }
    made = client.request("POST", "/templates", json={"name": "web", "values": values})
    assert (made["has_password"], made["has_user_data"], made["instances"]) == (True, True, 0)
    everything = str([made, client.get(f"/templates/{made['id']}"), client.get("/templates")])
    assert "very secret" not in everything
    assert "xyzzy" not in everything
    assert "$6$" not in everything
    body = {"name": "web-1", "template_id": made["id"], "vcpus": 1}
    id = client.wait(client.request("POST", "/instances", json=body))["result"]["instance_id"]
    instance = wait_for_state(kernel, id, "running")
    assert (instance["vcpus"], instance["memory_bytes"], instance["tags"]) == (1, 128 * MIB, ["web"])
    assert (instance["template"], len(instance["disks"]), instance["has_cloud_init"]) == ("web", 2, True)
    wait_until(lambda: client.get(f"/templates/{made['id']}")["instances"] == 1, what="the template's use")
    renamed = client.request("PATCH", f"/templates/{made['id']}", json={"name": "www", "values": made["values"]})
    assert (renamed["has_password"], renamed["has_user_data"]) == (True, True)
    wait_until(lambda: client.get(f"/instances/{id}")["template"] == "www", what="the template's new name")
    client.request("DELETE", f"/templates/{made['id']}")
    assert client.get(f"/instances/{id}")["template"] is None
    with pytest.raises(NanoError, match="no template") as caught:
        client.request("POST", "/instances", json={"name": "web-2", "template_id": made["id"]})
    assert caught.value.details["field"] == "template_id"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"image_id": NOBODY}, "values.image_id"),
        ({"nics": [{"mac": "52:54:00:00:00:01"}]}, "values.nics[0].mac"),
        ({"disks": [{"volume_id": NOBODY}]}, "values.disks[0].volume_id"),
        ({"memory_bytes": 64 * MIB + 1}, "values.memory_bytes"),
        ({"cloud_init": {"ssh_keys": ["no key"]}}, "values.cloud_init.ssh_keys[0]"),
    ],
)
def test_a_template_that_can_not_be_used_is_refused(kernel: KernelProcess, values: dict[str, Any], field: str) -> None:
    with pytest.raises(NanoError) as caught:
        kernel.client.request("POST", "/templates", json={"name": "web", "values": values})
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert field in caught.value.details["errors"]
    assert kernel.client.get("/templates")["total"] == 0


def test_template_names_are_unique(kernel: KernelProcess) -> None:
    kernel.client.request("POST", "/templates", json={"name": "web", "values": {}})
    with pytest.raises(NanoError) as caught:
        kernel.client.request("POST", "/templates", json={"name": "web", "values": {}})
    assert caught.value.code is ErrorCode.ALREADY_EXISTS


def test_a_batch_makes_many_and_deletes_them(kernel: KernelProcess) -> None:
    client = kernel.client
    ended = batch(kernel, new(12, first=9))
    items = ended["result"]["items"]
    assert [item["name"] for item in items] == [f"web-{n:02}" for n in range(9, 21)]
    assert {item["state"] for item in items} == {"succeeded"}
    assert ended["progress"]["total"] == 1
    assert set(ended["children"]) == {item["operation_id"] for item in items}
    instances = {item["id"]: item for item in client.items("/instances")}
    assert set(instances) == {item["id"] for item in items}
    for noun, key in (("disks", "id"), ("nics", "mac"), ("nics", "addresses")):
        assert len({str(item[noun][0][key]) for item in instances.values()}) == 12
    stopped = batch(kernel, {"action": "power_off", "instance_ids": list(instances)})
    assert stopped["result"]["failed"] == 0
    deleted = batch(kernel, {"action": "delete", "instance_ids": list(instances)})
    assert deleted["result"]["failed"] == 0
    assert client.get("/instances")["total"] == 0
    assert client.get("/networks")["items"][0]["addresses_allocated"] == 0


def test_each_item_fails_by_itself(kernel: KernelProcess) -> None:
    ended = batch(kernel, new(2))
    first, second = (item["id"] for item in ended["result"]["items"])
    kernel.client.wait(kernel.client.request("POST", f"/instances/{first}/actions/power_off", json={}))
    wait_for_state(kernel, first, "stopped")
    result = batch(kernel, {"action": "pause", "instance_ids": [first, NOBODY, second, first]})["result"]
    assert [(item["id"], item["state"]) for item in result["items"]] == [
        (first, "failed"),
        (NOBODY, "failed"),
        (second, "succeeded"),
    ]
    assert result["items"][0]["error"]["code"] == "wrong_state"
    assert "it is stopped" in result["items"][0]["error"]["message"]
    assert result["items"][1]["error"]["code"] == "not_found"
    assert result["failed"] == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "action"),
        ({"action": "start"}, "instance_ids"),
        ({"action": "explode", "instance_ids": []}, "action"),
        ({"action": "start", "instance_ids": ["../x"]}, "instance_ids[0]"),
        (new(2) | {"action": "start"}, "action"),
        (new(2) | {"instance_ids": []}, "instance_ids"),
        (new(2, name_pattern="web"), "create.name_pattern"),
        (new(2, disk_size_bytes=None), "create.disk_size_bytes"),
        (new(2, nics=[{"address": "10.1.2.3"}]), "create.nics[0].address"),
        (new(0), "create.count"),
        (new(2, template_id=NOBODY), "create.template_id"),
    ],
)
def test_a_batch_is_checked_before_anything_is_done(kernel: KernelProcess, body: dict[str, Any], field: str) -> None:
    with pytest.raises(NanoError) as caught:
        kernel.client.request("POST", "/instance-batches", json=body)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert field in (caught.value.details.get("errors") or caught.value.details["field"])
    assert kernel.client.get("/operations")["total"] == 0


def test_taken_names_refuse_the_whole_batch(kernel: KernelProcess) -> None:
    batch(kernel, new(1, first=2))
    with pytest.raises(NanoError, match="such as web-02"):
        kernel.client.request("POST", "/instance-batches", json=new(3))
    assert kernel.client.get("/instances")["total"] == 1


def test_an_empty_selector_does_nothing(kernel: KernelProcess) -> None:
    batch(kernel, new(1))
    assert batch(kernel, {"action": "delete", "instance_ids": []})["result"] == {"items": [], "failed": 0}
    assert kernel.client.get("/instances")["total"] == 1


def test_a_kill_in_the_middle_does_nothing_twice(kernel: KernelProcess) -> None:
    client = kernel.client
    operation = client.request("POST", "/instance-batches", json=new(24))
    wait_until(lambda: client.get("/instances")["total"] >= 3, what="some instances")
    kernel.kill()
    kernel.start()
    kernel.wait_ready()
    ended = kernel.client.wait(operation, timeout_seconds=120)
    assert {item["state"] for item in ended["result"]["items"]} == {"succeeded"}
    names = sorted(item["name"] for item in kernel.client.items("/instances"))
    assert names == [f"web-{n:02}" for n in range(1, 25)]
    creations = [item for item in kernel.client.items("/operations") if item["kind"] == "instance.create"]
    assert len(creations) == 24
    assert set(ended["children"]) == {item["id"] for item in creations}


def test_a_cancelled_batch_begins_nothing_more(kernel: KernelProcess) -> None:
    client = kernel.client
    operation = client.request("POST", "/instance-batches", json=new(200))
    wait_until(lambda: client.get("/instances", **{"state.observed": "running"})["total"] >= 3, what="some instances")
    client.request("DELETE", f"/operations/{operation['id']}")
    wait_until(lambda: client.get(f"/operations/{operation['id']}")["state"] == "cancelled", what="the end")

    def is_quiet() -> bool:
        return all(item["state"] not in ("pending", "running") for item in client.items("/operations"))

    wait_until(is_quiet, what="the end of what was under way")
    left = list(client.items("/instances"))
    assert 0 < len(left) < 200
    assert all(item["state"]["observed"] == "running" for item in left)
    assert client.get("/networks")["items"][0]["addresses_allocated"] == len(left)
