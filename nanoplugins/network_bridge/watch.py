"""Notices at once when a process ends that need not be our child, such as a dnsmasq from before a restart."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable


class ProcessWatch:
    """Calls ``on_end`` on the loop, once, when process ``pid`` has ended; ``cancel`` lets go of it."""

    def __init__(self, pid: int, on_end: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_end = on_end
        self._pidfd: int | None = os.pidfd_open(pid)
        self._loop.add_reader(self._pidfd, self._ended)

    def cancel(self) -> None:
        """Stop watching; safe to call twice."""
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def _ended(self) -> None:
        self.cancel()
        self._on_end()
