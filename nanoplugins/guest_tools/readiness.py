"""From what a guest prints of its boot to whether it is ready, and which stage failed. Pure; trusts nothing.

The guest's words are those of ``probe.sh``: sections that begin with ``== name``. cloud-init's ``status.json`` and
``result.json`` have the same shape since its version 0.7 (``doc/rtd/explanation/return_codes.rst`` upstream).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nanocore.capabilities.guest import Stage, StageState
from nanocore.model.instance import Readiness

DATASOURCE, NETWORK, USER_DATA, CONFIG, FINAL, USER_SCRIPT = (
    "datasource",
    "network",
    "user-data",
    "config",
    "modules-final",
    "user-script",
)
NO_DATASOURCE = "DataSourceNone"
"""What cloud-init falls back to when it finds nothing."""
MAX_TEXT_BYTES = 64 * 1024
MAX_ERRORS = 20
MAX_ERROR_LENGTH = 400
MAX_MOMENT = 1e11

_KEYS = {"init-local": DATASOURCE, "init": NETWORK, "modules-config": CONFIG, "modules-final": FINAL}
"""cloud-init's names of the stages, in their order."""
_SCRIPT_MODULES = frozenset({"scripts_user", "scripts-user"})
_USER_DATA_WARNINGS = (
    "Failed loading yaml blob",
    "Failed at merging in cloud config",
    "Unhandled non-multipart",
    "Unhandled unknown content-type",
    "Failed parsing user-data",
    "Failed to render",
    "Unable to render",
    "Unable to process",
    "Failed to process",
    "include",
    "Invalid user-data",
)
_CONFIG_WARNINGS = ("Could not find module named",)
_LOG_LINE = re.compile(r"^.{0,80}? - (?P<file>[a-z_]{1,60})\.py\[[A-Z]+\]: (?P<text>.*)$")
_MODULE = re.compile(r"^\('?(?P<module>[a-z_-]{1,60})'?, ?(?P<error>.*)\)$")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\u00a0-\ud7ff\ue000-\ufffd]")


@dataclass
class Probe:
    """What the guest printed, taken apart."""

    has_cloud_init: bool = False
    is_disabled: bool = False
    status: Mapping[str, Any] = field(default_factory=dict)
    is_over: bool = False
    """Whether cloud-init says that it has ended."""
    log: list[str] = field(default_factory=list)
    bad_shells: list[str] = field(default_factory=list)
    memory_bytes: int | None = None
    memory_available_bytes: int | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether it is ready, and what the stages of the first boot came to."""

    ready: Readiness
    stages: list[Stage] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def parse(text: str) -> Probe:
    """Take apart what ``probe.sh`` printed; what makes no sense is left out."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text[:MAX_TEXT_BYTES].splitlines():
        if line.startswith("== "):
            lines = sections.setdefault(line[3:40], [])
        else:
            lines.append(line)
    cloud_init = sections.get("cloud-init", [])
    memory = dict(line.split(":", 1) for line in sections.get("memory", []) if ":" in line)
    return Probe(
        has_cloud_init="present" in cloud_init,
        is_disabled="disabled" in cloud_init,
        status=_v1(sections.get("status", [])),
        is_over=bool(_v1(sections.get("result", []))),
        log=[clean(line) for line in sections.get("warnings", [])[:MAX_ERRORS]],
        bad_shells=[clean(line) for line in sections.get("shells", [])[:MAX_ERRORS] if line.strip()],
        memory_bytes=_kib(memory.get("MemTotal")),
        memory_available_bytes=_kib(memory.get("MemAvailable")),
    )


