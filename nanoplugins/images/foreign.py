"""Reads VMDK, VDI and VHD: which parts of a virtual disk a file holds, and where. Runs in the inspection process only.

Layouts: VMware's "Virtual Disk Format 5.0", VirtualBox's ``VDICore.h``, Microsoft's "Virtual Hard Disk Image Format
Specification". Only files that are complete in themselves are read. Whatever names another file (a parent, an extent, a
differencing disk) is refused, and no name in a file is ever used. Work and memory are bounded by the file's length.
"""

from __future__ import annotations

import re
import struct
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO, Protocol

from nanoplugins.images.qcow2 import SECTOR_BYTES, Refusal

MIB = 1024**2
MAX_DESCRIPTOR_BYTES = 64 * 1024
MAX_BLOCK_BYTES = 64 * MIB
_FLATTEN = "flatten it with qemu-img convert -O qcow2"
_CUT_OFF = "it is cut off: its map points beyond its end; upload the whole file"


class ForeignDisk(Protocol):
    """A virtual disk in a file of another format."""

    @property
    def virtual_bytes(self) -> int:
        """Return the size of the disk."""
        ...

    def parts(self) -> Iterator[tuple[int, bytes]]:
        """Yield offset in the disk and bytes of everything that is stored, each at most once; raise ``Refusal``."""
        ...


def open_foreign(format: str, file: BinaryIO, size_bytes: int) -> ForeignDisk:
    """Return the disk in ``file``; raise ``Refusal`` for one that is damaged, incomplete or needs another file."""
    readers = {"vmdk": _open_vmdk, "vdi": _open_vdi, "vhd": _open_vhd}
    return readers[format](_File(file, size_bytes))


