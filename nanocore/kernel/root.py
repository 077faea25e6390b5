"""Where a node keeps its files: everything below one root, used by one kernel at a time."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nanocore.errors import ErrorCode, NanoError

MAX_SOCKET_BYTES = 100
"""A UNIX socket's address holds 108 bytes on Linux."""
LONGEST_NAME_BYTES = 56
"""Room below the run folder: plugin's folder, a UUID and a suffix."""
FOLDER_MODE = 0o711
"""Others may pass through (a guest's QEMU runs as its own user), not look around."""
KEYS_MODE = 0o700
ORIGIN = "root"
"""File in a run folder outside of the root; says whose it is."""


@dataclass(frozen=True, slots=True)
class NodeRoot:
    """The folders of a node. ``run`` is the real place even where ``<root>/run/nano`` is a link to it."""

    root: Path
    config: Path
    keys: Path
    state: Path
    run: Path

    @classmethod
    def at(cls, root: Path) -> NodeRoot:
        """Return the layout below ``root``; touches nothing."""
        root = root.absolute()
        return cls(
            root=root,
            config=root / "etc" / "nano",
            keys=root / "etc" / "nano" / "keys",
            state=root / "var" / "lib" / "nano",
            run=_short(root / "run" / "nano", root),
        )

    def prepare(self) -> None:
        """Make the folders; raises ``unavailable`` for one that can't be made or is somebody else's."""
        try:
            for folder in (self.config, self.state, self.run):
                folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
                folder.chmod(FOLDER_MODE)
            self.keys.mkdir(mode=KEYS_MODE, exist_ok=True)
            self._link_run()
        except OSError as error:
            raise NanoError(ErrorCode.UNAVAILABLE, f"can't make the node's folders: {error}") from error
        if self.run.stat().st_uid != os.geteuid() or self.run.is_symlink():
            raise NanoError(ErrorCode.UNAVAILABLE, f"{self.run} belongs to another user; remove it")

    def _link_run(self) -> None:
        wanted = self.root / "run" / "nano"
        if wanted == self.run:
            return
        wanted.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        (self.run / ORIGIN).write_text(str(self.root), encoding="utf-8")
        if not wanted.exists() and not wanted.is_symlink():
            wanted.symlink_to(self.run)

    def tidy(self) -> None:
        """Remove a run folder outside of the root once nothing is left in it: no socket, no process's notes."""
        wanted = self.root / "run" / "nano"
        if wanted == self.run:
            return
        with contextlib.suppress(OSError):
            for folder in [path for path in self.run.iterdir() if path.is_dir()]:
                folder.rmdir()
            (self.run / ORIGIN).unlink()
            self.run.rmdir()
            wanted.unlink()

    def lock(self) -> BinaryIO:
        """Return the held lock: closing it, or the end of the process, lets go. Raises ``conflict``."""
        path = self.state / "kernel.lock"
        file = path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            pid = file.read(32).decode(errors="replace").strip() or "unknown"
            file.close()
            message = f"nano-kernel with process id {pid} uses {self.root}; stop it or give another --root"
            raise NanoError(ErrorCode.CONFLICT, message) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n".encode())
        file.flush()
        return file


def _short(run: Path, root: Path) -> Path:
    """Return ``run``, or a short stand-in where sockets below it would have too long a path."""
    if len(os.fsencode(run)) + LONGEST_NAME_BYTES <= MAX_SOCKET_BYTES:
        return run
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:8]
    if os.geteuid() == 0:
        return Path(f"/run/nano-{digest}")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / f"nano-{digest}" if runtime else Path(f"/tmp/nano-{os.geteuid()}-{digest}")  # noqa: S108  its owner is checked
