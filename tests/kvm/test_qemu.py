"""The driver on a real libvirtd and real QEMU under software emulation."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libvirt
import pytest

from nanocore.capabilities.hypervisor import ConsoleKind, DiskSpec, GuestSpec, HypervisorDriver
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, SnapshotId, VolumeId, new_id
from nanocore.model.instance import ObservedState
from nanocore.testing import tiny_guest
from nanocore.testing.hardware_suite import DISK_BYTES, HardwareSuite
from nanocore.testing.hypervisor_suite import Bench, read_some, refused, until
from nanocore.testing.libvirtd import PrivateLibvirtd
from nanoplugins.kvm.driver import KvmDriver

FOREIGN = """
<domain type='qemu'>
  <name>{name}</name><uuid>{id}</uuid>
  <memory unit='MiB'>32</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os>
</domain>
"""

pytestmark = [pytest.mark.system, pytest.mark.needs("libvirt", "qemu", "root"), pytest.mark.timeout(180)]


def image_facts(path: str) -> dict[str, Any]:
    """Return what qemu-img tells of a disk that nobody uses."""
    command = ["qemu-img", "info", "-f", "qcow2", "--output=json", path]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


class TestOnQemu(HardwareSuite):
    @pytest.fixture(autouse=True)
    def _libvirtd(
        self, tmp_path: Path, libvirtd: PrivateLibvirtd, make_kvm_driver: Callable[[str], KvmDriver], bridge: str
    ) -> None:
        self.libvirtd, self.folder, self._make, self.bridge = libvirtd, tmp_path, make_kvm_driver, bridge

    def make_driver(self) -> HypervisorDriver:
        return self._make(self.libvirtd.uri)

    def make_disk(self) -> DiskSpec:
        id = VolumeId(new_id())
        path = self.folder / f"{id}.raw"
        tiny_guest.write_disk(path)
        return DiskSpec(volume_id=id, path=str(path), format="raw", is_boot=True)

    def make_volume(self) -> DiskSpec:
        id = VolumeId(new_id())
        path = self.folder / f"{id}.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), str(DISK_BYTES)], check=True, timeout=60)
        return DiskSpec(volume_id=id, path=str(path), format="qcow2")

    def make_media(self) -> str:
        path = self.folder / f"{new_id()}.iso"
        path.write_bytes(b"medium".ljust(64 * 1024, b"\0"))
        return str(path)

    def make_bridge(self) -> str:
        return self.bridge

    async def check_grown(self, bench: Bench, id: InstanceId, data: DiskSpec) -> None:
        await refused(ErrorCode.INVALID_ARGUMENT, bench.driver.resize_disk(id, data.volume_id, DISK_BYTES))
        await bench.driver.power_off(id)
        assert image_facts(data.path)["virtual-size"] == 2 * DISK_BYTES

    async def check_snapshots(self, spec: GuestSpec, snapshots: list[SnapshotId]) -> None:
        for disk in spec.disks:
            found = image_facts(disk.path).get("snapshots", [])
            assert [snapshot["name"] for snapshot in found] == snapshots

    async def make_foreign(self, driver: HypervisorDriver) -> InstanceId:
        assert isinstance(driver, KvmDriver)
        id = InstanceId(new_id())
        connection = libvirt.open(self.libvirtd.uri)
        try:
            connection.defineXML(FOREIGN.format(id=id, name=f"foreign-{id[:8]}"))
        finally:
            connection.close()
        return id

    def test_a_killed_process_is_a_crash_until_power_is_cut(self) -> None:
        async def test(bench: Bench) -> None:
            id = await self.running(bench)
            (pid,) = self.libvirtd.guest_pids()
            os.kill(pid, signal.SIGKILL)
            observed = await bench.until_state(id, ObservedState.CRASHED)
            assert observed.reason
            await until(lambda: bench.states(id)[-1:] == [ObservedState.CRASHED], "the crash was never reported")
            await bench.driver.power_off(id)
            assert (await bench.driver.get(id)).state is ObservedState.STOPPED
            assert bench.states(id)[-1] is ObservedState.STOPPED
            await bench.driver.start(id)
            assert (await bench.driver.get(id)).state is ObservedState.RUNNING

        self.run(test)

    def test_a_guest_never_notices_that_libvirtd_died(self) -> None:
        async def test(bench: Bench) -> None:
            driver = bench.driver
            kept, killed = await self.running(bench), await self.running(bench)
            pids = self.libvirtd.guest_pids()
            await asyncio.to_thread(self.libvirtd.restart)
            await until(lambda: bool(driver.is_connected), "the driver never came back")  # type: ignore[attr-defined]
            assert self.libvirtd.guest_pids() == pids
            assert (await bench.until_state(kept, ObservedState.RUNNING)).state is ObservedState.RUNNING
            assert bench.states(kept) == [ObservedState.STOPPED, ObservedState.RUNNING]
            # Events flow again, and consoles work.
            await driver.power_off(killed)
            await until(lambda: bench.states(killed)[-1] is ObservedState.STOPPED, "events stayed away")
            console = await driver.open_console(kept, ConsoleKind.SERIAL)
            assert await read_some(console)
            await console.close()

        self.run(test)

    def test_what_happens_while_libvirtd_is_away_is_reported_afterwards(self) -> None:
        async def test(bench: Bench) -> None:
            id = await self.running(bench)
            (pid,) = self.libvirtd.guest_pids()
            restart = asyncio.create_task(asyncio.to_thread(self.libvirtd.restart))
            os.kill(pid, signal.SIGKILL)
            await restart
            await until(lambda: bench.states(id)[-1] is ObservedState.CRASHED, "the crash was never reported")

        self.run(test)

    def test_calls_fail_at_once_while_libvirtd_is_away(self) -> None:
        async def test(bench: Bench) -> None:
            id = await self.running(bench)
            restart = asyncio.create_task(asyncio.to_thread(self.libvirtd.restart))
            codes = set()
            while not restart.done():
                try:
                    await bench.driver.get(id)
                except NanoError as error:
                    codes.add(error.code)
                await asyncio.sleep(0.005)
            await restart
            assert codes == {ErrorCode.UNAVAILABLE}
            await until(lambda: bool(bench.driver.is_connected), "the driver never came back")  # type: ignore[attr-defined]
            assert (await bench.driver.get(id)).state is ObservedState.RUNNING

        self.run(test)

    def test_a_guest_is_built_as_documented(self) -> None:
        async def test(bench: Bench) -> None:
            id = await self.running(bench)
            connection = libvirt.open(self.libvirtd.uri)
            try:
                xml = connection.lookupByUUIDString(id).XMLDesc()
            finally:
                connection.close()
            assert "machine='pc-q35" in xml
            assert "bus='virtio'" in xml
            assert "zone='test-zone'" in xml or 'zone="test-zone"' in xml
            assert "<listen type='none'/>" in xml
            assert "type='tcp'" not in xml

        self.run(test)

    def test_a_missing_bridge_is_named_and_leaves_a_stopped_guest(self) -> None:
        async def test(bench: Bench) -> None:
            from nanocore.capabilities.hypervisor import NicSpec
            from nanocore.wire import structs

            nic = NicSpec(id=new_id(), mac="52:54:00:00:00:01", bridge="nano-nowhere")
            spec = structs.replace(self.spec(bench), nics=[nic])
            await bench.driver.define(spec)
            with pytest.raises(NanoError, match="nano-nowhere"):
                await bench.driver.start(spec.id)
            assert (await bench.driver.get(spec.id)).state in {ObservedState.STOPPED, ObservedState.CRASHED}

        self.run(test)


def test_an_absent_libvirtd_is_unavailable_and_opening_can_be_repeated(
    tmp_path: Path, make_kvm_driver: Callable[[str], KvmDriver]
) -> None:
    async def main() -> None:
        driver = make_kvm_driver(f"qemu:///system?socket={tmp_path / 'nobody'}")
        for _ in range(2):
            with pytest.raises(NanoError) as caught:
                await driver.open(lambda _observed: None)
            assert caught.value.code is ErrorCode.UNAVAILABLE
        await driver.close()

    asyncio.run(main())
