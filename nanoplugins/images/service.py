"""Starts and stops both sides of the plugin."""

from __future__ import annotations

import asyncio

from nanoplugins.images.cache import CellCache
from nanoplugins.images.folders import ImageFolders
from nanoplugins.images.intake import Intake
from nanoplugins.images.library import ImageLibrary
from nanoplugins.images.uses import ImageUses


class ImagesService:
    """Runs before whoever asks for images: ``agent`` and ``compute`` name it in ``after``."""

    name = "images"
    after: tuple[str, ...] = ()

    def __init__(
        self, folders: ImageFolders, core: tuple[ImageLibrary, Intake, ImageUses] | None, cache: CellCache | None
    ) -> None:
        self._folders = folders
        self._core = core
        self._cache = cache

    async def start(self) -> None:
        """Make folders; on a core load the records and carry on what a stop interrupted."""
        if self._cache is not None:
            await asyncio.to_thread(self._folders.prepare_cell)
        if self._core is not None:
            library, intake, _ = self._core
            await asyncio.to_thread(self._folders.prepare_core)
            await intake.recover(await library.load())

    async def stop(self) -> None:
        """End inspections and fetches."""
        if self._cache is not None:
            await self._cache.stop()
        if self._core is not None:
            _, intake, uses = self._core
            await uses.stop()
            await intake.stop()
