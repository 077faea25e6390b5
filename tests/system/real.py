"""Parts of the tests with real libvirt and QEMU: the node's configuration, the guest's page and consoles."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from nanocore.client.websocket import open_console
from nanocore.testing.kernel_process import KernelProcess, wait_until
from nanoplugins.network_bridge.names import NetworkNames

READY_SECONDS = 90.0
"""A guest under software emulation on a busy machine boots in 5 to 30 s."""

KVM_CONFIG = """
[kernel]
name = "{{name}}"
plugins = ["*", "-webportal", "-sim"]
listen_address = "127.0.0.1"
advertise_address = "127.0.0.1"
message_port = 0
stream_port = 0
strict = true

[kvm]
uri = "{uri}"

[network]
default_cidr = "{cidr}"

[restapi]
listen_address = "127.0.0.1"
port = 0
"""


def configuration(uri: str) -> str:
    """Return a node's configuration, with a network that other test runs on this machine hardly have."""
    return KVM_CONFIG.format(uri=uri, cidr=f"10.126.{os.getpid() % 250}.0/24")


def fetch_page(address: str) -> str | None:
    """Return the guest's page, ``None`` while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://{address}/", timeout=2) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return None


def wait_for_page(address: str, word: str) -> str:
    """Return the guest's page once it has ``word``."""

    def look() -> str | None:
        page = fetch_page(address)
        return page if page is not None and word in page else None

    return wait_until(look, seconds=READY_SECONDS, what=f"the page of {word} at {address}")


def serial_dialogue(kernel: KernelProcess, instance_id: str, send: str, expect: str) -> str:
    """Type ``send`` at the guest's serial console until ``expect`` comes back; return all that was read."""
    seen = ""
    ends = time.monotonic() + READY_SECONDS
    with open_console(kernel.client, instance_id, "serial") as console:
        while expect not in seen:
            assert time.monotonic() < ends, f"{expect!r} did not come; seen: {seen[-500:]!r}"
            console.send(send.encode() + b"\n")
            pause = time.monotonic() + 3
            while time.monotonic() < pause and expect not in seen:
                try:
                    part = console.recv(timeout=0.5)
                except TimeoutError:
                    continue
                seen += part.decode(errors="replace") if isinstance(part, bytes) else part
    return seen


def screen_greeting(kernel: KernelProcess, instance_id: str) -> bytes:
    """Return the first bytes that the guest's screen sends: an RFB server's protocol version."""
    with open_console(kernel.client, instance_id, "screen") as console:
        part = console.recv(timeout=10)
        return part if isinstance(part, bytes) else part.encode()


def domains(uri: str) -> dict[str, str]:
    """Return libvirt's own view: domain UUID to state."""
    listed = _virsh(uri, "list", "--all", "--uuid").split()
    return {uuid: _virsh(uri, "domstate", uuid).strip() for uuid in listed}


def _virsh(uri: str, *arguments: str) -> str:
    done = subprocess.run(
        ["virsh", "-q", "-c", uri, *arguments], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout


def volume_files(kernel: KernelProcess) -> set[str]:
    """Return the ids of the files in the pool."""
    folder = kernel.root / "var" / "lib" / "nano" / "storage_local"
    return {file.stem for file in folder.rglob("*.qcow2")}


def volume_file(kernel: KernelProcess, id: str) -> Path:
    """Return the file of a volume in the pool."""
    folder = kernel.root / "var" / "lib" / "nano" / "storage_local"
    return next(folder.rglob(f"{id}.qcow2"))


def network_names(kernel: KernelProcess) -> list[NetworkNames]:
    """Return what the node's networks are called on this machine; other nodes' come and go meanwhile."""
    node_id = kernel.client.get("/nodes")["items"][0]["id"]
    return [NetworkNames.of(node_id, network["id"]) for network in kernel.client.get("/networks")["items"]]


def own_links() -> set[str]:
    """Return the bridges that network_bridge has made on this machine."""
    done = subprocess.run(["ip", "-j", "link"], capture_output=True, check=True)
    return {link["ifname"] for link in json.loads(done.stdout) if link["ifname"].startswith("nb")}


def links_with(address: str) -> list[str]:
    """Return the names of this machine's links that have ``address``."""
    done = subprocess.run(["ip", "-j", "address"], capture_output=True, check=True)
    return [
        link["ifname"]
        for link in json.loads(done.stdout)
        if any(entry["local"] == address for entry in link["addr_info"])
    ]


def own_tables() -> set[str]:
    """Return the nftables tables that network_bridge has made on this machine."""
    done = subprocess.run(["nft", "-j", "list", "tables"], capture_output=True, check=True)
    tables = [entry["table"]["name"] for entry in json.loads(done.stdout)["nftables"] if "table" in entry]
    return {name for name in tables if name.startswith("nano")}


def processes_of(root: Path) -> list[str]:
    """Return the command lines that mention ``root``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(root) in line and int(folder.name) != os.getpid():
            found.append(line)
    return found


def instance_of(kernel: KernelProcess, name: str) -> dict[str, Any]:
    """Return an instance by name."""
    found: list[dict[str, Any]] = kernel.client.get("/instances", name=name)["items"]
    return found[0]


def ports(kernel: KernelProcess) -> set[str]:
    """Return the ids of the network cards that have a port."""
    folder = kernel.root / "var" / "lib" / "nano" / "network_bridge" / "networks"
    return {file.stem for file in folder.glob("*/ports/*.json")}
