"""What a qcow2 file must be to be taken: complete, self-contained, plain, unencrypted, of a sane size.

Layout: QEMU, ``docs/interop/qcow2.txt``. Runs in the inspection process only. Work and memory are bounded by the
length of the file, whatever its header claims: no table is read twice and none beyond the end.
"""

from __future__ import annotations

import struct
import sys
from array import array
from dataclasses import dataclass
from typing import BinaryIO

MAGIC = b"QFI\xfb"
SECTOR_BYTES = 512
MAX_L1_BYTES = 32 * 1024**2
"""As QEMU's own limit."""
MIN_CLUSTER_BITS, MAX_CLUSTER_BITS = 9, 21
MAX_EXTENSIONS = 64

_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_HEADER_V3 = struct.Struct(">QQQII")
_EXTENSION = struct.Struct(">II")
_INCOMPATIBLE_CORRUPT = 1 << 1
_INCOMPATIBLE_DATA_FILE = 1 << 2
_INCOMPATIBLE_KNOWN = 0b1111
_EXTENSION_DATA_FILE = 0x44415441
_EXTENSION_ENCRYPTION = 0x0537BE77
_OFFSET_MASK = 0x00FFFFFFFFFFFE00
_COMPRESSED = 1 << 62


class Refusal(Exception):  # noqa: N818  a verdict, not a fault
    """Why an image is not taken; the text is shown to the user."""


@dataclass(frozen=True, slots=True)
class _Header:
    version: int
    cluster_bits: int
    virtual_bytes: int
    l1_entries: int
    l1_offset: int
    length: int

    @property
    def cluster_bytes(self) -> int:
        return 1 << self.cluster_bits

    @property
    def l1_needed(self) -> int:
        covered = self.cluster_bytes * (self.cluster_bytes // 8)
        return -(-self.virtual_bytes // covered)


def check(file: BinaryIO, size_bytes: int, max_virtual_bytes: int) -> int:
    """Return the virtual size in bytes; raise ``Refusal``."""
    header = _read_header(file)
    if header.virtual_bytes == 0 or header.virtual_bytes % SECTOR_BYTES:
        raise Refusal(f"its virtual size of {header.virtual_bytes} bytes is none that a disk can have")
    if header.virtual_bytes > max_virtual_bytes:
        raise Refusal(
            f"it unfolds to {header.virtual_bytes} bytes, more than the {max_virtual_bytes} allowed "
            "([images] max_virtual_bytes)"
        )
    _check_extensions(file, header)
    _check_tables(file, header, size_bytes)
    return header.virtual_bytes


def _read_header(file: BinaryIO) -> _Header:
    (
        magic,
        version,
        backing_offset,
        backing_length,
        cluster_bits,
        virtual_bytes,
        encryption,
        l1_entries,
        l1_offset,
        _refcount_offset,
        _refcount_clusters,
        snapshots,
        _snapshots_offset,
    ) = _HEADER.unpack(_read(file, 0, _HEADER.size))
    if magic != MAGIC or version not in (2, 3):
        raise Refusal(f"qcow2 version {version} is not known; convert it with qemu-img convert -O qcow2")
    if backing_offset or backing_length:
        raise Refusal("it refers to a backing file; flatten it with qemu-img convert -O qcow2")
    if encryption:
        raise Refusal("it is encrypted; decrypt it with qemu-img convert -O qcow2")
    if snapshots:
        raise Refusal("it holds internal snapshots; drop them with qemu-img convert -O qcow2")
    if not MIN_CLUSTER_BITS <= cluster_bits <= MAX_CLUSTER_BITS:
        raise Refusal(f"its header is damaged: clusters of 2^{cluster_bits} bytes")
    length = _HEADER.size
    if version == 3:  # noqa: PLR2004  the version's own number
        features, _compatible, _autoclear, _refcount_order, length = _HEADER_V3.unpack(
            _read(file, _HEADER.size, _HEADER_V3.size)
        )
        _check_features(features)
        if not _HEADER.size + _HEADER_V3.size <= length <= 1 << cluster_bits:
            raise Refusal(f"its header is damaged: a header of {length} bytes")
    return _Header(version, cluster_bits, virtual_bytes, l1_entries, l1_offset, length)


def _check_features(features: int) -> None:
    if features & _INCOMPATIBLE_DATA_FILE:
        raise Refusal("it keeps its data in another file; flatten it with qemu-img convert -O qcow2")
    if features & _INCOMPATIBLE_CORRUPT:
        raise Refusal("it is marked as corrupt; repair it with qemu-img check -r all")
    if features & ~_INCOMPATIBLE_KNOWN:
        raise Refusal(f"it uses features that are not known ({features:#x}); convert it with qemu-img convert -O qcow2")


def _check_extensions(file: BinaryIO, header: _Header) -> None:
    position = header.length
    for _ in range(MAX_EXTENSIONS):
        if position + _EXTENSION.size > header.cluster_bytes:
            return
        kind, length = _EXTENSION.unpack(_read(file, position, _EXTENSION.size))
        if kind == 0:
            return
        if kind == _EXTENSION_DATA_FILE:
            raise Refusal("it names another file for its data; flatten it with qemu-img convert -O qcow2")
        if kind == _EXTENSION_ENCRYPTION:
            raise Refusal("it is encrypted; decrypt it with qemu-img convert -O qcow2")
        position += _EXTENSION.size + -(-length // 8) * 8
    raise Refusal("its header is damaged: no end of header extensions")


def _check_tables(file: BinaryIO, header: _Header, size_bytes: int) -> None:
    """Follow both levels of the cluster map: everything that it points to must be in the file."""
    if header.l1_entries < header.l1_needed or header.l1_entries * 8 > MAX_L1_BYTES:
        raise Refusal(f"its header is damaged: a cluster map of {header.l1_entries} entries")
    seen: set[int] = set()
    for entry in _table(file, header.l1_offset, header.l1_entries, size_bytes):
        offset = entry & _OFFSET_MASK
        if not offset:
            continue
        if offset % header.cluster_bytes or offset in seen:
            raise Refusal("its cluster map is damaged: a table is misplaced or used twice")
        seen.add(offset)
        _check_table(_table(file, offset, header.cluster_bytes // 8, size_bytes), header, size_bytes)


def _check_table(entries: array[int], header: _Header, size_bytes: int) -> None:
    compressed_mask = (1 << (62 - (header.cluster_bits - 8))) - 1
    cluster_mask = header.cluster_bytes - 1
    for entry in entries:
        if entry & _COMPRESSED:
            offset = entry & compressed_mask
        else:
            offset = entry & _OFFSET_MASK
            if offset & cluster_mask:
                raise Refusal("its cluster map is damaged: a cluster is misplaced")
        if offset >= size_bytes:
            raise Refusal("it is cut off: its cluster map points beyond its end; upload the whole file")


def _table(file: BinaryIO, offset: int, count: int, size_bytes: int) -> array[int]:
    if offset + count * 8 > size_bytes:
        raise Refusal("it is cut off: a part of its cluster map is missing; upload the whole file")
    table = array("Q", _read(file, offset, count * 8))
    if sys.byteorder == "little":
        table.byteswap()
    return table


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    data = file.read(length)
    if len(data) < length:
        raise Refusal("it is cut off within its header; upload the whole file")
    return data
