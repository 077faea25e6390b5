"""From a guest's printout to a verdict; strangers' words never do harm."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanocore.capabilities.guest import StageState
from nanocore.wire import encode_json
from nanoplugins.guest_tools.agent import addresses_of
from nanoplugins.guest_tools.readiness import MAX_ERROR_LENGTH, Probe, Verdict, judge, parse, silent
from nanoplugins.guest_tools.signal import listen

DONE = {"errors": [], "start": 100.0, "finished": 101.5}
KEYS = ("init-local", "init", "modules-config", "modules-final")


def printout(
    stages: dict[str, Any] | None = None,
    *,
    is_over: bool = True,
    warnings: str = "",
    shells: str = "",
    presence: str = "present",
) -> str:
    v1 = dict.fromkeys(KEYS, DONE) | {"datasource": "DataSourceNoCloud [seed=/dev/vdb]"} | (stages or {})
    result = json.dumps({"v1": {"datasource": "DataSourceNoCloud", "errors": []}}) if is_over else ""
    return (
        f"== cloud-init\n{presence}\n== status\n{json.dumps({'v1': v1})}\n== result\n{result}\n"
        f"== warnings\n{warnings}\n"
        f"== shells\n{shells}\n== memory\nMemTotal: 1000 kB\nMemAvailable: 400 kB\n== end\n"
    )


def warned(text: str) -> str:
    return printout(warnings=text, shells=text)


def verdict(text: str, *, has_seed: bool = True, seconds: float = 5) -> Verdict:
    return judge(parse(text), has_seed=has_seed, seconds=seconds, patience_seconds=60)


def test_a_boot_that_went_well_is_ready() -> None:
    found = verdict(printout())
    assert found.ready.is_ready
    assert {stage.state for stage in found.stages} == {StageState.DONE}
    assert found.stages[0].seconds == 1.5
    assert parse(printout()).memory_bytes == 1000 * 1024


@pytest.mark.parametrize(
    ("text", "stage", "word"),
    [
        (printout({"init": DONE | {"errors": ["('write_files', OSError('no'))"]}}), "network", "write_files: OSError"),
        (printout({"modules-config": DONE | {"errors": ["('timezone', IOError('Moon'))"]}}), "config", "Moon"),
        (
            printout({"modules-final": DONE | {"errors": ["('package-update-upgrade-install', E('x'))"]}}),
            "modules-final",
            "package-update-upgrade-install",
        ),
        (
            printout({"modules-final": DONE | {"errors": ["('scripts_user', R('1 failures'))"]}}),
            "user-script",
            "1 fail",
        ),
        (printout({"datasource": "DataSourceNone"}), "datasource", "not found"),
        (printout(warnings="2026 - util.py[WARNING]: Failed loading yaml blob. x"), "user-data", "yaml blob"),
        (
            printout(
                warnings="2026 - __init__.py[WARNING]: Unhandled non-multipart (text/x-not-multipart) userdata: b'x'"
            ),
            "user-data",
            "non-multipart",
        ),
        (printout(warnings="a - modules.py[WARNING]: Could not find module named cc_x"), "config", "cc_x"),
        (printout(shells="bob /bin/nonesuch"), "network", "user bob: its shell /bin/nonesuch can't be run"),
        (printout(presence="absent"), "datasource", "no cloud-init"),
        (printout(presence="present\ndisabled"), "datasource", "switched off"),
    ],
)
def test_the_failing_stage_is_named(text: str, stage: str, word: str) -> None:
    found = verdict(text)
    assert found.ready.is_ready is False
    assert found.ready.stage == stage
    assert word in (found.ready.reason or "")


def test_other_warnings_are_shown_beside_a_ready_guest() -> None:
    found = verdict(printout(warnings="x - cc_a.py[WARNING]: something is odd"))
    assert found.ready.is_ready
    assert found.warnings == ["something is odd"]


def test_a_boot_that_goes_on_names_its_stage_and_says_when_it_takes_long() -> None:
    text = printout({"modules-final": {"errors": [], "start": 1.0, "finished": None}}, is_over=False)
    found = verdict(text)
    assert (found.ready.is_ready, found.ready.stage) == (False, "modules-final")
    assert "has not ended 61 s after" in (verdict(text, seconds=61).ready.reason or "")
    assert found.stages[4].state is StageState.RUNNING


def test_nobody_can_tell_without_a_word() -> None:
    def said(*, has_seed: bool, seconds: float) -> Verdict:
        return silent(has_seed=has_seed, seconds=seconds, patience_seconds=60)

    assert said(has_seed=False, seconds=5).ready.is_ready is None
    assert said(has_seed=True, seconds=5).ready.is_ready is False
    late = said(has_seed=True, seconds=99)
    assert late.ready.is_ready is None
    assert "nothing was heard" in (late.ready.reason or "")


def test_a_guest_without_cloud_init_and_without_settings_is_ready_when_it_answers() -> None:
    assert verdict(printout(presence="absent"), has_seed=False).ready.is_ready


@given(st.text() | st.text().map(lambda text: printout() + text) | st.text(alphabet="={}[]\"'\n v1:0").map(warned))
def test_no_printout_breaks_the_judge(text: str) -> None:
    found = verdict(text)
    assert len(found.ready.reason or "") < 4 * MAX_ERROR_LENGTH


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["v1", *KEYS, "errors", "start", "finished", "ip-addresses", "ip-address", "name"]),
                inner,
            )
        ),
        max_leaves=20,
    )
)
def test_no_json_of_a_guest_breaks_anything(value: Any) -> None:
    text = f"== cloud-init\npresent\n== status\n{json.dumps({'v1': value})}\n== result\n{json.dumps(value)}\n== end\n"
    found = verdict(text)
    assert encode_json(found.ready)
    assert encode_json(found.stages)
    assert len(addresses_of(value)) <= 32


def test_addresses_are_those_that_reach_the_guest() -> None:
    interfaces = [
        {"name": "lo", "ip-addresses": [{"ip-address": "127.0.0.1"}]},
        {
            "name": "eth0",
            "ip-addresses": [
                {"ip-address": each}
                for each in ("10.0.0.5", "fe80::1%eth0", "fd00::5%\x1b[31m", "<script>", 7, "10.0.0.5")
            ],
        },
        "nonsense",
        {"name": "docker0", "ip-addresses": [{"ip-address": f"10.1.{n}.1"} for n in range(200)]},
    ]
    found = addresses_of(interfaces)
    assert found[:2] == ["10.0.0.5", "fd00::5"]
    assert len(found) == 32


def test_reports_in_a_flood_are_not_all_read(tmp_path: Path) -> None:
    """A guest can write far faster than anybody could take its words apart."""
    flood = printout(presence="disabled") * 100 + printout()

    async def run() -> list[Probe]:
        found: list[Probe] = []
        last = asyncio.Event()

        async def write(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(flood.encode())
            await writer.drain()
            await last.wait()
            writer.close()

        def heard(probe: Probe) -> None:
            found.append(probe)
            if probe.has_cloud_init:
                last.set()

        async with await asyncio.start_unix_server(write, str(tmp_path / "port")):
            listener = asyncio.create_task(listen(tmp_path / "port", heard))
            async with asyncio.timeout(60):
                await last.wait()
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)
        return found

    found = asyncio.run(run())
    assert found[-1].is_over
    assert len(found) <= 4
