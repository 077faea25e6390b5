"""The files of guests' first-boot settings on a cell, found again after a restart by their names.

A seed holds a password's hash and whatever a user put into user-data: the files are 0600, of root and, while a guest
runs, of the user whom libvirt runs QEMU as. The folders let that user pass and list nothing (0711).
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from nanocore.capabilities.guest import DeleteSeed, EnsureSeed, FindSeed, ListSeeds, SeedList, SeedPaths
from nanocore.contracts.handler import CORE_ONLY, Call, Handler
from nanocore.contracts.plugin import PluginContext
from nanocore.failpoints import fail_point
from nanocore.ids import InstanceId, parse_id
from nanoplugins.guest_tools import iso
from nanoplugins.guest_tools.seed import seed_files

FOLDER_MODE = 0o711
MAX_SOCKET_PATH = 107
"""Linux' limit of a UNIX socket's path."""
SIGNAL_NAME_LENGTH = 12
PARTIAL = ".partial"


class Seeds:
    """Makes, finds and removes them."""

    def __init__(self, context: PluginContext) -> None:
        self._context = context

    def handlers(self) -> list[Handler]:
        """Return what the core and this cell itself ask."""
        return [
            Handler(EnsureSeed, self._ensure, CORE_ONLY),
            Handler(DeleteSeed, self._delete, CORE_ONLY),
            Handler(FindSeed, self._find, frozenset()),
            Handler(ListSeeds, self._list, frozenset()),
        ]

    def has(self, id: InstanceId) -> bool:
        """Return whether a guest has first-boot settings here."""
        return self._file(id).exists()

    def signal_path(self, id: InstanceId) -> Path | None:
        """Return the socket by which a guest with first-boot settings tells how its boot goes."""
        path = self._context.paths.run / id.replace("-", "")[:SIGNAL_NAME_LENGTH]
        return path if len(str(path)) <= MAX_SOCKET_PATH and self.has(id) else None

    async def _ensure(self, message: EnsureSeed, _call: Call) -> None:
        parse_id(message.id)
        fail_point(f"cell/{message.op}/received")
        await asyncio.to_thread(self._write, message)
        fail_point(f"cell/{message.op}/done")

    async def _delete(self, message: DeleteSeed, _call: Call) -> None:
        parse_id(message.id)
        fail_point(f"cell/{message.op}/received")
        self._file(message.id).unlink(missing_ok=True)
        self._file(message.id).with_suffix(PARTIAL).unlink(missing_ok=True)
        (self._context.paths.run / message.id.replace("-", "")[:SIGNAL_NAME_LENGTH]).unlink(missing_ok=True)
        fail_point(f"cell/{message.op}/done")

    async def _find(self, message: FindSeed, _call: Call) -> SeedPaths:
        if not self.has(message.id):
            return SeedPaths()
        signal = self.signal_path(message.id)
        return SeedPaths(seed_path=str(self._file(message.id)), signal_path=None if signal is None else str(signal))

    async def _list(self, _message: ListSeeds, _call: Call) -> SeedList:
        # One that a kill left half-written counts: whoever lists them for what is to be deleted must learn of it.
        files = [file for kind in ("*.iso", f"*{PARTIAL}") for file in self._folder().glob(kind)]
        return SeedList(ids=[InstanceId(id) for id in sorted({file.stem for file in files})])

    def _write(self, message: EnsureSeed) -> None:
        content = iso.build(seed_files(message))
        folder = self._folder()
        folder.mkdir(exist_ok=True)
        for each in (self._context.paths.state, self._context.paths.run, folder):
            each.chmod(FOLDER_MODE)
        partial = self._file(message.id).with_suffix(PARTIAL)
        partial.unlink(missing_ok=True)
        # Made narrow from the first moment, and renamed when whole: a running guest keeps the file that it has.
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._file(message.id))

    def _folder(self) -> Path:
        return self._context.paths.state / "seeds"

    def _file(self, id: InstanceId) -> Path:
        return self._folder() / f"{parse_id(id)}.iso"
