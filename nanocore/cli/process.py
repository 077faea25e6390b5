"""The process around a node: its limits, its event loop, systemd, and the way out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable

import structlog

OPEN_FILES = 1_048_576
STOP_SECONDS = 5.0
"""After this long a stopping kernel ends itself, whatever a plugin is doing."""
LOOKS = 4
"""How often the loop is asked for a sign of life within the limit: what blocks it for 1.25 limits is always seen."""
SHOWN_FRAMES = 8


def raise_limits() -> None:
    """Allow as many open files as the system lets us: every connected node takes one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory where it is installed, else ``None`` for asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def notify(state: str) -> None:
    """Tell systemd, if it listens (``sd_notify``)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect("\0" + address[1:] if address.startswith("@") else address)
        sender.sendall(state.encode())


class Backstop:
    """Ends the process when stopping takes too long, even if a plugin holds the event loop."""

    def __init__(self, log: structlog.stdlib.BoundLogger) -> None:
        self._log = log
        self._timer: threading.Timer | None = None

    def begin(self) -> None:
        """Start counting; more than once is fine."""
        if self._timer is None:
            self._timer = threading.Timer(STOP_SECONDS, self._end_process)
            self._timer.daemon = True
            self._timer.start()

    def end(self, code: int) -> None:
        """Everything has stopped; what is left of the event loop gets one more second, then it ends with ``code``."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(1.0, os._exit, (code,))
        self._timer.daemon = True
        self._timer.start()

    def _end_process(self) -> None:
        self._log.error("did not stop in time; ending the process", limit_seconds=STOP_SECONDS)
        os._exit(1)


class LoopWatch:
    """Names the code that blocks the event loop: nothing else on the node moves meanwhile.

    A thread asks the loop for a sign of life; ``start`` is called on the loop's own thread.
    """

    def __init__(self, log: structlog.stdlib.BoundLogger, *, limit_seconds: float) -> None:
        self._log = log
        self._limit = limit_seconds
        self._has_turned = threading.Event()
        self._is_over = threading.Event()
        self._loop_thread = 0

    def start(self) -> None:
        """Begin to watch the running loop."""
        self._loop_thread = threading.get_ident()
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._watch, args=(loop,), name="nano-loop-watch", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._is_over.set()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        clock = time.pthread_getcpuclockid(self._loop_thread)
        while not self._is_over.wait(self._limit / LOOKS):
            self._has_turned.clear()
            begun, used = time.monotonic(), time.clock_gettime(clock)
            try:
                loop.call_soon_threadsafe(self._has_turned.set)
            except RuntimeError:
                return
            if not self._has_turned.wait(self._limit) and not self._is_over.is_set():
                where = self._look()
                # One that never lets go must be named too.
                self._has_turned.wait(2 * self._limit)
                self._report(time.monotonic() - begun, time.clock_gettime(clock) - used, where)
                self._has_turned.wait()

    def _look(self) -> list[traceback.FrameSummary]:
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001  the only way to see another thread's stack
        return [] if frame is None else list(traceback.extract_stack(frame))

    def _report(self, seconds: float, cpu_seconds: float, stack: list[traceback.FrameSummary]) -> None:
        """Say how long it was, and how much of that the loop computed: little where processors are short."""
        if not stack:
            return
        culprit = next((item for item in reversed(stack) if "/nanocore/" not in item.filename), stack[-1])
        self._log.error(
            "the event loop was blocked; nothing else on this node moved",
            seconds=round(seconds, 3),
            cpu_seconds=round(cpu_seconds, 3),
            at=f"{culprit.filename}:{culprit.lineno} {culprit.name}",
            stack=[f"{item.filename}:{item.lineno} {item.name}" for item in stack[-SHOWN_FRAMES:]],
        )
