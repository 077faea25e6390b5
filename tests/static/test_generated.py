"""What is generated is what the code says now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.static.generator import ROOT, generator

pytestmark = pytest.mark.static

REMEDY = "run: .venv/bin/python docs/reference/generate.py"


GENERATED = (
    "etc/nano.toml",
    "docs/reference/configuration.md",
    "docs/reference/hooks.md",
    "docs/reference/error-codes.md",
    "docs/reference/cli.md",
    "docs/reference/plugins.md",
    "docs/reference/rest-routes.md",
)


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_file_is_current(name: str) -> None:
    assert (ROOT / name).read_text() == generator().FILES[name](), REMEDY


def test_every_generated_file_is_tested() -> None:
    assert set(generator().FILES) == {*GENERATED, "tests/static/fingerprints.json"}


def test_every_setting_says_what_it_does() -> None:
    for section, kind in generator().all_sections():
        for field in kind.__dataclass_fields__.values():
            assert len(field.metadata.get("doc", "")) > 8, f"[{section}] {field.name}"


def test_the_glossary_has_the_words_of_the_design() -> None:
    text = Path(ROOT / "docs/reference/glossary.md").read_text()
    for word in ("node", "peer", "zone", "instance", "compute pool", "disk image", "volume", "operation", "cell"):
        assert word in text


def test_fingerprints_of_message_types() -> None:
    """A changed message breaks nodes of another release: add fields with defaults only, or make a new op."""
    recorded = json.loads((ROOT / "tests/static/fingerprints.json").read_text())
    now = json.loads(generator().fingerprints())
    changed = sorted(op for op in set(recorded) | set(now) if recorded.get(op) != now.get(op))
    assert changed == [], f"if each of these is meant and compatible, {REMEDY}"
