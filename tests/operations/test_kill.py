"""``kill -9`` at every fail point of an operation, with a real process and a real store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

GOOD = [
    "begin",
    *(f"{step}/{point}" for step in ("one", "two", "three") for point in ("intended", "done")),
    "end",
]
BAD = [
    "begin",
    *(f"{step}/{point}" for step in ("one", "two") for point in ("intended", "done")),
    "three/intended",
    *(f"{step}/{point}" for step in ("three", "two", "one") for point in ("undoing", "undone")),
    "end",
]
FATES = {"good": GOOD, "bad": BAD}
EVERY = [(fate, point) for fate, points in FATES.items() for point in points]
ROOT = Path(__file__).parents[2]


def run(folder: Path, command: str, fate: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.operations.process", str(folder), command, fate],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def operations(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def check(folder: Path, fate: str, ended: dict[str, Any]) -> None:
    files = {path.name for path in folder.iterdir()} - {"calls", "db", "points"}
    calls = Counter((folder / "calls").read_text().splitlines())
    if fate == "good":
        assert ended["state"] == "succeeded"
        assert files == {"one", "two", "three"}
        assert ended["result"]["outcomes"] == {name: {"made": name} for name in ("one", "two", "three")}
        assert set(calls) == {f"do {name} /{name}" for name in ("one", "two", "three")}
    else:
        assert ended["state"] == "failed"
        assert (ended["error"]["code"], ended["error"]["message"]) == ("no_capacity", "full")
        assert files == set()
    # One act may have been under way and is repeated under its key; no other act happens twice.
    assert sum(count - 1 for count in calls.values()) <= 1


@pytest.mark.process
@pytest.mark.parametrize("fate", FATES)
def test_a_clean_run_reaches_exactly_these_points(tmp_path: Path, fate: str) -> None:
    (ended,) = operations(run(tmp_path, "begin", fate, NANO_FAIL_POINT_LOG=str(tmp_path / "points")))
    points = (tmp_path / "points").read_text().splitlines()
    assert points == [f"toy.make/{point}" for point in FATES[fate]]
    check(tmp_path, fate, ended)


@pytest.mark.process
@pytest.mark.parametrize(("fate", "point"), EVERY)
def test_killed_there_it_is_finished_or_undone_after_the_next_start(tmp_path: Path, fate: str, point: str) -> None:
    killed = run(tmp_path, "begin", fate, NANO_FAIL_POINT=f"toy.make/{point}")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (ended,) = operations(run(tmp_path, "go-on", fate))
    check(tmp_path, fate, ended)


@pytest.mark.process
@pytest.mark.parametrize(("fate", "point"), [("good", "two/done"), ("bad", "two/undoing")])
def test_killed_twice_at_the_same_point(tmp_path: Path, fate: str, point: str) -> None:
    for command in ("begin", "go-on"):
        assert run(tmp_path, command, fate, NANO_FAIL_POINT=f"toy.make/{point}").returncode == -signal.SIGKILL
    (ended,) = operations(run(tmp_path, "go-on", fate))
    assert ended["state"] == ("succeeded" if fate == "good" else "failed")
