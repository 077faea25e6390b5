"""A kernel that was killed leaves its word behind; only one that lives counts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nanoplugins.quickstart.layout import Layout
from nanoplugins.quickstart.readiness import is_ready

NOT_RUNNING = 3


@contextmanager
def process(*words: str) -> Iterator[int]:
    """A process that does nothing, with ``words`` in its command line."""
    code = "import sys; print(flush=True); sys.stdin.read()"
    started = subprocess.Popen([sys.executable, "-c", code, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert started.stdout is not None
    started.stdout.readline()  # a command line can be read only once the program has begun
    try:
        yield started.pid
    finally:
        started.send_signal(signal.SIGKILL)
        started.communicate()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path)
    made.run.mkdir(parents=True)
    return made


def say_ready(layout: Layout, pid: int) -> None:
    layout.ready.write_text(json.dumps({"pid": pid}), encoding="utf-8")


def test_ready_while_the_kernel_lives(layout: Layout) -> None:
    assert not is_ready(layout)
    with process("nano-kernel") as pid:
        say_ready(layout, pid)
        assert is_ready(layout)
    assert not is_ready(layout)


def test_another_process_with_the_same_number_is_no_kernel(layout: Layout) -> None:
    with process("something-else") as pid:
        say_ready(layout, pid)
        assert not is_ready(layout)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"pid": null}', '{"pid": "x"}'])
def test_nonsense_is_not_ready(layout: Layout, text: str) -> None:
    layout.ready.write_text(text, encoding="utf-8")
    assert not is_ready(layout)


def test_scripts_get_an_answer_when_the_api_is_dead(layout: Layout) -> None:
    layout.socket.touch()
    command = [sys.executable, "-m", "nanoplugins.quickstart", "--status", "--json", "--root", str(layout.root)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert shown.returncode == NOT_RUNNING
    assert json.loads(shown.stdout) == {"running": False}
    assert "does not answer" in shown.stderr
