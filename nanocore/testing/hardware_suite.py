"""What every hypervisor driver must do with a guest's hardware: ``HardwareSuite``, on top of ``HypervisorSuite``.

Each call is asked of a stopped guest, of a running one, and twice. What a driver's ``info`` says it can't do for a
running guest must be refused with ``unsupported``, naming the ability; a stopped guest's definition can always change.
"""

# ruff: noqa: S101  a suite is made of assertions

from __future__ import annotations

from nanocore.capabilities.hypervisor import (
    NO_AGENT,
    CopyState,
    DiskCopy,
    DiskSpec,
    GuestSpec,
    HypervisorDriver,
    MediaSpec,
    NicSpec,
)
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, SnapshotId, VolumeId, new_id
from nanocore.model.instance import GIB, MIB, Firmware, ObservedState, Qos
from nanocore.testing.hypervisor_suite import RUNNING, STOPPED, Bench, HypervisorSuite, refused, until, until_async
from nanocore.wire import structs

SUSPENDED = ObservedState.SUSPENDED
DISK_BYTES = 4 * MIB


class HardwareSuite(HypervisorSuite):
    """The tests. Override ``make_volume`` and ``make_media`` too, and ``make_bridge`` where cards need a real one."""

    has_agent = False
    """Whether an agent answers in the suite's guests."""
    lets_go = False
    """Whether the suite's guests let go of devices."""

    def make_volume(self) -> DiskSpec:
        """Return an empty qcow2 disk of ``DISK_BYTES`` that exists and nothing boots from."""
        raise NotImplementedError

    def make_media(self) -> str:
        """Return the path of something that can be inserted into a drive."""
        raise NotImplementedError

    def make_bridge(self) -> str:
        """Return the name of a bridge."""
        raise NotImplementedError

    def make_nic(self) -> NicSpec:
        """Return a new network card."""
        id = new_id()
        mac = "52:54:00:" + ":".join(id[at : at + 2] for at in (0, 2, 4))
        return NicSpec(id=id, mac=mac, bridge=self.make_bridge())

    async def defined(self, bench: Bench, spec: GuestSpec) -> InstanceId:
        """Define a guest."""
        await bench.driver.define(spec)
        return spec.id

    # -- definitions

    def test_a_guest_with_everything_is_told_as_it_was_defined(self) -> None:
        """Several disks, cards, drives and limits."""

        async def test(bench: Bench) -> None:
            data, nic = self.make_volume(), self.make_nic()
            media = [MediaSpec(slot=0, path=self.make_media()), MediaSpec(slot=1)]
            qos = Qos(cpu_weight=200, disk_iops=500, disk_bytes_per_second=10 * MIB, network_bytes_per_second=MIB)
            base = self.spec(bench)
            spec = structs.replace(base, disks=[*base.disks, data], nics=[nic], media=media, qos=qos)
            await bench.driver.define(spec)
            seen = await bench.driver.get(spec.id)
            assert seen.disks == [disk.volume_id for disk in spec.disks]
            assert (seen.nics, seen.media, seen.firmware, seen.has_tpm) == ([nic.id], media, Firmware.BIOS, False)
            assert_limits(bench.driver, seen.qos, seen.limits_unsupported, qos)

        self.run(test)

    def test_firmware_and_tpm_are_as_wanted_or_refused(self) -> None:
        """A cell without UEFI or a TPM emulator says which it lacks."""

        async def test(bench: Bench) -> None:
            info = bench.driver.info
            uefi = structs.replace(self.spec(bench), firmware=Firmware.UEFI)
            if info.has_uefi:
                await bench.driver.define(uefi)
                assert (await bench.driver.get(uefi.id)).firmware is Firmware.UEFI
            else:
                await lacks("has_uefi", bench.driver.define(uefi))
            tpm = structs.replace(self.spec(bench), has_tpm=True)
            if info.has_tpm:
                await bench.driver.define(tpm)
                assert (await bench.driver.get(tpm.id)).has_tpm
            else:
                await lacks("has_tpm", bench.driver.define(tpm))

        self.run(test)

    # -- suspend

    def test_a_suspended_guest_goes_on_when_it_is_restored(self) -> None:
        """Twice is fine, and it is told."""

        async def test(bench: Bench) -> None:
            driver, id = bench.driver, await self.running(bench)
            for _ in range(2):
                await driver.suspend(id)
                assert (await driver.get(id)).state is SUSPENDED
                assert [guest.state for guest in await driver.list() if guest.id == id] == [SUSPENDED]
            await until(lambda: bench.states(id)[-1] is SUSPENDED, "it was never reported")
            for _ in range(2):
                await driver.restore(id)
                assert (await driver.get(id)).state is RUNNING
            await until(lambda: bench.states(id)[-1] is RUNNING, "it was never reported")
            assert PAUSED_OR_STOPPED.isdisjoint(bench.states(id)[2:])

        self.run(test)

    def test_a_suspended_guest_is_restored_or_powered_off_nothing_else(self) -> None:
        """Its power can be cut: it is stopped then and starts anew."""

        async def test(bench: Bench) -> None:
            driver, id = bench.driver, await self.running(bench)
            await driver.suspend(id)
            for action in (driver.start, driver.pause, driver.resume, driver.reboot, driver.reset):
                await refused(ErrorCode.WRONG_STATE, action(id))
            # Its memory knows the devices that it had.
            disk, nic = self.make_volume(), self.make_nic()
            before = await driver.get(id)
            for call in (
                driver.attach_disk(id, disk),
                driver.detach_disk(id, before.disks[0]),
                driver.attach_nic(id, nic),
                driver.detach_nic(id, nic.id),
                driver.set_media(id, 0, None),
                driver.snapshot_disks(id, SnapshotId(new_id())) if driver.info.can_snapshot_live else driver.resume(id),
            ):
                await refused(ErrorCode.WRONG_STATE, call)
            assert await driver.get(id) == before
            await driver.power_off(id)
            assert (await driver.get(id)).state is STOPPED
            for action in (driver.suspend, driver.restore):
                await refused(ErrorCode.WRONG_STATE, action(id))
            await driver.start(id)
            assert (await driver.get(id)).state is RUNNING
            await driver.suspend(id)
            await driver.delete(id)
            await refused(ErrorCode.NOT_FOUND, driver.get(id))

        self.run(test)

    # -- disks and cards

    def test_disks_of_a_stopped_guest_come_and_go(self) -> None:
        """Twice is fine."""

        async def test(bench: Bench) -> None:
            spec, data = self.spec(bench), self.make_volume()
            driver, id = bench.driver, await self.defined(bench, spec)
            boot = spec.disks[0].volume_id
            for _ in range(2):
                await driver.attach_disk(id, data)
                assert (await driver.get(id)).disks == [boot, data.volume_id]
            for _ in range(2):
                await driver.detach_disk(id, data.volume_id)
                assert (await driver.get(id)).disks == [boot]

        self.run(test)

    def test_a_disk_is_attached_to_a_running_guest_and_stays(self) -> None:
        """Also after the next start, and it is told."""

        async def test(bench: Bench) -> None:
            driver, id, data = bench.driver, await self.running(bench), self.make_volume()
            if not driver.info.can_hotplug_disks:
                await lacks("can_hotplug_disks", driver.attach_disk(id, data))
                return
            for _ in range(2):
                await driver.attach_disk(id, data)
                assert (await driver.get(id)).disks[1:] == [data.volume_id]
            await until(lambda: bench.seen[-1].disks[1:] == [data.volume_id], "it was never reported")
            await driver.power_off(id)
            assert (await driver.get(id)).disks[1:] == [data.volume_id]
            await driver.start(id)
            assert (await driver.get(id)).disks[1:] == [data.volume_id]

        self.run(test)

    def test_a_running_guest_lets_go_of_a_disk_or_the_deadline_passes(self) -> None:
        """It is out of the definition in both cases, and gone when the guest stopped."""

        async def test(bench: Bench) -> None:
            driver, id, data = bench.driver, await self.running(bench), self.make_volume()
            if not driver.info.can_hotplug_disks:
                await lacks("can_hotplug_disks", driver.detach_disk(id, data.volume_id))
                return
            await driver.detach_disk(id, data.volume_id)
            await driver.attach_disk(id, data)
            if self.lets_go:
                await driver.detach_disk(id, data.volume_id)
            else:
                call = driver.detach_disk(id, data.volume_id, timeout_seconds=1)
                await refused(ErrorCode.DEADLINE_EXCEEDED, call)
                assert data.volume_id in (await driver.get(id)).disks
                await driver.power_off(id)
            assert data.volume_id not in (await driver.get(id)).disks

        self.run(test)

    def test_network_cards_come_and_go(self) -> None:
        """Stopped and running."""

        async def test(bench: Bench) -> None:
            spec, first, second = self.spec(bench), self.make_nic(), self.make_nic()
            driver, id = bench.driver, await self.defined(bench, spec)
            for _ in range(2):
                await driver.attach_nic(id, first)
                assert (await driver.get(id)).nics == [first.id]
            await driver.attach_nic(id, second)
            for _ in range(2):
                await driver.detach_nic(id, first.id)
                assert (await driver.get(id)).nics == [second.id]
            await driver.start(id)
            if not driver.info.can_hotplug_nics:
                await lacks("can_hotplug_nics", driver.attach_nic(id, first))
                await lacks("can_hotplug_nics", driver.detach_nic(id, second.id))
                return
            await driver.attach_nic(id, first)
            assert (await driver.get(id)).nics == [second.id, first.id]
            if self.lets_go:
                await driver.detach_nic(id, first.id)
            else:
                await refused(ErrorCode.DEADLINE_EXCEEDED, driver.detach_nic(id, first.id, timeout_seconds=1))
                await driver.power_off(id)
            assert (await driver.get(id)).nics == [second.id]

        self.run(test)

    def test_a_disk_that_no_hypervisor_opens_is_not_attached(self) -> None:
        """Nothing changes."""

        async def test(bench: Bench) -> None:
            spec = self.spec(bench)
            driver, id = bench.driver, await self.defined(bench, spec)
            bad = DiskSpec(volume_id=VolumeId(new_id()), path="/tmp/x", format="vmdk")  # noqa: S108  never opened
            await refused(ErrorCode.UNSUPPORTED, driver.attach_disk(id, bad))
            assert (await driver.get(id)).disks == [spec.disks[0].volume_id]

        self.run(test)

    # -- media

    def test_media_are_inserted_and_ejected(self) -> None:
        """Stopped and running; an unknown drive is named."""

        async def test(bench: Bench) -> None:
            spec = structs.replace(self.spec(bench), media=[MediaSpec(slot=0), MediaSpec(slot=1)])
            driver, id, iso = bench.driver, await self.defined(bench, spec), self.make_media()
            await refused(ErrorCode.NOT_FOUND, driver.set_media(id, 7, iso))

            async def turn() -> None:
                for path in (iso, iso, None, None, iso):
                    await driver.set_media(id, 1, path)
                    expected = [MediaSpec(slot=0), MediaSpec(slot=1, path=path)]
                    assert (await driver.get(id)).media == expected
                await driver.set_media(id, 1, None, is_forced=True)

            await turn()
            await driver.start(id)
            if not driver.info.can_change_media:
                await lacks("can_change_media", driver.set_media(id, 1, iso))
                return
            await turn()
            await driver.set_media(id, 0, iso)
            await driver.power_off(id)
            assert (await driver.get(id)).media[0].path == iso

        self.run(test)

    # -- sizes and limits

    def test_a_stopped_guest_takes_every_size(self) -> None:
        """And runs with it."""

        async def test(bench: Bench) -> None:
            spec = self.spec(bench)
            driver, id = bench.driver, await self.defined(bench, spec)
            for _ in range(2):
                seen = await driver.resize(id, vcpus=2, memory_bytes=2 * spec.memory_bytes)
                assert (seen.vcpus, seen.memory_bytes) == (2, 2 * spec.memory_bytes)
            await driver.start(id)
            seen = await driver.get(id)
            assert (seen.vcpus, seen.memory_bytes) == (2, 2 * spec.memory_bytes)

        self.run(test)

    def test_a_running_guest_tells_what_is_in_force(self) -> None:
        """Whatever it does not take is there after its next start."""

        async def test(bench: Bench) -> None:
            spec = self.spec(bench)
            driver, id = bench.driver, await self.defined(bench, spec)
            await driver.start(id)
            for _ in range(2):
                seen = await driver.resize(id, vcpus=2, memory_bytes=4 * spec.memory_bytes)
                assert seen == await driver.get(id)
                assert seen.vcpus == (2 if driver.info.can_resize_live else 1)
                assert seen.memory_bytes == spec.memory_bytes
            await driver.power_off(id)
            seen = await driver.get(id)
            assert (seen.vcpus, seen.memory_bytes) == (2, 4 * spec.memory_bytes)

        self.run(test)

    def test_a_disk_grows_under_a_running_guest(self) -> None:
        """And never shrinks; a stopped guest's disks are the storage driver's."""

        async def test(bench: Bench) -> None:
            spec, data = self.spec(bench), self.make_volume()
            spec = structs.replace(spec, disks=[*spec.disks, data])
            driver, id = bench.driver, await self.defined(bench, spec)
            await refused(ErrorCode.WRONG_STATE, driver.resize_disk(id, data.volume_id, 2 * DISK_BYTES))
            await driver.start(id)
            if not driver.info.can_grow_disks_live:
                await lacks("can_grow_disks_live", driver.resize_disk(id, data.volume_id, 2 * DISK_BYTES))
                return
            for _ in range(2):
                await driver.resize_disk(id, data.volume_id, 2 * DISK_BYTES)
            await refused(ErrorCode.NOT_FOUND, driver.resize_disk(id, VolumeId(new_id()), GIB))
            await self.check_grown(bench, id, data)

        self.run(test)

    async def check_grown(self, bench: Bench, id: InstanceId, data: DiskSpec) -> None:
        """Check what the driver's disks can show of ``test_a_disk_grows_under_a_running_guest``."""

    def test_limits_change_while_it_runs(self) -> None:
        """What can't be in force is named and nothing fails."""

        async def test(bench: Bench) -> None:
            nic = self.make_nic()
            spec = structs.replace(self.spec(bench), nics=[nic])
            driver, id = bench.driver, await self.defined(bench, spec)
            everything = Qos(cpu_weight=50, disk_iops=100, disk_bytes_per_second=MIB, network_bytes_per_second=MIB)
            await driver.start(id)
            for qos in (everything, everything, Qos(disk_iops=200), Qos()):
                seen = await driver.set_qos(id, qos)
                assert seen == await driver.get(id)
                if driver.info.can_change_limits_live:
                    assert_limits(driver, seen.qos, seen.limits_unsupported, qos)
            await driver.set_qos(id, everything)
            await driver.power_off(id)
            seen = await driver.get(id)
            assert_limits(driver, seen.qos, seen.limits_unsupported, everything)
            # Starts, whatever this machine lacks.
            await driver.start(id)
            seen = await driver.get(id)
            assert seen.state is RUNNING
            assert_limits(driver, seen.qos, seen.limits_unsupported, everything)

        self.run(test)

    # -- snapshots and copies

    def test_snapshots_of_a_running_guest_come_and_go(self) -> None:
        """Twice is fine; a stopped guest's disks are the storage driver's."""

        async def test(bench: Bench) -> None:
            spec = structs.replace(self.spec(bench), disks=[self.make_volume(), self.make_volume()])
            driver, id = bench.driver, await self.defined(bench, spec)
            first, second = SnapshotId(new_id()), SnapshotId(new_id())
            if not driver.info.can_snapshot_live:
                await lacks("can_snapshot_live", driver.snapshot_disks(id, first))
                await lacks("can_snapshot_live", driver.delete_snapshot(id, first))
                return
            await refused(ErrorCode.WRONG_STATE, driver.snapshot_disks(id, first))
            await refused(ErrorCode.WRONG_STATE, driver.delete_snapshot(id, first))
            await driver.start(id)
            for snapshot in (first, first, second):
                await driver.snapshot_disks(id, snapshot)
            await driver.pause(id)
            for snapshot in (first, first, SnapshotId(new_id())):
                await driver.delete_snapshot(id, snapshot)
            await driver.power_off(id)
            await self.check_snapshots(spec, [second])

        self.run(test)

    async def check_snapshots(self, spec: GuestSpec, snapshots: list[SnapshotId]) -> None:
        """Check that the disks of a stopped guest have these snapshots, where the driver's disks can show it."""

    def test_disks_of_a_running_guest_are_copied(self) -> None:
        """With progress; the guest runs on."""

        async def test(bench: Bench) -> None:
            data, target = self.make_volume(), self.make_volume()
            spec = self.spec(bench)
            spec = structs.replace(spec, disks=[*spec.disks, data])
            driver, id = bench.driver, await self.defined(bench, spec)
            copies = [DiskCopy(volume_id=data.volume_id, target=target)]
            assert (await driver.get_copy(id)).state is CopyState.NONE
            await driver.cancel_copy(id)
            if not driver.info.can_copy_live:
                await lacks("can_copy_live", driver.start_copy(id, copies))
                return
            await refused(ErrorCode.WRONG_STATE, driver.start_copy(id, copies))
            await driver.start(id)
            unknown = DiskCopy(volume_id=VolumeId(new_id()), target=target)
            await refused(ErrorCode.NOT_FOUND, driver.start_copy(id, [unknown]))
            await driver.start_copy(id, copies)

            async def is_done() -> bool:
                progress = await driver.get_copy(id)
                assert progress.state in {CopyState.RUNNING, CopyState.DONE}
                assert progress.copied_bytes <= progress.total_bytes
                return progress.state is CopyState.DONE

            await until_async(is_done, "the copy never ended")
            await driver.cancel_copy(id)
            assert (await driver.get(id)).state is RUNNING

        self.run(test)

    # -- the agent in the guest

    def test_the_agent_answers_or_is_missed(self) -> None:
        """And what it does not know is refused."""

        async def test(bench: Bench) -> None:
            driver, id = bench.driver, await self.running(bench)
            if not driver.info.has_agent_channel:
                await lacks("has_agent_channel", driver.agent_command(id, "guest-ping"))
                await lacks("has_agent_channel", driver.freeze(id))
                await lacks("has_agent_channel", driver.thaw(id))
                return
            if not self.has_agent:
                for call in (driver.agent_command(id, "guest-ping"), driver.freeze(id), driver.thaw(id)):
                    error = await refused(ErrorCode.UNAVAILABLE, call)
                    assert error.reason == NO_AGENT
                return
            assert await driver.agent_command(id, "guest-ping") == {}
            await refused(ErrorCode.UNSUPPORTED, driver.agent_command(id, "guest-no-such-command"))
            for _ in range(2):
                await driver.freeze(id)
                assert await driver.agent_command(id, "guest-fsfreeze-status") == "frozen"
            for _ in range(2):
                await driver.thaw(id)
                assert await driver.agent_command(id, "guest-fsfreeze-status") == "thawed"
            await driver.freeze(id, timeout_seconds=0.1)

            async def is_thawed() -> bool:
                return await driver.agent_command(id, "guest-fsfreeze-status") == "thawed"

            await until_async(is_thawed, "it stayed frozen after the deadline")
            await driver.power_off(id)
            await refused(ErrorCode.WRONG_STATE, driver.agent_command(id, "guest-ping"))

        self.run(test)

    def test_nothing_changes_what_others_made_or_what_is_not_there(self) -> None:
        """Every call looks first."""

        async def test(bench: Bench) -> None:
            driver = bench.driver
            foreign = await self.make_foreign(driver)
            before = await driver.get(foreign)
            for id, code in ((foreign, ErrorCode.WRONG_STATE), (InstanceId(new_id()), ErrorCode.NOT_FOUND)):
                disk, nic = self.make_volume(), self.make_nic()
                calls = [
                    driver.suspend(id),
                    driver.restore(id),
                    driver.attach_disk(id, disk),
                    driver.detach_disk(id, disk.volume_id),
                    driver.attach_nic(id, nic),
                    driver.detach_nic(id, nic.id),
                    driver.set_media(id, 0, None),
                    driver.resize(id, vcpus=1, memory_bytes=GIB),
                    driver.resize_disk(id, disk.volume_id, GIB),
                    driver.set_qos(id, Qos()),
                    driver.snapshot_disks(id, SnapshotId(new_id())),
                    driver.delete_snapshot(id, SnapshotId(new_id())),
                    driver.start_copy(id, []),
                    driver.get_copy(id),
                    driver.cancel_copy(id),
                    driver.agent_command(id, "guest-ping"),
                    driver.freeze(id),
                    driver.thaw(id),
                ]
                for call in calls:
                    await refused(code, call)
            assert await driver.get(foreign) == before

        self.run(test)


PAUSED_OR_STOPPED = frozenset({ObservedState.PAUSED, STOPPED})


async def lacks(ability: str, call: object) -> None:
    """Assert that a call is refused, naming the ability."""
    error: NanoError = await refused(ErrorCode.UNSUPPORTED, call)  # type: ignore[arg-type]
    assert ability in error.message
    assert error.reason == f"hypervisor.{ability}"


def assert_limits(driver: HypervisorDriver, in_force: Qos, unsupported: list[str], wanted: Qos) -> None:
    """Assert that each limit is in force or named as impossible, and those that ``info`` names are."""
    for name in Qos.__struct_fields__:
        value = getattr(wanted, name)
        if name in driver.info.limits_unsupported and value is not None:
            assert name in unsupported
        assert getattr(in_force, name) == (None if name in unsupported else value)
        assert value is not None or name not in unsupported
