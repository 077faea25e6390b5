"""What the command line prints."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanocore.cli.output import Column, field, format_bytes, format_seconds, print_item, print_items, print_value, size

ITEMS = [
    {"name": "web", "memory_bytes": 512 * 1024**2, "tags": ["a", "b"], "state": {"observed": "running"}},
    {"name": "evil\x1b[2J\n", "memory_bytes": 0, "tags": [], "state": {"observed": None}},
]
COLUMNS = [
    Column("NAME", field("name")),
    Column("STATE", field("state.observed")),
    Column("MEMORY", size("memory_bytes")),
]


def test_tables_align_and_never_obey_foreign_names(capsys: pytest.CaptureFixture[str]) -> None:
    print_items(ITEMS, COLUMNS, "table")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "MEMORY"]
    assert lines[1].index("running") == lines[0].index("STATE")
    assert "\x1b" not in "".join(lines)
    assert len(lines) == 3


def test_json_is_the_apis(capsys: pytest.CaptureFixture[str]) -> None:
    print_items(ITEMS, COLUMNS, "json")
    assert json.loads(capsys.readouterr().out) == ITEMS


def test_names_and_csv(capsys: pytest.CaptureFixture[str]) -> None:
    print_items(ITEMS[:1], COLUMNS, "name")
    print_items(ITEMS[:1], COLUMNS, "csv")
    assert capsys.readouterr().out.splitlines() == ["web", "name,state,memory", "web,running,512 MiB"]


def test_an_item_shows_its_fields_without_empty_ones(capsys: pytest.CaptureFixture[str]) -> None:
    item = {
        "name": "web",
        "note": None,
        "nics": [{"mac": "52:54"}],
        "allowed_actions": [{"name": "stop", "allowed": True}, {"name": "start", "allowed": False}],
    }
    print_item(item, "table")
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:])
    assert rows == {"name": "web", "nics[0].mac": "52:54", "allowed_actions": "stop"}


def test_yaml_nests(capsys: pytest.CaptureFixture[str]) -> None:
    print_value({"a": [{"b": 1, "c": [2]}], "d": {}}, "yaml")
    assert capsys.readouterr().out == "a:\n  - b: 1\n    c:\n      - 2\nd: {}\n"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (5 * 1024**4, "5.0 TiB")]
)
def test_sizes_are_in_iec_units(count: int, text: str) -> None:
    assert format_bytes(count) == text


@given(st.floats(0, 10**9))
def test_ages_are_one_number_and_a_unit(seconds: float) -> None:
    text = format_seconds(seconds)
    assert text[-1] in "smhd"
    assert int(text[:-1]) >= 0
