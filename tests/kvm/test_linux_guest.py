"""What a real Linux guest sees of its hardware: the demo guest under software emulation, asked at its serial port."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import libvirt
import pycdlib
import pytest

from nanocore.capabilities.hypervisor import (
    Console,
    ConsoleKind,
    CopyState,
    DiskCopy,
    DiskSpec,
    GuestSpec,
    MediaSpec,
    NicSpec,
)
from nanocore.errors import ErrorCode
from nanocore.ids import InstanceId, SnapshotId, StepKey, VolumeId, new_id
from nanocore.model.instance import MIB, Firmware, ObservedState, Qos
from nanocore.testing import tiny_guest
from nanocore.testing.hypervisor_suite import refused, until_async
from nanocore.testing.libvirtd import PrivateLibvirtd
from nanocore.wire import structs
from nanoplugins.kvm.driver import KvmDriver

BOOT_SECONDS = 240.0
"""Some seconds on an idle machine; firmware under software emulation on a busy one takes its time."""
ANSWER_SECONDS = 60.0
DATA_BYTES = 8 * MIB

pytestmark = [pytest.mark.system, pytest.mark.needs("libvirt", "qemu", "root"), pytest.mark.timeout(600)]


class Shell:
    """The shell at a guest's serial port."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen = ""
        self._count = 0

    async def run(self, command: str, *, seconds: float = ANSWER_SECONDS) -> str:
        """Return what a command prints; typed again while nothing comes, as a guest that boots does not listen."""
        ends = time.monotonic() + seconds
        while True:
            self._count += 1
            # Added up by the shell: neither what is echoed nor what it says to half a line looks like it.
            begin, end = f"<{1000 + self._count}>", f"</{1000 + self._count}>"
            number = f"$((1000+{self._count}))"
            await self._console.write(f'\necho "<{number}>"; {command}; echo "</{number}>"\n'.encode())
            await self._listen(end, 8)
            answer = self._seen.partition(begin)[2]
            if end in answer:
                return answer.partition(end)[0].strip()
            assert time.monotonic() < ends, f"{command!r} was not answered; seen: {self._seen[-800:]!r}"

    async def until(self, command: str, wanted: str) -> None:
        """Repeat a command until it prints ``wanted``."""
        ends = time.monotonic() + ANSWER_SECONDS
        while (answer := await self.run(command)) != wanted:
            assert time.monotonic() < ends, f"{command!r} prints {answer!r}, never {wanted!r}"

    async def listen_for(self, words: str, seconds: float = BOOT_SECONDS) -> None:
        """Wait for what the guest prints by itself."""
        await self._listen(words, seconds)
        assert words in self._seen, self._seen[-800:]

    async def _listen(self, words: str, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while words not in self._seen:
                    chunk = await self._console.read()
                    assert chunk, "the guest is gone"
                    self._seen += chunk.decode(errors="replace")
        except TimeoutError:
            return


class Machine:
    """A driver on the tests' libvirtd and what its guests are made of."""

    def __init__(self, driver: KvmDriver, libvirtd: PrivateLibvirtd, folder: Path, image: Path) -> None:
        self.driver, self.libvirtd, self.folder, self.image = driver, libvirtd, folder, image
        self.made: list[InstanceId] = []

    def boot_disk(self) -> DiskSpec:
        """Return a copy of the demo disk."""
        id = VolumeId(new_id())
        path = self.folder / f"{id}.qcow2"
        shutil.copyfile(self.image, path)
        return DiskSpec(volume_id=id, path=str(path), format="qcow2", is_boot=True)

    def data_disk(self) -> DiskSpec:
        """Return an empty disk."""
        id = VolumeId(new_id())
        path = self.folder / f"{id}.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), str(DATA_BYTES)], check=True, timeout=60)
        return DiskSpec(volume_id=id, path=str(path), format="qcow2")

    def spec(self, **changes: object) -> GuestSpec:
        """Return a small guest."""
        id = InstanceId(new_id())
        self.made.append(id)
        spec = GuestSpec(
            id=id,
            name=f"linux-{id[:4]}",
            vcpus=1,
            memory_bytes=256 * MIB,
            disks=[self.boot_disk()],
            nics=[],
            media=[MediaSpec(slot=0)],
            step_key=StepKey(f"{new_id()}/define"),
        )
        return structs.replace(spec, **changes)

    async def started(self, spec: GuestSpec) -> InstanceId:
        """Define and start it."""
        await self.driver.define(spec)
        await self.driver.start(spec.id)
        return spec.id

    @asynccontextmanager
    async def shell(self, id: InstanceId) -> AsyncIterator[Shell]:
        """Open its serial port."""
        console = await self.driver.open_console(id, ConsoleKind.SERIAL)
        try:
            yield Shell(console)
        finally:
            await console.close()


@pytest.fixture
def run(
    tmp_path: Path, libvirtd: PrivateLibvirtd, make_kvm_driver: Callable[[str], KvmDriver], demo_image: Path
) -> Callable[[Callable[[Machine], Coroutine[Any, Any, None]]], None]:
    def run_test(test: Callable[[Machine], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            driver = make_kvm_driver(libvirtd.uri)
            machine = Machine(driver, libvirtd, tmp_path, demo_image)
            await driver.open(lambda _observed: None)
            try:
                await test(machine)
            finally:
                for id in machine.made:
                    await driver.delete(id)
                await driver.close()

        asyncio.run(main())

    return run_test


Run = Callable[[Callable[[Machine], Coroutine[Any, Any, None]]], None]


def test_uefi_and_tpm_are_there(run: Run) -> None:
    async def test(machine: Machine) -> None:
        spec = machine.spec(firmware=Firmware.UEFI, has_tpm=True)
        id = await machine.started(spec)
        async with machine.shell(id) as shell:
            assert await shell.run("ls -d /sys/firmware/efi", seconds=BOOT_SECONDS) == "/sys/firmware/efi"
            assert await shell.run("cat /sys/class/tpm/tpm0/tpm_version_major") == "2"
        seen = await machine.driver.get(id)
        assert (seen.firmware, seen.has_tpm) == (Firmware.UEFI, True)
        state = machine.libvirtd.state_dir / "var/lib/libvirt"
        assert list((state / "qemu/nvram").iterdir())
        assert (state / "swtpm" / id).exists()
        await machine.driver.delete(id)
        # What the firmware and the TPM keep goes with the guest.
        assert not list((state / "qemu/nvram").iterdir())
        assert not (state / "swtpm" / id).exists()

    run(test)


def test_disks_and_cards_come_and_go_while_it_runs(run: Run, bridge: str) -> None:
    async def test(machine: Machine) -> None:
        driver, data = machine.driver, machine.data_disk()
        nic = NicSpec(id=new_id(), mac="52:54:00:aa:bb:01", bridge=bridge, device=f"t{os.getpid()}", is_isolated=True)
        id = await machine.started(machine.spec())
        async with machine.shell(id) as shell:
            assert await shell.run("cat /sys/block/vda/ro", seconds=BOOT_SECONDS) == "0"
            await driver.attach_disk(id, data)
            await shell.until("cat /sys/block/vdb/size", str(DATA_BYTES // 512))
            serial = data.volume_id.replace("-", "")[:20]
            assert await shell.run("cat /sys/block/vdb/serial") == serial
            await driver.resize_disk(id, data.volume_id, 2 * DATA_BYTES)
            await shell.until("cat /sys/block/vdb/size", str(2 * DATA_BYTES // 512))
            await driver.detach_disk(id, data.volume_id)
            await shell.until("ls /sys/block | grep -c vdb", "0")
            await driver.attach_nic(id, nic)
            await shell.until("cat /sys/class/net/e*/address", nic.mac)
            isolated = await asyncio.to_thread(Path(f"/sys/class/net/{nic.device}/brport/isolated").read_text, "ascii")
            assert isolated
            await driver.detach_nic(id, nic.id)
            await shell.until("ls /sys/class/net", "lo")
        seen = await driver.get(id)
        assert (len(seen.disks), seen.nics) == (1, [])

    run(test)


def test_media_are_seen_inside(run: Run) -> None:
    async def test(machine: Machine) -> None:
        medium = machine.folder / "medium.iso"
        write_iso(medium, {"HELLO.TXT": b"from the medium\n"})
        id = await machine.started(machine.spec())
        async with machine.shell(id) as shell:
            assert await shell.run("ls -d /sys/block/sr0", seconds=BOOT_SECONDS) == "/sys/block/sr0"
            await machine.driver.set_media(id, 0, str(medium))
            await shell.until(
                "mkdir -p /mnt; mount -t iso9660 -o ro /dev/sr0 /mnt 2>/dev/null; cat /mnt/hello.txt 2>/dev/null",
                "from the medium",
            )
            # The kernel locks the door of what is mounted.
            error = await refused(ErrorCode.BUSY, machine.driver.set_media(id, 0, None))
            assert error.reason
            assert (await machine.driver.get(id)).media == [MediaSpec(slot=0, path=str(medium))]
            await machine.driver.set_media(id, 0, None, is_forced=True)
            await shell.run("umount /mnt")
            await shell.until("dd if=/dev/sr0 of=/dev/null bs=2048 count=1 2>/dev/null; echo $?", "1")

    run(test)


def test_an_empty_disk_lets_the_medium_boot(run: Run) -> None:
    async def test(machine: Machine) -> None:
        medium = machine.folder / "system.iso"
        write_iso(medium, {}, boot=tiny_guest.boot_sector())
        blank = structs.replace(machine.data_disk(), is_boot=True)
        spec = machine.spec(disks=[blank], media=[MediaSpec(slot=0, path=str(medium)), MediaSpec(slot=1)])
        async with machine.shell(await machine.started(spec)) as shell:
            await shell.listen_for(tiny_guest.BANNER.decode().strip())

    run(test)


def test_a_restored_guest_goes_on_where_it_was(run: Run) -> None:
    async def test(machine: Machine) -> None:
        driver, id = machine.driver, await machine.started(machine.spec())
        async with machine.shell(id) as shell:
            await shell.run("kept=in-memory", seconds=BOOT_SECONDS)
            before = float(await shell.run("cut -d' ' -f1 /proc/uptime"))
            await driver.suspend(id)
        assert (await driver.get(id)).state is ObservedState.SUSPENDED
        await asyncio.to_thread(machine.libvirtd.restart)
        await until_connected(driver)
        assert (await driver.get(id)).state is ObservedState.SUSPENDED
        await driver.restore(id)
        async with machine.shell(id) as shell:
            assert await shell.run("echo $kept") == "in-memory"
            assert float(await shell.run("cut -d' ' -f1 /proc/uptime")) > before

    run(test)


def test_processors_and_memory_change_while_it_runs(run: Run) -> None:
    async def test(machine: Machine) -> None:
        driver, id = machine.driver, await machine.started(machine.spec())
        async with machine.shell(id) as shell:
            total = int(await shell.run(MEMORY_KIB, seconds=BOOT_SECONDS))
            seen = await driver.resize(id, vcpus=3, memory_bytes=128 * MIB)
            assert seen.vcpus == 3
            await shell.until("ls -d /sys/devices/system/cpu/cpu[0-9]* | wc -l", "3")
            ends = time.monotonic() + ANSWER_SECONDS
            while int(await shell.run(MEMORY_KIB)) > total - 100 * 1024:
                assert time.monotonic() < ends, "it never gave memory back"
            await until_memory(driver, id, 128 * MIB)
            await driver.resize(id, vcpus=1, memory_bytes=256 * MIB)
            await until_memory(driver, id, 256 * MIB)

    run(test)


def test_nothing_stays_frozen(run: Run, make_kvm_driver: Callable[[str], KvmDriver]) -> None:
    async def test(machine: Machine) -> None:
        driver, id = machine.driver, await machine.started(machine.spec())
        async with machine.shell(id) as shell:
            await shell.run(f"agent() {{ {AGENT}; }}; {{ agent & }}", seconds=BOOT_SECONDS)

            async def state() -> object:
                return await driver.agent_command(id, "guest-fsfreeze-status")

            assert await driver.agent_command(id, "guest-ping") == {}
            await refused(ErrorCode.UNSUPPORTED, driver.agent_command(id, "guest-get-users"))
            assert await driver.freeze(id) == 1
            assert await driver.freeze(id) == 0
            assert await state() == "frozen"
            await driver.thaw(id)
            assert await state() == "thawed"
            await driver.freeze(id, timeout_seconds=0.5)
            await until_async(lambda: is_equal(state, "thawed"), "the deadline did not thaw it")
            # As a killed node leaves it: frozen, and nobody's timer runs.
            await driver.agent_command(id, "guest-fsfreeze-freeze")
            assert await state() == "frozen"
            again = make_kvm_driver(machine.libvirtd.uri)
            await again.open(lambda _observed: None)
            try:
                await until_async(lambda: is_equal(state, "thawed"), "the next driver did not thaw it")
            finally:
                await again.close()

    run(test)


def test_a_copy_has_what_the_guest_wrote(run: Run) -> None:
    async def test(machine: Machine) -> None:
        data, target, later = machine.data_disk(), machine.data_disk(), machine.data_disk()
        spec = machine.spec()
        driver, id = machine.driver, await machine.started(structs.replace(spec, disks=[*spec.disks, data]))
        async with machine.shell(id) as shell:
            write = "printf {} | dd of=/dev/vdb conv=fsync 2>/dev/null; echo $?"
            assert await shell.run(write.format("first"), seconds=BOOT_SECONDS) == "0"
            await driver.start_copy(id, [DiskCopy(volume_id=data.volume_id, target=target)])
            await until_async(lambda: is_copied(driver, id), "the copy never ended")
            snapshot = SnapshotId(new_id())
            await driver.snapshot_disks(id, snapshot)
            assert await shell.run(write.format("other")) == "0"
            await driver.start_copy(id, [DiskCopy(volume_id=data.volume_id, target=later)])
            await until_async(lambda: is_copied(driver, id), "the copy never ended")
        await driver.power_off(id)
        assert [await asyncio.to_thread(first_bytes, disk.path) for disk in (target, later)] == [b"first", b"other"]
        command = ["qemu-img", "snapshot", "-a", snapshot, data.path]
        await asyncio.to_thread(subprocess.run, command, check=True, timeout=60)
        assert await asyncio.to_thread(first_bytes, data.path) == b"first"

    run(test)


def test_limits_are_in_force(run: Run) -> None:
    async def test(machine: Machine) -> None:
        qos = Qos(disk_iops=321, disk_bytes_per_second=2 * MIB, cpu_weight=300)
        spec = machine.spec(qos=qos)
        id = await machine.started(spec)
        assert limits_of(machine, id) == {"total_iops_sec": 321, "total_bytes_sec": 2 * MIB}
        # The tests' libvirtd has no control groups: found at the first start, known from then on.
        assert (await machine.driver.get(id)).limits_unsupported == ["cpu_weight"]
        assert "cpu_weight" in machine.driver.info.limits_unsupported
        data = machine.data_disk()
        await machine.driver.attach_disk(id, data)
        assert limits_of(machine, id, "vdb") == {"total_iops_sec": 321, "total_bytes_sec": 2 * MIB}
        await machine.driver.set_qos(id, Qos(disk_iops=50))
        assert limits_of(machine, id, "vdb") == {"total_iops_sec": 50, "total_bytes_sec": 0}
        await machine.driver.set_qos(id, Qos())
        assert limits_of(machine, id) == {"total_iops_sec": 0, "total_bytes_sec": 0}

    run(test)


async def is_equal(ask: Callable[[], Coroutine[Any, Any, object]], wanted: object) -> bool:
    """Whether the answer is as wanted."""
    return await ask() == wanted


async def is_copied(driver: KvmDriver, id: InstanceId) -> bool:
    """Whether the copy is done; one that failed says why."""
    progress = await driver.get_copy(id)
    assert progress.state in {CopyState.RUNNING, CopyState.DONE}, progress
    return progress.state is CopyState.DONE


def first_bytes(path: str) -> bytes:
    """Return what stands at the beginning of a qcow2 disk."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        command = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, str(raw)]
        subprocess.run(command, check=True, timeout=60)
        return raw.read_bytes()[:5]


def is_isolated(device: str) -> bool:
    """Whether a tap's port exchanges frames with its bridge only."""
    return Path(f"/sys/class/net/{device}/brport/isolated").read_text(encoding="ascii").strip() == "1"


AGENT = (
    "port=$(grep -l org.qemu.guest_agent.0 /sys/class/virtio-ports/*/name); port=${port%/name}; "
    "exec 3<>/dev/${port##*/}; state=thawed; "
    "while read -r line <&3; do case $line in "
    '*guest-sync*) id=${line##*:}; printf \'{"return":%s}\\n\' "${id%%[!0-9]*}" >&3;; '
    '*fsfreeze-status*) printf \'{"return":"%s"}\\n\' $state >&3;; '
    "*fsfreeze-freeze*) state=frozen; printf '{\"return\":1}\\n' >&3;; "
    "*fsfreeze-thaw*) state=thawed; printf '{\"return\":1}\\n' >&3;; "
    "*guest-ping*) printf '{\"return\":{}}\\n' >&3;; "
    '*) printf \'{"error":{"class":"CommandNotFound","desc":"The command x has not been found"}}\\n\' >&3;; '
    "esac; done"
)
"""What the guest agent does that the driver asks for, in a shell."""
MEMORY_KIB = "sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo"


def limits_of(machine: Machine, id: InstanceId, disk: str = "vda") -> dict[str, int]:
    """Return what QEMU throttles, as libvirt reads it."""
    connection = libvirt.open(machine.libvirtd.uri)
    try:
        found = connection.lookupByUUIDString(id).blockIoTune(disk, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    finally:
        connection.close()
    return {name: found[name] for name in ("total_iops_sec", "total_bytes_sec")}


async def until_memory(driver: KvmDriver, id: InstanceId, wanted: int) -> None:
    """Wait until the balloon is where it was asked to be."""
    ends = time.monotonic() + ANSWER_SECONDS
    while (seen := (await driver.get(id)).memory_bytes) != wanted:
        assert time.monotonic() < ends, f"it has {seen}, not {wanted}"
        await asyncio.sleep(0.05)


async def until_connected(driver: KvmDriver) -> None:
    """Wait until libvirtd is back."""
    ends = time.monotonic() + ANSWER_SECONDS
    while not driver.is_connected:
        assert time.monotonic() < ends, "the driver never came back"
        await asyncio.sleep(0.05)


def write_iso(path: Path, files: dict[str, bytes], *, boot: bytes | None = None) -> None:
    """Write an ISO 9660 file, that boots if it is given a boot sector."""
    iso = pycdlib.PyCdlib()
    iso.new()
    for name, data in files.items():
        iso.add_fp(io.BytesIO(data), len(data), f"/{name};1")
    if boot is not None:
        iso.add_fp(io.BytesIO(boot), len(boot), "/BOOT.BIN;1")
        iso.add_eltorito("/BOOT.BIN;1", bootcatfile="/BOOT.CAT;1", boot_load_size=1)
    iso.write(str(path))
    iso.close()
