"""The start of a qcow2 file: enough to know its size without running a program.

Layout: QEMU, ``docs/interop/qcow2.txt``. A guest can't write here: it sees only what the file stores for it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import SnapshotId, parse_id

START_BYTES = 72
_START = struct.Struct(">4sIQIIQ")
_TABLE = struct.Struct(">IQ")
_TABLE_AT = 60
_ENTRY = struct.Struct(">QIHHIIQII")
_ALIGN = 8
MAX_NAME_BYTES = 1023
"""The format's own bound for a base's name."""
MAX_SNAPSHOTS = 65536
MAX_TABLE_BYTES = 16 * 1024**2
"""QEMU's own bounds are of that order; a damaged header must not make us read for long."""
_MAGIC = b"QFI\xfb"


def virtual_size(start: bytes, *, name: str) -> int:
    """Return the size in bytes that a guest sees; ``name`` is for the message of the ``internal`` error."""
    if len(start) >= _START.size:
        magic, _version, _backing_offset, _backing_length, _cluster_bits, size = _START.unpack_from(start)
        if magic == _MAGIC:
            return int(size)
    raise NanoError(
        ErrorCode.INTERNAL, f"{name} is damaged: it does not start as qcow2 does", reason="storage_local.damaged"
    )


def base_path(start: bytes, path: Path) -> str | None:
    """Return the file that the qcow2 at ``path``, which begins with ``start``, is a thin clone of."""
    _magic, _version, offset, length, _bits, _size = _START.unpack_from(start)
    if not offset or not 0 < length <= MAX_NAME_BYTES:
        return None
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.fsdecode(os.pread(descriptor, length, offset))
    finally:
        os.close(descriptor)


def snapshots(start: bytes, path: Path) -> list[SnapshotId]:
    """Return the names of the snapshots in the file that begins with ``start``, oldest first; only Nano's own."""
    if len(start) < _TABLE_AT + _TABLE.size:
        return []
    count, offset = _TABLE.unpack_from(start, _TABLE_AT)
    if not 0 < count <= MAX_SNAPSHOTS:
        return []
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        table = os.pread(descriptor, min(MAX_TABLE_BYTES, count * 512 + 4096), offset)
    finally:
        os.close(descriptor)
    return list(_names(table, count))


def _names(table: bytes, count: int) -> Iterator[SnapshotId]:
    at = 0
    for _ in range(count):
        if at + _ENTRY.size > len(table):
            return
        _l1, _l1_size, id_length, name_length, *_when, extra_length = _ENTRY.unpack_from(table, at)
        at += _ENTRY.size + extra_length + id_length
        name = table[at : at + name_length].decode(errors="replace")
        at += name_length
        at += -at % _ALIGN
        try:
            yield SnapshotId(parse_id(name))
        except NanoError:
            continue
