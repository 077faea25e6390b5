"""From the request to a running guest on real QEMU: through the API, and the same steps by hand.

By hand: clone the cached image with qemu-img, define and start the very same domain (name, id, address and disk
apart) through libvirt's API. Software emulation, an image that is cached on the cell, the bridge is there.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
import time
import uuid
import xml.etree.ElementTree as ET
from pathlib import Path

import libvirt

from bench.child import cpu_seconds
from bench.figure import Figure, Size, of_rounds
from bench.machine import machine, real_node
from nanocore.testing import tiny_guest
from nanocore.testing.kernel_process import KernelProcess, wait_until

MEMORY_BYTES = 64 * 2**20
WHY = (
    "eight journalled steps, each durable before it is acknowledged and each told to the feed; the request's checks; "
    "address and port, which nobody makes by hand; and libvirt asked once more for what runs"
)


class ByHand:
    """What somebody does who has qemu-img and libvirt, and nothing to keep records with."""

    def __init__(self, uri: str, like: str) -> None:
        self._connection = libvirt.open(uri)
        self._xml = self._connection.lookupByUUIDString(like).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        volume = ET.fromstring(self._xml).find("devices/disk/source").attrib["file"]  # type: ignore[union-attr]
        info = json.loads(subprocess.check_output(["qemu-img", "info", "-U", "-f", "qcow2", "--output=json", volume]))
        self._backing = info["full-backing-filename"]
        self._folder = Path(volume).parent

    def create(self) -> float:
        """Return the seconds until the guest runs; it is gone afterwards."""
        id = str(uuid.uuid4())
        path = self._folder / f"{id}.qcow2"
        begun = time.perf_counter()
        clone = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", self._backing, "-F", "qcow2", str(path)]
        subprocess.run(clone, check=True)
        domain = self._connection.defineXML(self._like(id, path))
        domain.create()
        seconds = time.perf_counter() - begun
        domain.destroy()
        domain.undefine()
        path.unlink()
        return seconds

    def _like(self, id: str, path: Path) -> str:
        root = ET.fromstring(self._xml)
        for name, text in (("name", f"hand-{id[:8]}"), ("uuid", id)):
            root.find(name).text = text  # type: ignore[union-attr]
        root.find("devices/disk/source").set("file", str(path))  # type: ignore[union-attr]
        # What belongs to one guest alone: its tap device's name, and channels that end in a file of its own.
        devices = root.find("devices")
        for card in devices.iter("interface"):  # type: ignore[union-attr]
            for target in card.findall("target"):
                card.remove(target)
        for channel in devices.findall("channel"):  # type: ignore[union-attr]
            if channel.find("source") is not None:
                devices.remove(channel)  # type: ignore[union-attr]
        octets = uuid.UUID(id).bytes[:3]
        root.find("devices/interface/mac").set("address", "52:54:00:" + octets.hex(":"))  # type: ignore[union-attr]
        return ET.tostring(root, encoding="unicode")

    def close(self) -> None:
        self._connection.close()


class ThroughNano:
    """The same as a client of the API."""

    def __init__(self, kernel: KernelProcess, image_id: str) -> None:
        self._client = kernel.client
        self._image_id = image_id

    def start(self, name: str) -> str:
        body = {"name": name, "image_id": self._image_id, "memory_bytes": MEMORY_BYTES}
        ended = self._client.wait(self._client.request("POST", "/instances", json=body))
        return str(ended["result"]["instance_id"])

    def delete(self, id: str) -> None:
        self._client.wait(self._client.request("DELETE", f"/instances/{id}"))

    def may_delete(self, id: str) -> bool:
        """Return whether the cell has reported since it started: nothing is deleted before."""
        actions = self._client.get(f"/instances/{id}")["allowed_actions"]
        return any(action["name"] == "delete" and action["allowed"] for action in actions)

    def create(self, name: str) -> float:
        begun = time.perf_counter()
        id = self.start(name)
        seconds = time.perf_counter() - begun
        self.delete(id)
        return seconds


def upload(kernel: KernelProcess, folder: Path) -> str:
    raw, image = folder / "tiny.raw", folder / "tiny.qcow2"
    tiny_guest.write_disk(raw)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(image)], check=True)
    return str(kernel.client.upload_disk_image(image, "tiny")["id"])


def compare_creates(kernel: KernelProcess, uri: str, rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        nano = ThroughNano(kernel, upload(kernel, Path(folder)))
    kept = nano.start("first")
    wait_until(lambda: nano.may_delete(kept), what="the cell's first report")
    hand = ByHand(uri, kept)
    pairs, cpu = [], []
    try:
        hand.create()
        for number in range(rounds):
            limit = hand.create()
            before = cpu_seconds(kernel.pid)
            pairs.append((nano.create(f"web-{number}"), limit))
            cpu.append((cpu_seconds(kernel.pid) - before) * 1000)
    finally:
        hand.close()
        nano.delete(kept)
    ours = [((value - limit) * 1000, limit * 1000) for value, limit in pairs]
    return [
        of_rounds("create to running, QEMU without KVM", "s", pairs, goal="<= 1.15", n=rounds, why=WHY),
        of_rounds("create to running: what Nano adds", "ms", ours, n=rounds),
        of_rounds("create and delete: CPU of the node", "ms", [(value, 1000 * pairs[0][1]) for value in cpu], n=rounds),
    ]


async def measure(size: Size) -> list[Figure]:
    with machine() as (folder, libvirtd):
        kernel = real_node(folder, libvirtd)
        kernel.start()
        try:
            await asyncio.to_thread(kernel.wait_ready)
            return await asyncio.to_thread(compare_creates, kernel, libvirtd.uri, size.of(1, 9, 30))
        finally:
            await asyncio.to_thread(kernel.stop)