def clean(text: str, length: int = MAX_ERROR_LENGTH) -> str:
    """Return a guest's words as one short line of printable characters."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text.strip())[:length]


def judge(probe: Probe, *, has_seed: bool, seconds: float, patience_seconds: float) -> Verdict:
    """Return the verdict on a guest that has run for ``seconds`` and printed ``probe``.

    A stage that goes on for longer than ``patience_seconds`` is no failure yet, but said.
    """
    if not probe.has_cloud_init or probe.is_disabled:
        what = "cloud-init is switched off in it" if probe.has_cloud_init else "it has no cloud-init"
        if has_seed:
            reason = f"the first-boot settings were not applied: {what}"
            return Verdict(Readiness(is_ready=False, reason=reason, stage=DATASOURCE))
        return Verdict(Readiness(is_ready=True, reason=f"the guest answers; {what}"))
    stages, warnings = _stages(probe, has_seed=has_seed)
    failed = next((stage for stage in stages if stage.state is StageState.FAILED), None)
    if failed is not None:
        reason = f"{failed.name} failed: {failed.errors[0]}"
        if len(failed.errors) > 1:
            reason += f" (and {len(failed.errors) - 1} more)"
        return Verdict(Readiness(is_ready=False, reason=reason, stage=failed.name), stages, warnings)
    if probe.is_over:
        return Verdict(Readiness(is_ready=True), stages, warnings)
    now = next((stage for stage in stages if stage.state is StageState.RUNNING), None)
    name = DATASOURCE if now is None else now.name
    reason = f"the first boot is at stage {name}"
    if seconds > patience_seconds:
        reason = f"stage {name} has not ended {seconds:.0f} s after the start; see the serial console"
    return Verdict(Readiness(is_ready=False, reason=reason, stage=name), stages, warnings)


def silent(*, has_seed: bool, seconds: float, patience_seconds: float) -> Verdict:
    """Return the verdict on a guest from which nothing was heard."""
    if not has_seed:
        return Verdict(
            Readiness(reason="nobody can tell: no agent answers in the guest, and it has no first-boot settings")
        )
    if seconds <= patience_seconds:
        return Verdict(Readiness(is_ready=False, reason="nothing was heard from the guest yet", stage=DATASOURCE))
    reason = (
        f"nothing was heard from the guest {seconds:.0f} s after its start: it does not boot, or its image has neither "
        "cloud-init nor an agent; see the serial console"
    )
    return Verdict(Readiness(reason=reason, stage=DATASOURCE))


def _stages(probe: Probe, *, has_seed: bool) -> tuple[list[Stage], list[str]]:
    found: dict[str, Stage] = {}
    script_errors: list[str] = []
    for key, name in _KEYS.items():
        entry = probe.status.get(key)
        entry = entry if isinstance(entry, dict) else {}
        errors = []
        for error in _texts(entry.get("errors")):
            parts = _MODULE.match(error)
            if parts is not None and parts["module"] in _SCRIPT_MODULES:
                script_errors.append(parts["error"])
            else:
                errors.append(error if parts is None else f"{parts['module']}: {parts['error']}")
        found[name] = _stage(name, entry, errors)
    user_data, config, warnings = _sort_log(probe)
    if has_seed and str(probe.status.get("datasource"))[:60].startswith(NO_DATASOURCE):
        found[DATASOURCE] = _failed(found[DATASOURCE], ["the first-boot settings were not found by cloud-init"])
    if config:
        found[CONFIG] = _failed(found[CONFIG], config)
    if probe.bad_shells:
        shells = [f"user {line.replace(' ', ': its shell ', 1)} can't be run" for line in probe.bad_shells]
        found[NETWORK] = _failed(found[NETWORK], shells)
    parsed = Stage(name=USER_DATA, state=found[NETWORK].state if not user_data else StageState.FAILED, errors=user_data)
    if parsed.state is StageState.FAILED and not user_data:
        parsed = Stage(name=USER_DATA, state=StageState.DONE)
    script = Stage(
        name=USER_SCRIPT, state=StageState.FAILED if script_errors else found[FINAL].state, errors=script_errors
    )
    if script.state is StageState.FAILED and not script_errors:
        script = Stage(name=USER_SCRIPT, state=StageState.DONE)
    order = [found[DATASOURCE], parsed, found[NETWORK], found[CONFIG], found[FINAL], script]
    return order, warnings


def _stage(name: str, entry: Mapping[str, Any], errors: list[str]) -> Stage:
    start, finished = _moment(entry.get("start")), _moment(entry.get("finished"))
    state = StageState.WAITING
    if start is not None:
        state = StageState.RUNNING if finished is None else StageState.DONE
    if errors:
        state = StageState.FAILED
    seconds = None if start is None or finished is None else round(finished - start, 2)
    return Stage(name=name, state=state, errors=errors[:MAX_ERRORS], seconds=seconds)


def _moment(value: object) -> float | None:
    """Return seconds since 1970, ``None`` for what is no time that a clock shows."""
    return float(value) if isinstance(value, int | float) and 0 <= value < MAX_MOMENT else None


def _failed(stage: Stage, errors: list[str]) -> Stage:
    return Stage(name=stage.name, state=StageState.FAILED, errors=[*stage.errors, *errors], seconds=stage.seconds)


def _sort_log(probe: Probe) -> tuple[list[str], list[str], list[str]]:
    """Return what is about user-data, what is about modules that are not there, and the rest."""
    user_data, config, rest = [], [], []
    for line in probe.log:
        found = _LOG_LINE.match(line)
        text = line if found is None else found["text"]
        if any(word in text for word in _CONFIG_WARNINGS):
            config.append(text)
        elif any(word in text for word in _USER_DATA_WARNINGS):
            user_data.append(text)
        else:
            rest.append(text)
    return user_data, config, rest


def _v1(lines: Sequence[str]) -> Mapping[str, Any]:
    try:
        value = json.loads("\n".join(lines))
    except (ValueError, RecursionError):
        return {}
    inner = value.get("v1") if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _texts(value: object) -> list[str]:
    # Texts only: the text of a list in lists in lists takes a recursion of its own.
    return [clean(item) for item in value[:MAX_ERRORS] if isinstance(item, str)] if isinstance(value, list) else []


def _kib(text: str | None) -> int | None:
    found = re.fullmatch(r"\s*(\d{1,12}) kB\s*", text or "")
    return None if found is None else int(found[1]) * 1024
