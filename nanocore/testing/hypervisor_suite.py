"""What every hypervisor driver must do: derive a test class from ``HypervisorSuite`` and say how to make the driver.

::

    class TestMyDriver(HypervisorSuite):
        def make_driver(self): ...
        def make_disk(self): ...
        async def make_foreign(self, driver): ...

What a driver can't do according to its ``info`` must be refused with ``unsupported``; the suite asks for it.
"""

# ruff: noqa: S101, PLR2004  a suite is made of assertions

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from nanocore.capabilities.hypervisor import Console, ConsoleKind, DiskSpec, GuestSpec, HypervisorDriver, Observed
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, StepKey, VolumeId, new_id
from nanocore.model.instance import MIB, ObservedState
from nanocore.wire import structs

DEADLINE_SECONDS = 30.0
DELETE_SECONDS = 15.0
RUNNING, PAUSED, STOPPED = ObservedState.RUNNING, ObservedState.PAUSED, ObservedState.STOPPED
RFB = b"RFB 003.008\n"


@dataclass
class Bench:
    """An open driver, what it reported, and what is to be deleted at the end."""

    driver: HypervisorDriver
    seen: list[Observed] = field(default_factory=list)
    made: list[InstanceId] = field(default_factory=list)

    def states(self, id: InstanceId) -> list[ObservedState]:
        """Return the states reported of one guest, without immediate repeats."""
        found: list[ObservedState] = []
        for observed in self.seen:
            if observed.id == id and found[-1:] != [observed.state]:
                found.append(observed.state)
        return found

    async def until_state(self, id: InstanceId, state: ObservedState) -> Observed:
        """Wait until ``get`` shows a state."""
        observed = await self.driver.get(id)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while observed.state is not state:
            assert time.monotonic() < deadline, f"{observed} never became {state}"
            await asyncio.sleep(0.02)
            observed = await self.driver.get(id)
        return observed


async def _delete(driver: HypervisorDriver, id: InstanceId) -> None:
    """Delete a guest, also from a hypervisor that the driver is just connecting to again."""
    ends = time.monotonic() + DELETE_SECONDS
    while True:
        try:
            return await driver.delete(id)
        except NanoError as error:
            if error.code is not ErrorCode.UNAVAILABLE or time.monotonic() > ends:
                raise
        await asyncio.sleep(0.05)