class _File:
    """Bounded reads."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self.size_bytes = size_bytes

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > self.size_bytes:
            raise Refusal(_CUT_OFF)
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) < length:
            raise Refusal(_CUT_OFF)
        return data

    def numbers(self, offset: int, count: int, *, is_big: bool) -> array[int]:
        """Return ``count`` 32-bit numbers."""
        table = array("I", self.read(offset, count * 4))
        if is_big:
            table.byteswap()
        return table


@dataclass(frozen=True, slots=True)
class _Blocks:
    """A disk of equal blocks, each at an offset of the file or absent; what VDI and VHD have in common."""

    file: _File
    virtual_bytes: int
    block_bytes: int
    offsets: list[int | None]

    def parts(self) -> Iterator[tuple[int, bytes]]:
        for index, offset in enumerate(self.offsets):
            at = index * self.block_bytes
            if offset is not None and at < self.virtual_bytes:
                yield at, self.file.read(offset, min(self.block_bytes, self.virtual_bytes - at))


def _checked(file: _File, virtual_bytes: int, block_bytes: int, offsets: list[int | None]) -> _Blocks:
    """Refuse maps that use a block twice or that point out of the file: bombs, and files that were cut off."""
    taken = sorted(offset for offset in offsets if offset is not None)
    for before, after in pairwise(taken):
        if after - before < block_bytes:
            raise Refusal("its map is damaged: a block is used twice")
    # A last block may be shorter than the others where the file ends with it.
    if taken and (taken[0] < 0 or taken[-1] >= file.size_bytes):
        raise Refusal(_CUT_OFF)
    return _Blocks(file, virtual_bytes, block_bytes, offsets)


# -- VDI

_VDI = struct.Struct("<64sIIIII256sIIIIIIIQIIII16s16s16s16s")
_VDI_MAGIC = 0xBEDA107F
_VDI_VERSION = 0x00010001
_VDI_DYNAMIC, _VDI_FIXED = 1, 2
_VDI_ABSENT = 0xFFFFFFFE
"""And one more: discarded, never written."""


def _open_vdi(file: _File) -> ForeignDisk:
    header = _VDI.unpack(file.read(0, _VDI.size))
    magic, version, kind = header[1], header[2], header[4]
    map_at, data_at, sector_bytes = header[7], header[8], header[12]
    virtual_bytes, block_bytes, extra_bytes, blocks, allocated = header[14:19]
    if magic != _VDI_MAGIC or version != _VDI_VERSION:
        raise Refusal("its VDI version is not known")
    if kind not in (_VDI_DYNAMIC, _VDI_FIXED):
        raise Refusal(f"it is a VDI of a kind that needs another file; {_FLATTEN}")
    if any(header[21]) or any(header[22]):
        raise Refusal(f"it refers to a parent; {_FLATTEN}")
    if sector_bytes != SECTOR_BYTES or block_bytes != MIB or extra_bytes:
        raise Refusal("its header is damaged: blocks of a size that no VDI has")
    if blocks != -(-virtual_bytes // block_bytes) or allocated > blocks:
        raise Refusal("its header is damaged: its sizes contradict each other")
    table = file.numbers(map_at, blocks, is_big=False)
    offsets = [None if entry >= _VDI_ABSENT else data_at + entry * block_bytes for entry in table]
    return _checked(file, virtual_bytes, block_bytes, offsets)


# -- VHD

_VHD_FOOTER = struct.Struct(">8sIIQI4sI4sQQ4sII16sB427x")
_VHD_HEADER = struct.Struct(">8sQQIIII16sI4x512s192s256x")
_VHD_MAGIC, _VHD_SPARSE_MAGIC = b"conectix", b"cxsparse"
_VHD_FIXED, _VHD_DYNAMIC = 2, 3
_VHD_ABSENT = 0xFFFFFFFF


def _open_vhd(file: _File) -> ForeignDisk:
    if file.size_bytes < _VHD_FOOTER.size:
        raise Refusal("it is cut off within its header; upload the whole file")
    footer = file.read(file.size_bytes - _VHD_FOOTER.size, _VHD_FOOTER.size)
    fields = _VHD_FOOTER.unpack(footer)
    if fields[0] != _VHD_MAGIC:
        raise Refusal("it is cut off: a VHD ends with a footer, which is missing; upload the whole file")
    if fields[12] != _vhd_checksum(footer, 64):
        raise Refusal("its footer is damaged: the checksum is wrong")
    header_at, virtual_bytes, kind = fields[3], fields[9], fields[11]
    if kind == _VHD_FIXED:
        if virtual_bytes != file.size_bytes - _VHD_FOOTER.size:
            raise Refusal("its footer lies: a fixed VHD has the bytes that it says, and 512 more")
        return _Fixed(file, virtual_bytes)
    if kind != _VHD_DYNAMIC:
        raise Refusal(f"it is a VHD that needs another file; {_FLATTEN}")
    return _open_dynamic_vhd(file, header_at, virtual_bytes)


def _open_dynamic_vhd(file: _File, header_at: int, virtual_bytes: int) -> ForeignDisk:
    header = file.read(header_at, _VHD_HEADER.size)
    fields = _VHD_HEADER.unpack(header)
    map_at, entries, block_bytes = fields[2], fields[4], fields[5]
    if fields[0] != _VHD_SPARSE_MAGIC or fields[6] != _vhd_checksum(header, 36):
        raise Refusal("its header is damaged: the checksum is wrong")
    if any(fields[7]):
        raise Refusal(f"it refers to a parent; {_FLATTEN}")
    if (
        block_bytes % SECTOR_BYTES
        or block_bytes & (block_bytes - 1)
        or not SECTOR_BYTES <= block_bytes <= MAX_BLOCK_BYTES
    ):
        raise Refusal(f"its header is damaged: blocks of {block_bytes} bytes")
    needed = -(-virtual_bytes // block_bytes)
    if entries < needed:
        raise Refusal("its header is damaged: its map is shorter than its disk")
    bitmap_bytes = -(-(block_bytes // SECTOR_BYTES // 8) // SECTOR_BYTES) * SECTOR_BYTES or SECTOR_BYTES
    table = file.numbers(map_at, needed, is_big=True)
    offsets = [None if entry == _VHD_ABSENT else entry * SECTOR_BYTES + bitmap_bytes for entry in table]
    return _checked(file, virtual_bytes, block_bytes, offsets)


def _vhd_checksum(data: bytes, at: int) -> int:
    return ~(sum(data) - sum(data[at : at + 4])) & 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class _Fixed:
    """A raw disk with something behind it."""

    file: _File
    virtual_bytes: int

    def parts(self) -> Iterator[tuple[int, bytes]]:
        for at in range(0, self.virtual_bytes, MIB):
            yield at, self.file.read(at, min(MIB, self.virtual_bytes - at))


# -- VMDK

_VMDK = struct.Struct("<4sIIQQQQIQQQBccccH433x")
_VMDK_MARKER = struct.Struct("<QI")
_VMDK_MAGIC = b"KDMV"
_VMDK_AT_END = 0xFFFFFFFFFFFFFFFF
_VMDK_VERSIONS = (1, 2, 3)
_VMDK_HAS_ZEROES, _VMDK_COMPRESSED = 1 << 2, 1 << 16
_VMDK_ENTRIES = 512
_VMDK_KINDS = ("monolithicsparse", "streamoptimized")
_DEFLATE = 1


def _open_vmdk(file: _File) -> ForeignDisk:
    start = file.read(0, min(_VMDK.size, file.size_bytes))
    if start.startswith(b"#"):
        raise Refusal(f"it is a VMDK descriptor, which only names other files; {_FLATTEN}")
    header = _VMDK.unpack(file.read(0, _VMDK.size))
    descriptor_at, descriptor_length = header[5:7]
    if header[9] == _VMDK_AT_END:
        # Written as a stream: what the header could not know yet is in a footer, before the end marker.
        header = _VMDK.unpack(file.read(file.size_bytes - 2 * SECTOR_BYTES, _VMDK.size))
    magic, version, flags, capacity, grain = header[:5]
    entries, map_at, compression = header[7], header[9], header[16]
    if magic != _VMDK_MAGIC or version not in _VMDK_VERSIONS:
        raise Refusal("its VMDK version is not known, or it is cut off; upload the whole file")
    if not capacity or not descriptor_at:
        raise Refusal(f"it is a VMDK that only describes other files; {_FLATTEN}")
    _check_descriptor(file, descriptor_at * SECTOR_BYTES, descriptor_length * SECTOR_BYTES)
    if grain & (grain - 1) or not 8 <= grain <= 128 * 1024 or entries != _VMDK_ENTRIES or map_at == _VMDK_AT_END:  # noqa: PLR2004  4 KiB to 64 MiB
        raise Refusal(f"its header is damaged: grains of {grain} sectors, tables of {entries} entries")
    is_compressed = bool(flags & _VMDK_COMPRESSED)
    if is_compressed and compression != _DEFLATE:
        raise Refusal("it is compressed in a way that is not known")
    return _Grains(
        file=file,
        virtual_bytes=capacity * SECTOR_BYTES,
        grain_bytes=grain * SECTOR_BYTES,
        map_at=map_at * SECTOR_BYTES,
        is_compressed=is_compressed,
        has_zeroes=bool(flags & _VMDK_HAS_ZEROES),
    )


def _check_descriptor(file: _File, at: int, length: int) -> None:
    """Refuse a descriptor that speaks of any other file. The name of its own extent is not looked at."""
    if not 0 < length <= MAX_DESCRIPTOR_BYTES:
        raise Refusal("its header is damaged: a descriptor of that length is none")
    text = file.read(at, length).split(b"\0", 1)[0].decode("latin-1").lower()
    values = dict(re.findall(r'^\s*(\w+)\s*=\s*"?([^"\n\r]*?)"?\s*$', text, re.MULTILINE))
    if values.get("parentcid", "ffffffff") != "ffffffff" or "parentfilenamehint" in values:
        raise Refusal(f"it refers to a parent; {_FLATTEN}")
    kind = values.get("createtype", "")
    if kind not in _VMDK_KINDS:
        raise Refusal(f"it is a VMDK of type {kind[:40]!r}, which lies in several files; {_FLATTEN}")
    extents = re.findall(r"^\s*(rw|rdonly|noaccess)\s+\d+\s+(\w+)", text, re.MULTILINE)
    if [extent for _, extent in extents] != ["sparse"]:
        raise Refusal(f"it lies in several files; {_FLATTEN}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grains:
    """A disk in two levels of tables; a grain may be compressed."""

    file: _File
    virtual_bytes: int
    grain_bytes: int
    map_at: int
    is_compressed: bool
    has_zeroes: bool

    def parts(self) -> Iterator[tuple[int, bytes]]:
        covered = self.grain_bytes * _VMDK_ENTRIES
        tables = self.file.numbers(self.map_at, -(-self.virtual_bytes // covered), is_big=False)
        there = [table for table in tables if table]
        if len(there) != len(set(there)):
            raise Refusal("its map is damaged: a table is used twice")
        seen = bytearray(self.file.size_bytes // SECTOR_BYTES // 8 + 1)
        for number, table in enumerate(tables):
            if not table:
                continue
            grains = self.file.numbers(table * SECTOR_BYTES, _VMDK_ENTRIES, is_big=False)
            for index, sector in enumerate(grains):
                at = number * covered + index * self.grain_bytes
                if sector <= self.has_zeroes or at >= self.virtual_bytes:
                    continue  # absent, or all zeroes
                self._take(seen, sector)
                yield at, self._grain(sector * SECTOR_BYTES, min(self.grain_bytes, self.virtual_bytes - at))

    def _take(self, seen: bytearray, sector: int) -> None:
        if sector * SECTOR_BYTES >= self.file.size_bytes:
            raise Refusal(_CUT_OFF)
        byte, bit = divmod(sector, 8)
        if seen[byte] >> bit & 1:
            raise Refusal("its map is damaged: a grain is used twice")
        seen[byte] |= 1 << bit

    def _grain(self, offset: int, length: int) -> bytes:
        if not self.is_compressed:
            return self.file.read(offset, length)
        _, packed = _VMDK_MARKER.unpack(self.file.read(offset, _VMDK_MARKER.size))
        if packed > 2 * self.grain_bytes:
            raise Refusal("it is damaged: a compressed grain is larger than it can be")
        unpacker = zlib.decompressobj()
        try:
            data = unpacker.decompress(self.file.read(offset + _VMDK_MARKER.size, packed), self.grain_bytes)
        except zlib.error as error:
            raise Refusal(f"it is damaged: a grain can't be unpacked ({error})") from error
        if len(data) < length:
            raise Refusal("it is damaged: a grain unpacks to less than it should")
        return data[:length]
