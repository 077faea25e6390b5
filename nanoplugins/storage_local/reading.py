"""Reads the file of a volume that nobody uses, to send it elsewhere."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from nanoplugins.storage_local import moving


class FileReader:
    """Implements ``VolumeReader``. Opening blocks; raises ``wrong_state`` while QEMU has the file open."""

    def __init__(self, path: Path) -> None:
        moving.check_unused(path)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self.size_bytes = os.fstat(self._descriptor).st_size
        self._offset = 0

    async def read(self, length: int) -> bytes:
        """Return the next bytes."""
        wanted = min(length, self.size_bytes - self._offset)
        data = await asyncio.to_thread(os.pread, self._descriptor, wanted, self._offset)
        self._offset += len(data)
        return data

    async def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
