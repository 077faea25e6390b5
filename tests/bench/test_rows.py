"""Each row, at a size that proves nothing but that it runs, yields figures that are complete."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from bench.figure import Figure, compare, of_rounds
from bench.runner import ROWS, print_table

ROOT = Path(__file__).parents[2]
KEYS = {"name", "value", "unit", "limit", "ratio", "goal", "met", "n", "spread"}
PLAIN = ("api", "connections", "lists", "operations", "requests")
ON_LIBVIRT = ("at_rest", "create")


@pytest.mark.parametrize(
    ("goal", "value", "limit", "met"),
    [
        ("<= 1.3", 1.3, 1.0, True),
        ("<= 1.3", 1.4, 1.0, False),
        (">= 0.6", 0.6, 1.0, True),
        (">= 0.6", 0.5, 1.0, False),
        ("<= 0.25 s", 0.2, 0.01, True),
        ("<= 0.25 s", 0.3, 100.0, False),
        ("", 5.0, 1.0, None),
    ],
)
def test_a_goal_is_about_the_ratio_and_with_a_unit_about_the_value(
    goal: str, value: float, limit: float, *, met: bool | None
) -> None:
    assert Figure("one", value, "s", limit, goal).met is met


def test_the_round_with_the_median_ratio_is_shown_with_the_spread_of_all() -> None:
    figure = of_rounds("one", "s", [(10.0, 1.0), (2.0, 1.0), (9.0, 3.0)], goal="<= 2", n=7, why="it is slow")
    assert (figure.value, figure.limit, figure.ratio) == (9.0, 3.0, 3.0)
    assert figure.spread == pytest.approx(8 / 3)
    assert figure.line()["why"] == "it is slow"


def test_a_reason_is_given_only_for_a_missed_goal() -> None:
    async def one() -> float:
        return 1.0

    figure = asyncio.run(compare("one", "s", one, one, goal="<= 2", why="never"))
    assert figure.met
    assert "why" not in figure.line()


def test_the_table_names_every_goal_missed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        Figure("slow", 3.0, "s", 1.0, "<= 2", why="the moon").line(),
        Figure("quick", 1.0, "s", 1.0, "<= 2").line(),
        Figure("told", 1.0, "s", 1.0).line(),
    ]
    print_table(lines)
    shown = capsys.readouterr().out
    assert "1 of 2 goals missed" in shown
    assert "slow (<= 2)\n      the moon\n" in shown
    assert shown.count("MISSED") == 1


def figures_of(row: str) -> list[dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.runner", "--json", "--tiny", row],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "not measured" not in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(row: str) -> None:
    figures = figures_of(row)
    assert figures
    assert len({figure["name"] for figure in figures}) == len(figures)
    for figure in figures:
        assert set(figure) - {"why"} == KEYS
        for number in ("value", "limit", "ratio"):
            assert math.isfinite(cast("float", figure[number]))
        assert cast("float", figure["limit"]) > 0
        assert (figure["met"] is None) == (figure["goal"] == "")


@pytest.mark.process
@pytest.mark.timeout(180)
@pytest.mark.parametrize("row", PLAIN)
def test_a_row_yields_figures(row: str) -> None:
    check(row)


@pytest.mark.system
@pytest.mark.needs("libvirt", "qemu", "root")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("row", ON_LIBVIRT)
def test_a_row_on_libvirt_yields_figures(row: str) -> None:
    check(row)


def test_every_row_is_tested() -> None:
    assert sorted([*PLAIN, *ON_LIBVIRT]) == sorted(path.stem for path in ROWS.glob("*.py") if path.stem != "__init__")


def test_an_unknown_row_is_refused_with_the_known_ones() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.runner", "lots"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "there is no row lots" in done.stderr
    assert "lists" in done.stderr
