"""What ``nano instance`` does with firmware, limits, media and network cards."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pycdlib
import pytest

from nanocore.testing.kernel_process import KernelProcess
from tests.cli.test_nano import nano
from tests.system.acts import upload

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, small_image: Path) -> Iterator[Path]:
    """A running node's root, with a disk image and the media image ``tools``."""
    folder = tmp_path_factory.mktemp("media")
    iso = pycdlib.PyCdlib()
    iso.new()
    iso.add_fp(io.BytesIO(b"hello"), 5, "/HELLO.TXT;1")
    iso.write(str(folder / "tools.iso"))
    iso.close()
    process = KernelProcess(tmp_path_factory.mktemp("node"))
    process.start()
    try:
        process.wait_ready()
        upload(process, small_image)
        done = nano(process.root, "media-image", "upload", str(folder / "tools.iso"))
        assert done.returncode == 0, done.stderr
        yield process.root
    finally:
        process.stop()


def well(root: Path, *arguments: str) -> str:
    done = nano(root, "--wait", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read(root: Path, *arguments: str) -> Any:
    return json.loads(well(root, "-o", "json", *arguments))


def test_a_blank_instance_with_everything(root: Path) -> None:
    options = ["--disk", "16M", "--data-disk", "8M", "--data-disk", "8M", "--media", "tools", "--firmware", "uefi"]
    limits = ["--cpu-weight", "50", "--disk-iops", "100", "--disk-rate", "1M", "--network-rate", "2M"]
    made = read(root, "instance", "create", "blank", "--memory", "64M", "--tpm", *options, *limits)
    assert len(made["disks"]) == 3
    assert (made["firmware"], made["has_tpm"]) == ("uefi", True)
    assert [drive["media_image"] for drive in made["media"]] == ["tools"]
    assert made["qos"] == {
        "cpu_weight": 50,
        "disk_iops": 100,
        "disk_bytes_per_second": 1024**2,
        "network_bytes_per_second": 2 * 1024**2,
    }
    well(root, "instance", "update", "blank", "--disk-iops", "0", "--cpu-weight", "70")
    changed = read(root, "instance", "get", "blank")["qos"]
    assert (changed["cpu_weight"], changed["disk_iops"], changed["disk_bytes_per_second"]) == (70, None, 1024**2)
    well(root, "instance", "delete", "-y", "blank")


def test_media_cards_and_memory_on_disk(root: Path) -> None:
    well(root, "instance", "create", "web-1", "--image", "small", "--memory", "64M")
    well(root, "instance", "insert", "web-1", "tools")
    assert read(root, "instance", "get", "web-1")["media"][0]["media_image"] == "tools"
    well(root, "instance", "eject", "web-1", "--force")
    assert read(root, "instance", "get", "web-1")["media"][0].get("media_image") is None
    cards = read(root, "instance", "add-nic", "web-1")["nics"]
    assert len(cards) == 2
    unknown = nano(root, "--wait", "instance", "remove-nic", "web-1", "nothing")
    assert (unknown.returncode, cards[0]["mac"] in unknown.stderr) == (3, True)
    well(root, "instance", "remove-nic", "web-1", cards[1]["mac"])
    well(root, "instance", "suspend", "web-1")
    assert read(root, "instance", "get", "web-1")["state"]["observed"] == "suspended"
    assert nano(root, "--wait", "instance", "insert", "web-1", "tools").returncode == 5
    well(root, "instance", "restore", "web-1")
    assert read(root, "instance", "clone", "web-1", "web-2", "--no-start")["name"] == "web-2"
    well(root, "instance", "stop", "web-1")
    assert read(root, "instance", "rebuild", "web-1", "--no-start")["state"]["observed"] == "stopped"
    well(root, "instance", "delete", "-y", "web-1", "web-2")
