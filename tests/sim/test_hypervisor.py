"""The simulated hypervisor keeps every promise, and outlives a killed node."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nanocore.capabilities.hypervisor import DiskSpec, GuestSpec, HypervisorDriver, Observed
from nanocore.clock import SystemClock
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, StepKey, VolumeId, new_id
from nanocore.model.instance import MIB, ObservedState
from nanocore.testing.hardware_suite import HardwareSuite
from nanocore.testing.hypervisor_suite import refused
from nanoplugins.sim.config import SimConfig
from nanoplugins.sim.hypervisor import SimHypervisor


def make_spec(**changes: object) -> GuestSpec:
    values: dict[str, object] = {
        "id": InstanceId(new_id()),
        "name": "web-1",
        "vcpus": 2,
        "memory_bytes": 64 * MIB,
        "disks": [],
        "nics": [],
        "step_key": StepKey("operation/define"),
    }
    return GuestSpec(**(values | changes))  # type: ignore[arg-type]


class TestSimHypervisor(HardwareSuite):
    has_agent = True
    lets_go = True

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.file = tmp_path / "guests.jsonl"

    def make_driver(self) -> HypervisorDriver:
        return SimHypervisor(SimConfig(shut_down_seconds=0.01), clock=SystemClock(), guest_file=self.file)

    def make_disk(self) -> DiskSpec:
        return DiskSpec(volume_id=VolumeId(new_id()), path="sim:///volumes/x", format="qcow2", is_boot=True)

    def make_volume(self) -> DiskSpec:
        return DiskSpec(volume_id=VolumeId(new_id()), path="sim:///volumes/y", format="qcow2")

    def make_media(self) -> str:
        return "/nowhere/system.iso"

    def make_bridge(self) -> str:
        return "nano0"

    async def make_foreign(self, driver: HypervisorDriver) -> InstanceId:
        assert isinstance(driver, SimHypervisor)
        spec = make_spec()
        driver.add_foreign(spec)
        return spec.id


def open_driver(file: Path | None = None, config: SimConfig | None = None) -> SimHypervisor:
    return SimHypervisor(config or SimConfig(), clock=SystemClock(), guest_file=file)


def ignore(_observed: Observed) -> None:
    pass


def test_what_was_acknowledged_survives_a_kill_in_the_middle_of_a_write(tmp_path: Path) -> None:
    async def main() -> None:
        file = tmp_path / "guests.jsonl"
        driver = open_driver(file)
        await driver.open(ignore)
        kept, gone = make_spec(), make_spec()
        for spec in (kept, gone):
            await driver.define(spec)
            await driver.start(spec.id)
        await driver.delete(gone.id)
        # No close: the file is as a killed process leaves it, with half a line at the end.
        with file.open("ab") as tail:
            tail.write(b'{"id":"half a li')
        seen: list[Observed] = []
        again = open_driver(file)
        await again.open(seen.append)
        assert [(guest.id, guest.state) for guest in await again.list()] == [(kept.id, ObservedState.RUNNING)]
        assert [guest.id for guest in seen] == [kept.id]
        await driver.close()
        await again.close()

    asyncio.run(main())


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        file = tmp_path / "guests.jsonl"
        file.write_bytes(b"nonsense\n")
        error = await refused(ErrorCode.UNAVAILABLE, open_driver(file).open(ignore))
        assert str(file) in error.message

    asyncio.run(main())


def test_the_file_stays_small_however_often_guests_change(tmp_path: Path) -> None:
    async def main() -> None:
        file = tmp_path / "guests.jsonl"
        driver = open_driver(file)
        await driver.open(ignore)
        spec = make_spec()
        await driver.define(spec)
        for _ in range(2000):
            await driver.start(spec.id)
            await driver.power_off(spec.id)
        assert len(file.read_bytes().splitlines()) < 1100
        await driver.close()

    asyncio.run(main())


def test_faults_come_as_they_were_set() -> None:
    async def main() -> None:
        driver = open_driver(config=SimConfig(shut_down_seconds=0))
        await driver.open(ignore)
        spec = make_spec()
        driver.faults.errors["define"] = [NanoError(ErrorCode.NO_CAPACITY, "set by the test")]
        await refused(ErrorCode.NO_CAPACITY, driver.define(spec))
        await driver.define(spec)
        driver.faults.stuck.add(spec.id)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(driver.start(spec.id), 0.05)
        driver.faults.stuck.clear()
        await driver.start(spec.id)
        driver.faults.deaf.add(spec.id)
        await driver.shut_down(spec.id)
        await asyncio.sleep(0)
        assert (await driver.get(spec.id)).state is ObservedState.RUNNING
        driver.crash(spec.id)
        assert (await driver.get(spec.id)).state is ObservedState.CRASHED
        await driver.start(spec.id)
        driver.faults.is_unreachable = True
        await refused(ErrorCode.UNAVAILABLE, driver.list())
        await driver.close()

    asyncio.run(main())


def test_ten_thousand_guests_are_cheap(tmp_path: Path) -> None:
    async def main() -> None:
        driver = open_driver(tmp_path / "guests.jsonl")
        await driver.open(ignore)
        ids = []
        for _ in range(10_000):
            spec = make_spec()
            ids.append(spec.id)
            await driver.define(spec)
            await driver.start(spec.id)
        assert len(await driver.list()) == 10_000
        assert len(await driver.usage(ids)) == 10_000
        await driver.close()

    asyncio.run(main())
