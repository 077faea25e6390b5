"""Whether ``nano-kernel`` and its API answer, also just after a crash, which leaves the word of the one before."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path

from nanocore.client import Client
from nanocore.errors import ErrorCode, NanoError
from nanoplugins.quickstart.layout import Layout
from nanoplugins.quickstart.supervision import Supervision

READY_SECONDS = 90.0
ANSWER_SECONDS = 15.0
PROGRAM_MARKS = (b"nano-kernel", b"nanocore")


def is_ready(layout: Layout) -> bool:
    """Return whether the kernel says that it is ready, and lives: one that was killed leaves its word behind."""
    try:
        pid = int(json.loads(layout.ready.read_text(encoding="utf-8"))["pid"])
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return any(mark in command for mark in PROGRAM_MARKS)


def wait_until_ready(layout: Layout, keeper: Supervision, seconds: float = READY_SECONDS) -> None:
    """Return when the kernel is ready; raise ``unavailable`` with its last words."""
    deadline = time.monotonic() + seconds
    while not is_ready(layout):
        if not keeper.is_running() or time.monotonic() > deadline:
            raise NanoError(
                ErrorCode.UNAVAILABLE,
                f"nano-kernel did not become ready; its last words:\n{keeper.last_words()}\n"
                "mend what they name and run ./quickstart again",
            )
        time.sleep(0.1)


def wait_for_answer(client: Client) -> None:
    """Return when the API answers: the kernel may be on its way back from a crash. Raises ``unavailable``."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            client.get("/system")
        except NanoError as error:
            if error.code is not ErrorCode.UNAVAILABLE or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def will_answer(layout: Layout, keeper: Supervision) -> bool:
    """Return whether an API for root is to be expected here; waits for a kernel that is on its way back."""
    if not keeper.is_running():
        return False
    with suppress(NanoError):
        wait_until_ready(layout, keeper, ANSWER_SECONDS)
    return layout.socket.exists()
