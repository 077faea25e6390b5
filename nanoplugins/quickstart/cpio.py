"""Archives in the "newc" format that the Linux kernel takes as its first root file system; pure.

Format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel. Written here because the entries
(owned by root, with a device node) could otherwise only be made by root.
"""

from __future__ import annotations

import stat

TRAILER = "TRAILER!!!"
CONSOLE = (5, 1)


class Archive:
    """Collects entries; parents come before their children."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._names: set[str] = set()

    def add_folder(self, path: str, mode: int = 0o755) -> None:
        """Add a folder and the folders above it."""
        above = path.rpartition("/")[0]
        if above:
            self.add_folder(above)
        if path not in self._names:
            self._add(path, stat.S_IFDIR | mode, b"")

    def add_file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a file and the folders above it."""
        above = path.rpartition("/")[0]
        if above:
            self.add_folder(above)
        self._add(path, stat.S_IFREG | mode, data)

    def add_link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self.add_folder(path.rpartition("/")[0])
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def add_console(self) -> None:
        """Add ``/dev/console``, which the first process needs before it can mount anything."""
        self.add_folder("dev")
        self._add("dev/console", stat.S_IFCHR | 0o600, b"", device=CONSOLE)

    def to_bytes(self) -> bytes:
        """Return the whole archive."""
        return b"".join([*self._parts, _entry(0, TRAILER, 0, b"", (0, 0))])

    def _add(self, path: str, mode: int, data: bytes, device: tuple[int, int] = (0, 0)) -> None:
        self._names.add(path)
        self._parts.append(_entry(len(self._parts) + 1, path, mode, data, device))


def _entry(number: int, path: str, mode: int, data: bytes, device: tuple[int, int]) -> bytes:
    name = path.encode() + b"\0"
    # inode, mode, owner, group, links, time, size, device of the file (2), device node (2), length of name, check
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0)
    head = b"070701" + b"".join(f"{value:08X}".encode() for value in fields) + name
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
