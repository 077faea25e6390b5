"""``nano instance`` and ``nano template`` as a user runs them, against a node with simulated drivers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanocore.testing.kernel_process import KernelProcess
from tests.cli.test_nano import nano

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, small_iso: Path) -> Iterator[Path]:
    """A running node's root, with a disk image and a media image."""
    folder = tmp_path_factory.mktemp("node")
    disk = folder / "small.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "16M"], check=True)
    process = KernelProcess(folder)
    process.start()
    try:
        process.wait_ready()
        process.client.upload_disk_image(disk, "small")
        process.client.upload_image("/media-images", small_iso, {"name": "tools"})
        yield process.root
    finally:
        process.stop()


def said(root: Path, *arguments: str) -> Any:
    """Return the JSON that a command that has to succeed prints."""
    done = nano(root, "--wait", "-o", "json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout else None


def test_everything_about_one_instance(root: Path) -> None:
    made = said(
        root, "instance", "create", "web-1", "--image", "small", "--memory", "64M", "--disk", "16M,name=data,keep",
        "--nic", "default", "--nic", "default,mac=52:54:00:00:00:07", "--media", "tools", "--disk-iops", "100",
        "--tag", "a",
    )  # fmt: skip
    assert [(disk["name"], disk["is_kept"]) for disk in made["disks"]] == [("", False), ("data", True)]
    assert made["nics"][1]["mac"] == "52:54:00:00:00:07"
    assert (made["media"][0]["media_image"], made["qos"]["disk_iops"]) == ("tools", 100)
    changed = said(root, "instance", "update", "web-1", "--cpu-weight", "50", "--tag", "b")
    assert (changed["qos"]["disk_iops"], changed["qos"]["cpu_weight"], changed["tags"]) == (100, 50, ["b"])
    assert said(root, "instance", "update", "web-1", "--disk-iops", "0")["qos"]["disk_iops"] is None
    said(root, "instance", "nic", "remove", "web-1", "52:54:00:00:00:07")
    added = said(root, "instance", "nic", "add", "web-1")
    said(root, "instance", "media", "eject", "web-1")
    said(root, "instance", "media", "insert", "web-1", "tools")
    for verb in ("suspend", "restore", "power-off"):
        said(root, "instance", verb, "web-1")
    rebuilt = said(root, "instance", "rebuild", "web-1", "--yes")
    assert rebuilt["disks"][1]["id"] == made["disks"][1]["id"]
    clone = said(root, "instance", "clone", "web-1", "web-2")
    assert (clone["name"], len(clone["nics"])) == ("web-2", 2)
    assert added["addresses"]
    assert nano(root, "--wait", "instance", "delete", "--yes", "web-1", "web-2").returncode == 0


def test_templates_and_batches(root: Path) -> None:
    made = said(root, "template", "create", "small", "--about", "tests", "--image", "small", "--memory", "64M")
    assert (made["description"], made["values"]["memory_bytes"]) == ("tests", 64 * 1024**2)
    assert said(root, "instance", "create", "one", "--template", "small")["template"] == "small"
    items = said(root, "instance", "batch", "create", "many-{n:02}", "3", "--template", "small", "--tag", "many")
    assert [item["name"] for item in items] == ["many-01", "many-02", "many-03"]
    assert said(root, "instance", "batch", "act", "delete", "--tag", "nobody") == []
    failed = nano(root, "--wait", "-o", "json", "instance", "batch", "act", "start", "--tag", "many")
    assert failed.returncode == 1
    assert "3 of 3 failed" in failed.stderr
    said(root, "instance", "batch", "act", "power-off", "one", "--tag", "many")
    said(root, "instance", "batch", "act", "delete", "one", "--tag", "many", "--yes")
    assert said(root, "instance", "list") == []


def test_what_is_no_disk_is_explained(root: Path) -> None:
    told = nano(root, "instance", "create", "x", "--boot-disk", "1G", "--disk", "1G,colour=red")
    assert told.returncode == 2
    assert "'colour' is none of what it takes" in told.stderr
