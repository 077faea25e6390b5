"""The keeper, with a shell script in the place of the kernel."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nanoplugins.quickstart.layout import Layout
from nanoplugins.quickstart.supervision import Keeper, unit_text


@dataclass(frozen=True, slots=True)
class FakeKernel(Layout):
    """A layout whose ``nano-kernel`` is a script of the test's."""

    script: Path = Path("/nonexistent")

    def program(self, name: str) -> Path:
        assert name == "nano-kernel"
        return self.script


def until(is_true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@pytest.fixture
def starts(tmp_path: Path) -> Iterator[Callable[[str], Keeper]]:
    keepers: list[Keeper] = []

    def make(script: str) -> Keeper:
        path = tmp_path / "kernel"
        path.write_text(f"#!/bin/sh\necho $$ >> {tmp_path}/pids\n{script}\n")
        path.chmod(0o755)
        keepers.append(Keeper(FakeKernel(tmp_path, path)))
        return keepers[-1]

    yield make
    for keeper in keepers:
        keeper.stop()


def pids(folder: Path) -> list[int]:
    file = folder / "pids"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def test_kernel_is_started_once_and_again_after_a_crash(tmp_path: Path, starts: Callable[[str], Keeper]) -> None:
    keeper = starts("exec sleep 1000")
    assert keeper.start() is True
    assert keeper.start() is False
    assert keeper.is_running()
    until(lambda: len(pids(tmp_path)) == 1, "the kernel did not start")
    os.kill(pids(tmp_path)[0], signal.SIGKILL)
    until(lambda: len(pids(tmp_path)) == 2, "the kernel was not started again")
    keeper.stop()
    assert not keeper.is_running()
    with pytest.raises(ProcessLookupError):
        os.kill(pids(tmp_path)[1], 0)


def test_kernel_gets_the_signal_and_may_finish(tmp_path: Path, starts: Callable[[str], Keeper]) -> None:
    keeper = starts(f"trap 'echo bye > {tmp_path}/end; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    keeper.start()
    until(lambda: "up" in keeper.last_words(), "no word from the kernel")
    keeper.stop()
    assert (tmp_path / "end").read_text() == "bye\n"


def test_configuration_that_can_not_work_is_not_tried_again(tmp_path: Path, starts: Callable[[str], Keeper]) -> None:
    keeper = starts("echo 'nano.toml: kernel.rolls: unknown setting' >&2; exit 2")
    keeper.start()
    until(lambda: not keeper.is_running(), "the keeper goes on")
    assert "kernel.rolls" in keeper.last_words()
    assert len(pids(tmp_path)) == 1


def test_kernel_that_was_told_to_end_stays_down_and_one_that_asks_comes_back(
    tmp_path: Path, starts: Callable[[str], Keeper]
) -> None:
    keeper = starts(f"[ $(wc -l < {tmp_path}/pids) -lt 3 ] && exit 75; exit 0")
    keeper.start()
    until(lambda: not keeper.is_running(), "the keeper goes on")
    assert len(pids(tmp_path)) == 3


def test_pid_of_another_program_is_not_taken_for_the_keeper(tmp_path: Path, starts: Callable[[str], Keeper]) -> None:
    keeper = starts("exit 0")
    file = tmp_path / "var/lib/nano/quickstart/keeper.pid"
    file.parent.mkdir(parents=True)
    file.write_text(str(os.getpid()))
    assert not keeper.is_running()
    keeper.stop()
    assert not file.exists()


def test_unit_lets_guests_outlive_the_kernel() -> None:
    text = unit_text(Layout(Path("/srv/nano")))
    assert "KillMode=process" in text
    assert "nano-kernel --root /srv/nano" in text
    assert "RestartPreventExitStatus=2" in text
    assert Layout(Path("/srv/nano")).unit != Layout(Path("/")).unit == "nano-kernel.service"
