"""A simulated node with one of everything, so that no page is empty."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from nanocore.testing.kernel_process import KernelProcess
from tests.system import real
from tests.system.acts import create, upload

MIB = 1024**2


def ask(kernel: KernelProcess, path: str, /, method: str = "POST", **body: Any) -> Any:
    """Send a request, wait for the operation that it begins, and return the answer."""
    answer = kernel.client.request(method, path, json=body)
    if isinstance(answer, dict) and "progress" in answer:
        kernel.client.wait(answer)
    return answer


def people(kernel: KernelProcess, folder: Path) -> None:
    """Make an image, instances, and one of each noun that has a page."""
    image_id = upload(kernel, small_image(folder), "debian-12")
    (folder / "tools.iso").write_bytes(iso())
    kernel.client.upload_image("/media-images", folder / "tools.iso", {"name": "tools"})
    for name in ("web-1", "web-2", "database"):
        kernel.client.wait(create(kernel, name, image_id, tags=["blue"]))
    web = real.instance_of(kernel, "web-2")["id"]
    stopped = real.instance_of(kernel, "database")["id"]
    ask(kernel, f"/instances/{stopped}/actions/power_off")
    ask(kernel, f"/instances/{web}/snapshots", name="before-upgrade", description="Packages of May")
    ask(kernel, f"/instances/{web}/snapshots", name="after-upgrade")
    ask(kernel, "/snapshot-schedules", instance_id=web, name="daily", interval_seconds=86400, keep=7)
    ask(kernel, "/volumes", name="data", size_bytes=64 * MIB)
    network = kernel.client.get("/networks")["items"][0]
    ask(kernel, "/networks", name="inner", mode="isolated", cidr="10.91.0.0/24")
    first = network["cidr"].rsplit(".", 1)[0]
    pool = ask(
        kernel,
        "/address-pools",
        name="upper",
        network_id=network["id"],
        ranges=[{"first": f"{first}.200", "last": f"{first}.220"}],
    )
    ask(kernel, f"/address-pools/{pool['id']}/reservations", description="The printer")
    rules = [{"direction": "inbound", "action": "accept", "protocol": "tcp", "ports": "22,80"}]
    ask(kernel, "/security-policies", name="web", default_inbound="drop", default_outbound="accept", rules=rules)
    ask(kernel, "/templates", name="small", values={"vcpus": 1, "memory_bytes": 64 * MIB, "image_id": image_id})


def small_image(folder: Path) -> Path:
    """Return an empty disk image."""
    file = folder / "a.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(file), "16M"], check=True)
    return file


def iso() -> bytes:
    """Return what an ISO 9660 image begins with: the system area, a primary descriptor and the end of the set."""
    sector, sectors = 2048, 50
    primary = bytearray(b"\x01CD001\x01".ljust(sector, b"\0"))
    primary[80:88] = sectors.to_bytes(4, "little") + sectors.to_bytes(4, "big")
    primary[128:132] = sector.to_bytes(2, "little") + sector.to_bytes(2, "big")
    end = b"\xffCD001\x01".ljust(sector, b"\0")
    return (bytes(16 * sector) + primary + end).ljust(sectors * sector, b"\0")
