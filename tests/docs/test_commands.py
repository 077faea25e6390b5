"""Commands that the prose mentions exist, with the options that it gives them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from nanocore.cli.kernel import main as nano_kernel
from nanocore.cli.nano import nano
from tests.docs.blocks import pages

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*pages(ROOT), *sorted((ROOT / "nanoplugins").glob("*/README.md"))]
MENTION = re.compile(r"`((?:nano|nano-kernel) [^`]+)`")


def fault(mention: str) -> str | None:
    """Return what is wrong with a command that is mentioned, or ``None``."""
    words = shlex.split(mention.replace("…", ""))
    command: click.Command = nano_kernel if words[0] == "nano-kernel" else nano
    path, known = words[0], options(command)
    for word in words[1:]:
        if word.startswith("-"):
            if word.split("=")[0] not in known | {"--help"}:
                return f"{path} has no option {word}"
        elif isinstance(command, click.Group) and re.fullmatch(r"[a-z][a-z-]*", word) and word not in FORMATS:
            child = command.get_command(click.Context(command), word)
            if child is None:
                return f"{path} has no command {word}"
            command, path = child, f"{path} {word}"
            known |= options(command)
    return None


FORMATS = {"json", "yaml", "table", "csv", "name"}


def options(command: click.Command) -> set[str]:
    return {name for option in command.params for name in (*option.opts, *option.secondary_opts)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_mentioned_commands_exist(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert [found for mention in MENTION.findall(text) if (found := fault(mention))] == []


def test_the_check_can_fail() -> None:
    assert fault("nano instance frobnicate")
    assert fault("nano instance create x --colour red")
    assert fault("nano-kernel --strict")
    assert not fault("nano -o json instance list --sort name")
    assert not fault("nano demo-image FILE")
