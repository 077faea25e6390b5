"""Networks and ports of this node as files, so that a restarted kernel knows what it made."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from nanocore.capabilities.network import NetworkSpec, PortSpec
from nanocore.errors import NanoError
from nanocore.wire import Struct, decode_json, encode_json
from nanoplugins.network_bridge.names import NetworkNames


@dataclass(slots=True)
class ServedNetwork:
    """One network on this node. ``folder`` also holds dnsmasq's files; it goes away with the network."""

    spec: NetworkSpec
    names: NetworkNames
    folder: Path
    ports: dict[str, PortSpec] = field(default_factory=dict)

    @property
    def configuration(self) -> Path:
        """The configuration of dnsmasq; its path is also how its process is recognised."""
        return self.folder / "dnsmasq.conf"

    def save_spec(self) -> None:
        """Record the network; before anything of it is made."""
        (self.folder / "ports").mkdir(parents=True, exist_ok=True)
        _write(self.folder / "network.json", self.spec)

    def save_port(self, port: PortSpec) -> None:
        """Record a port; before it is served."""
        _write(self._port_path(port.nic_id), port)
        self.ports[port.nic_id] = port

    def forget_port(self, nic_id: str) -> None:
        """Drop a port's record."""
        self._port_path(nic_id).unlink(missing_ok=True)
        self.ports.pop(nic_id, None)

    def forget(self) -> None:
        """Drop everything recorded; after it was taken down."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _port_path(self, nic_id: str) -> Path:
        return self.folder / "ports" / f"{nic_id}.json"


def load(folder: Path) -> tuple[list[ServedNetwork], list[Path]]:
    """Return the recorded networks, and the files that can't be read."""
    networks: list[ServedNetwork] = []
    broken: list[Path] = []
    for path in sorted(folder.glob("*/network.json")):
        try:
            spec = decode_json(path.read_bytes(), NetworkSpec)
        except NanoError:
            broken.append(path)
            continue
        served = ServedNetwork(spec, NetworkNames(path.parent.name), path.parent)
        for port_path in sorted((path.parent / "ports").glob("*.json")):
            try:
                port = decode_json(port_path.read_bytes(), PortSpec)
            except NanoError:
                broken.append(port_path)
            else:
                served.ports[port.nic_id] = port
        networks.append(served)
    return networks, broken


def _write(path: Path, value: Struct) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(encode_json(value))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
