"""Samples the zone, and lets what was remembered outlive a restart of the core."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from nanocore.capabilities.compute import GetZoneUsage
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import NanoError
from nanocore.wire import decode, encode
from nanoplugins.metrics.recorder import Recorder
from nanoplugins.metrics.rings import SavedHistory

SAMPLE_SECONDS = 2.0
SAVE_SECONDS = 600.0
"""What a core that is killed may lose of its history."""
FILE = "histories"
MAX_FILE_BYTES = 1 << 30
AT_ONCE = 20
"""Histories packed before the loop may turn: some 60 kB each."""
_LENGTH = 4


class Keeper:
    """The service ``metrics``."""

    name = "metrics"
    after: tuple[str, ...] = ("compute",)

    def __init__(self, context: PluginContext, recorder: Recorder) -> None:
        self._context = context
        self._recorder = recorder
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take over what the last run kept, and begin to sample."""
        for number, one in enumerate(await asyncio.to_thread(_read, self._path)):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            # What can't be read is history that is lost, and nothing else.
            with contextlib.suppress(NanoError):
                self._recorder.load(decode(one, SavedHistory))
        self._tasks = [
            asyncio.create_task(self._sample_forever(), name="metrics.sample"),
            asyncio.create_task(self._save_forever(), name="metrics.save"),
        ]

    async def stop(self) -> None:
        """Keep what is remembered."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._tasks:
            self._tasks = []
            await self.save()

    async def save(self) -> None:
        """Write everything in one file, which replaces the one before only when it is whole."""
        packed: list[bytes] = []
        for one in self._recorder.saved():
            packed.append(encode(one))
            if len(packed) % AT_ONCE == 0:
                await asyncio.sleep(0)
        await asyncio.to_thread(_write, self._path, packed)

    @property
    def _path(self) -> Path:
        return self._context.paths.state / FILE

    async def _sample_forever(self) -> None:
        while True:
            try:
                self._recorder.take_zone(await self._context.call(GetZoneUsage()))
            except NanoError as error:
                # The owner is still starting: a slot without a sample says so.
                self._context.log.debug("metrics.no_sample", error=str(error))
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _save_forever(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            try:
                await self.save()
            except OSError as error:
                self._context.log.warning("metrics.not_saved", error=str(error))


def _write(path: Path, packed: Sequence[bytes]) -> None:
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        for one in packed:
            file.write(len(one).to_bytes(_LENGTH))
            file.write(one)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _read(path: Path) -> list[bytes]:
    """Return what ``_write`` wrote; a torn or missing file is as good as its whole parts."""
    if not path.exists() or path.stat().st_size > MAX_FILE_BYTES:
        return []
    data = path.read_bytes()
    found, at = [], 0
    while at + _LENGTH <= len(data):
        size = int.from_bytes(data[at : at + _LENGTH])
        one = data[at + _LENGTH : at + _LENGTH + size]
        if len(one) != size:
            break
        found.append(one)
        at += _LENGTH + size
    return found