class HypervisorSuite:
    """The tests. Override the first three methods."""

    keeps_guests = True
    """Whether guests outlive the driver object (libvirt's test driver forgets them)."""
    memory_bytes = 64 * MIB

    def make_driver(self) -> HypervisorDriver:
        """Return the driver, not opened; called again within a test, it finds the same guests."""
        raise NotImplementedError

    def make_disk(self) -> DiskSpec:
        """Return a boot disk that exists. A driver with consoles: its guest writes to the serial port."""
        raise NotImplementedError

    async def make_foreign(self, driver: HypervisorDriver) -> InstanceId:
        """Let somebody else make a domain, and return its id."""
        raise NotImplementedError

    # -- tools

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Bench]:
        """Open a driver; delete what the test made and close."""
        driver = self.make_driver()
        bench = Bench(driver)
        await driver.open(bench.seen.append)
        try:
            yield bench
        finally:
            for id in bench.made:
                await _delete(driver, id)
            await driver.close()

    def run(self, test: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
        """Run one test body on a loop of its own."""

        async def main() -> None:
            async with self.opened() as bench:
                await test(bench)

        asyncio.run(main())

    def spec(self, bench: Bench, *, name: str = "web") -> GuestSpec:
        """Return a specification of a new guest."""
        id = InstanceId(new_id())
        bench.made.append(id)
        return GuestSpec(
            id=id,
            name=f"{name}-{id[:4]}",
            vcpus=1,
            memory_bytes=self.memory_bytes,
            disks=[self.make_disk()],
            nics=[],
            step_key=StepKey(f"{new_id()}/define"),
        )

    async def running(self, bench: Bench) -> InstanceId:
        """Make and start a guest."""
        spec = self.spec(bench)
        await bench.driver.define(spec)
        await bench.driver.start(spec.id)
        return spec.id

    # -- definitions

    def test_info_is_complete_after_open(self) -> None:
        """Callers branch on it."""

        async def test(bench: Bench) -> None:
            info = bench.driver.info
            assert info.name == bench.driver.name
            assert info.accelerator
            assert info.accelerator == "kvm" or info.accelerator_reason

        self.run(test)

    def test_a_defined_guest_is_stopped_and_carries_its_specification(self) -> None:
        """And nothing else changes."""

        async def test(bench: Bench) -> None:
            spec = self.spec(bench)
            await bench.driver.define(spec)
            expected = Observed(
                id=spec.id,
                name=spec.name,
                state=STOPPED,
                is_managed=True,
                step_key=spec.step_key,
                vcpus=spec.vcpus,
                memory_bytes=spec.memory_bytes,
                disks=[disk.volume_id for disk in spec.disks],
            )
            assert await bench.driver.get(spec.id) == expected
            assert expected in await bench.driver.list()

        self.run(test)

    def test_defining_again_changes_a_guest(self) -> None:
        """One processor becomes two; a new name is no new guest."""

        async def test(bench: Bench) -> None:
            spec = self.spec(bench)
            await bench.driver.define(spec)
            changed = structs.replace(
                spec, vcpus=2, name="renamed", memory_bytes=2 * spec.memory_bytes, step_key=StepKey("second/define")
            )
            await bench.driver.define(changed)
            await bench.driver.define(changed)
            seen = await bench.driver.get(spec.id)
            assert (seen.vcpus, seen.name, seen.memory_bytes) == (2, "renamed", 2 * spec.memory_bytes)
            assert seen.step_key == "second/define"
            assert [guest.id for guest in await bench.driver.list()].count(spec.id) == 1
            await bench.driver.start(spec.id)
            assert (await bench.driver.get(spec.id)).vcpus == 2

        self.run(test)

    def test_a_running_guest_changes_from_its_next_start_on(self) -> None:
        """It never notices before."""

        async def test(bench: Bench) -> None:
            spec = self.spec(bench)
            await bench.driver.define(spec)
            await bench.driver.start(spec.id)
            await bench.driver.define(structs.replace(spec, vcpus=2))
            seen = await bench.driver.get(spec.id)
            assert (seen.state, seen.vcpus) == (RUNNING, 1)
            await bench.driver.power_off(spec.id)
            await bench.driver.start(spec.id)
            assert (await bench.driver.get(spec.id)).vcpus == 2

        self.run(test)

    def test_a_disk_without_a_usable_path_or_format_is_refused(self) -> None:
        """And leaves no guest."""

        async def test(bench: Bench) -> None:
            spec = self.spec(bench)
            disk = DiskSpec(volume_id=VolumeId(new_id()), path="", format="raw")
            await refused(ErrorCode.INVALID_ARGUMENT, bench.driver.define(structs.replace(spec, disks=[disk])))
            disk = DiskSpec(volume_id=VolumeId(new_id()), path="/tmp/x", format="vmdk")  # noqa: S108  never opened
            await refused(ErrorCode.UNSUPPORTED, bench.driver.define(structs.replace(spec, disks=[disk])))
            await refused(ErrorCode.NOT_FOUND, bench.driver.get(spec.id))

        self.run(test)

    def test_names_are_text_whatever_they_contain(self) -> None:
        """No name becomes markup."""

        async def test(bench: Bench) -> None:
            spec = structs.replace(self.spec(bench), name="""a<b>&"c'""")
            await bench.driver.define(spec)
            assert (await bench.driver.get(spec.id)).name == spec.name

        self.run(test)

    # -- power

    def test_start_is_idempotent(self) -> None:
        """Also five at once."""

        async def test(bench: Bench) -> None:
            id = await self.running(bench)
            await bench.driver.start(id)
            await bench.driver.power_off(id)
            await asyncio.gather(*(bench.driver.start(id) for _ in range(5)))
            assert (await bench.driver.get(id)).state is RUNNING

        self.run(test)

    def test_power_off_is_idempotent(self) -> None:
        """A stopped guest has no power to cut."""

        async def test(bench: Bench) -> None:
            id = await self.running(bench)
            await bench.driver.power_off(id)
            assert (await bench.driver.get(id)).state is STOPPED
            await bench.driver.power_off(id)
            assert (await bench.driver.get(id)).state is STOPPED

        self.run(test)

    def test_a_guest_that_is_asked_shuts_down(self) -> None:
        """The power button is pressed until it is heard, as a guest that still boots may miss it."""

        async def test(bench: Bench) -> None:
            id = await self.running(bench)
            deadline = time.monotonic() + DEADLINE_SECONDS
            while (await bench.driver.get(id)).state is not STOPPED:
                assert time.monotonic() < deadline, "it never shut down"
                await bench.driver.shut_down(id)
                await asyncio.sleep(0.1)
            await bench.driver.shut_down(id)

        self.run(test)

    def test_pause_and_resume_are_idempotent(self) -> None:
        """Both work on a guest that is as wanted."""

        async def test(bench: Bench) -> None:
            id = await self.running(bench)
            for _ in range(2):
                await bench.driver.pause(id)
                assert (await bench.driver.get(id)).state is PAUSED
            for _ in range(2):
                await bench.driver.resume(id)
                assert (await bench.driver.get(id)).state is RUNNING

        self.run(test)

    def test_reboot_and_reset_leave_it_running(self) -> None:
        """They are no way to stop a guest."""

        async def test(bench: Bench) -> None:
            id = await self.running(bench)
            await bench.driver.reset(id)
            assert (await bench.driver.get(id)).state is RUNNING
            await bench.driver.reboot(id)
            await bench.until_state(id, RUNNING)

        self.run(test)

    def test_a_state_that_forbids_an_action_is_named(self) -> None:
        """``wrong_state``, and the guest stays as it was."""

        async def test(bench: Bench) -> None:
            driver, spec = bench.driver, self.spec(bench)
            await driver.define(spec)
            for action in (driver.reboot, driver.reset, driver.pause, driver.resume):
                await refused(ErrorCode.WRONG_STATE, action(spec.id))
            await driver.start(spec.id)
            await driver.pause(spec.id)
            for action in (driver.start, driver.shut_down, driver.reboot):
                await refused(ErrorCode.WRONG_STATE, action(spec.id))
            assert (await driver.get(spec.id)).state is PAUSED

        self.run(test)

    def test_an_unknown_guest_is_not_found(self) -> None:
        """Except by ``delete``, which has nothing to do."""

        async def test(bench: Bench) -> None:
            driver, id = bench.driver, InstanceId(new_id())
            for action in _actions(driver):
                await refused(ErrorCode.NOT_FOUND, action(id))
            await refused(ErrorCode.NOT_FOUND, driver.get(id))
            if driver.info.has_screen:
                await refused(ErrorCode.NOT_FOUND, driver.open_console(id, ConsoleKind.SCREEN))
            await driver.delete(id)

        self.run(test)

    def test_delete_cuts_power_and_forgets(self) -> None:
        """Twice is fine."""

        async def test(bench: Bench) -> None:
            id = await self.running(bench)
            await bench.driver.delete(id)
            await bench.driver.delete(id)
            await refused(ErrorCode.NOT_FOUND, bench.driver.get(id))
            assert id not in [guest.id for guest in await bench.driver.list()]

        self.run(test)

    # -- being told, and leaving others alone

    def test_every_change_is_reported_in_order(self) -> None:
        """From the definition to the end."""

        async def test(bench: Bench) -> None:
            driver = bench.driver
            id = await self.running(bench)
            await driver.pause(id)
            await driver.resume(id)
            await driver.power_off(id)
            await driver.delete(id)
            missing = ObservedState.MISSING
            await until(lambda: bench.states(id)[-1:] == [missing], "the end was never reported")
            without_passing = [state for state in bench.states(id) if state is not ObservedState.STOPPING]
            assert without_passing == [STOPPED, RUNNING, PAUSED, RUNNING, STOPPED, missing]

        self.run(test)

    def test_what_others_made_is_listed_and_left_alone(self) -> None:
        """No call changes it, not even ``delete``."""

        async def test(bench: Bench) -> None:
            driver = bench.driver
            id = await self.make_foreign(driver)
            before = await driver.get(id)
            assert not before.is_managed
            assert before in await driver.list()
            for action in (*_actions(driver), driver.delete):
                error = await refused(ErrorCode.WRONG_STATE, action(id))
                assert error.reason == "hypervisor.not_managed"
            spec = structs.replace(self.spec(bench), id=id)
            await refused(ErrorCode.WRONG_STATE, driver.define(spec))
            assert await driver.get(id) == before

        self.run(test)

    def test_guests_are_found_again(self) -> None:
        """Closing the driver never touches a guest; the next one reports it."""

        async def main() -> None:
            bench = Bench(self.make_driver())
            await bench.driver.open(bench.seen.append)
            id = await self.running(bench)
            before = await bench.driver.get(id)
            await bench.driver.close()
            async with self.opened() as again:
                again.made.append(id)
                is_there = before in await again.driver.list()
                assert is_there == (before in again.seen) == self.keeps_guests

        asyncio.run(main())

    # -- measurements and consoles

    def test_use_is_told_of_running_guests_only(self) -> None:
        """Or refused, where the driver has no statistics."""

        async def test(bench: Bench) -> None:
            driver, stopped = bench.driver, self.spec(bench)
            await driver.define(stopped)
            id = await self.running(bench)
            if not driver.info.has_statistics:
                await refused(ErrorCode.UNSUPPORTED, driver.usage([id]))
                return
            ids = [id, stopped.id, InstanceId(new_id())]
            await driver.usage(ids)
            usage = await driver.usage(ids)
            assert list(usage) == [id]
            assert 0 <= usage[id].cpu_percent <= 100
            assert usage[id].memory_bytes > 0
            assert usage[id].at is not None
            assert await driver.usage([]) == {}

        self.run(test)

    def test_the_cell_has_a_size(self) -> None:
        """And does not use more than it has."""

        async def test(bench: Bench) -> None:
            await bench.driver.host_usage()
            usage = await bench.driver.host_usage()
            assert usage.cores >= 1
            assert 0 <= usage.cpu_percent <= 100
            assert 0 <= usage.memory_used_bytes <= usage.memory_bytes

        self.run(test)

    def test_a_screen_speaks_rfb(self) -> None:
        """To any number of viewers, without a password, and shows more than one colour."""

        async def test(bench: Bench) -> None:
            id = await self.running(bench)
            if not bench.driver.info.has_screen:
                await refused(ErrorCode.UNSUPPORTED, bench.driver.open_console(id, ConsoleKind.SCREEN))
                return
            await until_async(lambda: _has_picture(bench.driver, id), "the screen stayed blank")
            first = await bench.driver.open_console(id, ConsoleKind.SCREEN)
            second = await bench.driver.open_console(id, ConsoleKind.SCREEN)
            assert await _Exact(first).read(len(RFB)) == await _Exact(second).read(len(RFB)) == RFB
            await first.close()
            await first.close()
            await bench.driver.power_off(id)
            await end_of(second)
            await second.close()
            await refused(ErrorCode.WRONG_STATE, bench.driver.open_console(id, ConsoleKind.SCREEN))

        self.run(test)

    def test_a_serial_port_carries_bytes_both_ways(self) -> None:
        """To its newest user only."""

        async def test(bench: Bench) -> None:
            id = await self.running(bench)
            if not bench.driver.info.has_serial:
                await refused(ErrorCode.UNSUPPORTED, bench.driver.open_console(id, ConsoleKind.SERIAL))
                return
            first = await bench.driver.open_console(id, ConsoleKind.SERIAL)
            assert await read_some(first)
            second = await bench.driver.open_console(id, ConsoleKind.SERIAL)
            await end_of(first)
            await second.write(b"@")
            await until_async(lambda: _received(second, b"@"), "what was typed never came back")
            await bench.driver.power_off(id)
            await end_of(second)
            await first.close()
            await second.close()
            await second.close()

        self.run(test)


def _actions(driver: HypervisorDriver) -> list[Callable[[InstanceId], Awaitable[None]]]:
    return [
        driver.start,
        driver.shut_down,
        driver.power_off,
        driver.reboot,
        driver.reset,
        driver.pause,
        driver.resume,
    ]


async def refused(code: ErrorCode, call: Awaitable[object]) -> NanoError:
    """Assert that ``call`` raises ``code``, and return the error."""
    with pytest.raises(NanoError) as caught:
        await call
    assert caught.value.code is code, str(caught.value)
    return caught.value


async def until(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait for a condition, or fail with ``otherwise``."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, otherwise
        await asyncio.sleep(0.01)


async def until_async(condition: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    """Wait for a condition that has to ask, or fail with ``otherwise``."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not await condition():
        assert time.monotonic() < deadline, otherwise
        await asyncio.sleep(0.05)


async def read_some(console: Console) -> bytes:
    """Return the next bytes, within the deadline."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        return await console.read()


async def end_of(console: Console) -> None:
    """Read until the end, within the deadline."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while await console.read():
            pass


async def _received(console: Console, wanted: bytes) -> bool:
    return wanted in await read_some(console)


async def _has_picture(driver: HypervisorDriver, id: InstanceId) -> bool:
    """Fetch the picture as a viewer does (RFC 6143); whether what came has more than one colour."""
    console = await driver.open_console(id, ConsoleKind.SCREEN)
    try:
        exact = _Exact(console)
        await exact.read(len(RFB))
        await console.write(RFB)
        await exact.read(int.from_bytes(await exact.read(1), "big"))
        await console.write(b"\x01")
        await exact.read(4)
        await console.write(b"\x01")
        head = await exact.read(24)
        await exact.read(int.from_bytes(head[20:], "big"))
        await console.write(b"\x03\x00" + bytes(4) + head[:4])
        rectangles = int.from_bytes((await exact.read(4))[2:], "big")
        pixels = b""
        for _ in range(rectangles):
            place = await exact.read(12)
            pixels += await exact.read(int.from_bytes(place[4:6], "big") * int.from_bytes(place[6:8], "big") * 4)
        return len({pixels[at : at + 4] for at in range(0, len(pixels), 4)}) > 1
    finally:
        await console.close()


class _Exact:
    """Reads of exact lengths from a console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._waiting = b""

    async def read(self, length: int) -> bytes:
        while len(self._waiting) < length:
            chunk = await read_some(self._console)
            assert chunk, f"the console ended after {self._waiting[:80]!r}"
            self._waiting += chunk
        taken, self._waiting = self._waiting[:length], self._waiting[length:]
        return taken
