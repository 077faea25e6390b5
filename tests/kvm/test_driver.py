"""The driver keeps every promise on libvirt's test driver, which has real lifecycle, events and errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nanocore.capabilities.hypervisor import DiskSpec, HypervisorDriver
from nanocore.ids import InstanceId, VolumeId, new_id
from nanocore.testing.hardware_suite import HardwareSuite
from nanoplugins.kvm.driver import KvmDriver

FOREIGN_ID = InstanceId("6b9b7ac5-5dbb-4c0f-8c3e-d7a8f2b6f001")
NODE = f"""
<node>
  <cpu><mhz>2000</mhz><active>4</active><cores>4</cores></cpu>
  <memory>8388608</memory>
  <domain type='test'>
    <name>foreign</name><uuid>{FOREIGN_ID}</uuid>
    <memory>65536</memory><vcpu>1</vcpu><os><type>hvm</type></os>
  </domain>
</node>
"""


@pytest.mark.needs("libvirt")
class TestOnLibvirtsTestDriver(HardwareSuite):
    keeps_guests = False

    @pytest.fixture(autouse=True)
    def _node(self, tmp_path: Path, make_kvm_driver: Callable[[str], KvmDriver]) -> None:
        node = tmp_path / "node.xml"
        node.write_text(NODE)
        self._make, self._uri = make_kvm_driver, f"test://{node}"

    def make_driver(self) -> HypervisorDriver:
        return self._make(self._uri)

    def make_disk(self) -> DiskSpec:
        return DiskSpec(volume_id=VolumeId(new_id()), path="/nowhere/disk.qcow2", format="qcow2", is_boot=True)

    def make_volume(self) -> DiskSpec:
        return DiskSpec(volume_id=VolumeId(new_id()), path="/nowhere/data.qcow2", format="qcow2")

    def make_media(self) -> str:
        return "/nowhere/system.iso"

    def make_bridge(self) -> str:
        return "nano0"

    async def make_foreign(self, driver: HypervisorDriver) -> InstanceId:
        return FOREIGN_ID
