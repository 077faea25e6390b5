"""libvirt's events: the thread that waits for them, shared by every connection of the process.

libvirt has one event implementation a process. Its Python binding's asyncio implementation watches descriptors from
whatever thread makes a call, which neither asyncio's loop nor uvloop allows; so libvirt's own implementation runs here
on a thread, and callbacks hop onto the loop that asked for them.
"""

from __future__ import annotations

import functools
import threading

import libvirt


class EventPump:
    """Runs libvirt's event loop while anybody needs it. Callbacks run on its thread and must not block."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._thread: threading.Thread | None = None
        self._is_registered = False

    def acquire(self) -> None:
        """Start the thread for the first user; must come before that user opens its connection."""
        with self._lock:
            if not self._is_registered:
                # Errors arrive as exceptions; libvirt would also print each on standard error.
                libvirt.registerErrorHandler(lambda _context, _error: None, None)
                libvirt.virEventRegisterDefaultImpl()
                self._is_registered = True
            self._users += 1
            if self._users == 1:
                self._thread = threading.Thread(target=self._run, name="libvirt-events", daemon=True)
                self._thread.start()

    def release(self) -> None:
        """End the thread with its last user; blocks for the moment it needs."""
        with self._lock:
            self._users -= 1
            if self._users or self._thread is None:
                return
            timer = libvirt.virEventAddTimeout(0, lambda _timer, _opaque: None, None)  # wakes the thread
            self._thread.join()
            self._thread = None
            libvirt.virEventRemoveTimeout(timer)

    def _run(self) -> None:
        while self._users:
            libvirt.virEventRunDefaultImpl()


@functools.cache
def shared_pump() -> EventPump:
    """Return the process's pump; one, because libvirt has one event implementation a process."""
    return EventPump()
