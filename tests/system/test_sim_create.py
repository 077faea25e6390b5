"""Everything that a new instance can be told, on a node with simulated drivers."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from nanocore.errors import ErrorCode, NanoError
from nanocore.testing.kernel_process import KernelProcess
from tests.system.acts import MIB, create, upload, wait_for_state

pytestmark = pytest.mark.process

NOBODY = str(uuid.UUID(int=7))
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGyoSs4WhTlE8Vv4yyAK7mZJzVYdPYcKqYPp0LSLvkhp you@home"


def create_blank(kernel: KernelProcess, name: str, **more: Any) -> dict[str, Any]:
    body = {"name": name, "disk_size_bytes": 64 * MIB, "memory_bytes": 64 * MIB} | more
    answer: dict[str, Any] = kernel.client.request("POST", "/instances", json=body)
    return answer


def test_several_disks_network_cards_and_limits(kernel: KernelProcess, small_image: Path) -> None:
    image_id = upload(kernel, small_image)
    operation = create(
        kernel,
        "web-1",
        image_id,
        disks=[{"size_bytes": 32 * MIB, "name": "data"}, {"size_bytes": 16 * MIB + 1}],
        nics=[{}, {"mac": "52:54:00:00:00:09"}],
        firmware="uefi",
        qos={"cpu_weight": 50, "disk_iops": 100},
        tags=["web"],
        cloud_init={"username": "nano", "ssh_keys": [KEY], "password": "not shown again"},
    )
    id = kernel.client.wait(operation)["result"]["instance_id"]
    instance = wait_for_state(kernel, id, "running")
    sizes = [(disk["name"], disk["size_bytes"], disk["is_boot"]) for disk in instance["disks"]]
    assert sizes == [("", 16 * MIB, True), ("data", 32 * MIB, False), ("", 16 * MIB + 512, False)]
    assert instance["nics"][1]["mac"] == "52:54:00:00:00:09"
    addresses = [address for nic in instance["nics"] for address in nic["addresses"]]
    assert len(set(addresses)) == 2
    assert (instance["firmware"], instance["qos"]["cpu_weight"]) == ("uefi", 50)
    assert instance["media"] == [{"slot": 0, "media_image_id": None, "media_image": None}]
    assert instance["has_cloud_init"]
    assert "not shown again" not in str(instance)
    assert KEY not in str(instance)
    kernel.client.wait(kernel.client.request("DELETE", f"/instances/{id}"))
    assert kernel.client.get("/networks")["items"][0]["addresses_allocated"] == 0


def test_a_blank_instance_without_network(kernel: KernelProcess) -> None:
    ended = kernel.client.wait(create_blank(kernel, "blank-1", nics=[], is_started=False))
    instance = wait_for_state(kernel, ended["result"]["instance_id"], "stopped")
    assert (instance["image"], instance["nics"], len(instance["disks"])) == (None, [], 1)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"disk_size_bytes": None}, "disk_size_bytes"),
        ({"disks": [{"size_bytes": 32 * MIB}, {}]}, "disks[1].size_bytes"),
        ({"disks": [{"size_bytes": 32 * MIB}, {"size_bytes": 5}]}, "disks[1].size_bytes"),
        ({"nics": [{}, {"network_id": NOBODY}]}, "nics[1].network_id"),
        ({"nics": [{"mac": "01:54:00:00:00:01"}]}, "nics[0].mac"),
        ({"nics": [{"mac": "52:54:00:00:00:01"}, {"mac": "52:54:00:00:00:01"}]}, "nics[1].mac"),
        ({"nics": [{"address": "10.0.0.300"}]}, "nics[0].address"),
        ({"nics": [{"security_policy_id": NOBODY}]}, "nics[0].security_policy_id"),
        ({"nics": [{}], "network_id": NOBODY}, "network_id"),
        ({"media_image_ids": [NOBODY]}, "media_image_ids[0]"),
        ({"cloud_init": {"ssh_keys": [KEY, "no key"]}}, "cloud_init.ssh_keys[1]"),
        ({"cloud_init": {"username": "Bad Name"}}, "cloud_init.username"),
        ({"qos": {"cpu_weight": 0}}, "qos.cpu_weight"),
        ({"firmware": "coreboot"}, "firmware"),
    ],
)
def test_every_refusal_names_its_field_and_leaves_nothing(
    kernel: KernelProcess, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(NanoError) as caught:
        create_blank(kernel, "blank-1", **change)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert field in caught.value.details["errors"]
    assert kernel.client.get("/instances")["total"] == 0
    assert kernel.client.get("/operations")["total"] == 0


def test_all_wrong_fields_are_told_at_once(kernel: KernelProcess) -> None:
    with pytest.raises(NanoError) as caught:
        create_blank(kernel, "blank-1", disk_size_bytes=None, media_image_ids=[NOBODY], nics=[{"network_id": NOBODY}])
    assert set(caught.value.details["errors"]) == {"disk_size_bytes", "media_image_ids[0]", "nics[0].network_id"}
