"""Writes a plain qcow2 (version 3, clusters of 64 KiB) from the parts of a disk. Runs in the inspection process only.

Layout: QEMU, ``docs/interop/qcow2.txt``. Clusters of zeroes take no space. The order in the file is: header, data as it
comes, then all tables, so that everything is written once and in order but for the header.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator

from nanoplugins.images.qcow2 import MAGIC, Refusal

CLUSTER_BITS = 16
CLUSTER_BYTES = 1 << CLUSTER_BITS
ENTRIES = CLUSTER_BYTES // 8
REFCOUNTS = CLUSTER_BYTES // 2
REFCOUNT_ORDER = 4
HEADER_BYTES = 104
COPIED = 1 << 63
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_ZEROES = bytes(CLUSTER_BYTES)


class Qcow2Writer:
    """Appends to an open, empty file; ``finish`` makes it whole."""

    def __init__(self, descriptor: int, virtual_bytes: int, max_bytes: int) -> None:
        self._descriptor = descriptor
        self._virtual_bytes = virtual_bytes
        self._max_bytes = max_bytes
        self._next = 1  # the header's cluster is the first
        self._tables: dict[int, array[int]] = {}

    def write(self, parts: Iterator[tuple[int, bytes]]) -> None:
        """Write ``parts``, each beginning at a multiple of a sector; a cluster may come in several."""
        pending_at, pending = -1, bytearray()
        for offset, data in parts:
            position = 0
            while position < len(data):
                at = (offset + position) // CLUSTER_BYTES * CLUSTER_BYTES
                if at != pending_at:
                    self._put(pending_at, pending)
                    pending_at, pending = at, bytearray(CLUSTER_BYTES)
                start = offset + position - at
                length = min(CLUSTER_BYTES - start, len(data) - position)
                pending[start : start + length] = data[position : position + length]
                position += length
        self._put(pending_at, pending)

    def finish(self) -> None:
        """Write the tables and, last, the header."""
        l1_entries = -(-self._virtual_bytes // (CLUSTER_BYTES * ENTRIES))
        l1 = array("Q", bytes(8 * l1_entries))
        for number, table in sorted(self._tables.items()):
            l1[number] = COPIED | self._append(_packed(table))
        l1_at = self._append(_packed(l1))
        refcounts_at, refcount_clusters = self._write_refcounts()
        header = _HEADER.pack(
            MAGIC, 3, 0, 0, CLUSTER_BITS, self._virtual_bytes, 0, l1_entries, l1_at, refcounts_at, refcount_clusters,
            0, 0, 0, 0, 0, REFCOUNT_ORDER, HEADER_BYTES,
        )  # fmt: skip
        self._write_at(0, header.ljust(CLUSTER_BYTES, b"\0"))

    def _put(self, at: int, cluster: bytearray) -> None:
        if at < 0 or cluster == _ZEROES:
            return
        number, index = divmod(at // CLUSTER_BYTES, ENTRIES)
        table = self._tables.get(number)
        if table is None:
            table = self._tables[number] = array("Q", bytes(CLUSTER_BYTES))
        if table[index]:
            raise Refusal("its map is damaged: parts of the disk are out of order")
        table[index] = COPIED | self._append(cluster)

    def _append(self, data: bytes | bytearray) -> int:
        at = self._next * CLUSTER_BYTES
        clusters = -(-len(data) // CLUSTER_BYTES)
        self._write_at(at, bytes(data).ljust(clusters * CLUSTER_BYTES, b"\0"))
        self._next += clusters
        return at

    def _write_at(self, at: int, data: bytes) -> None:
        if at + len(data) > self._max_bytes:
            raise Refusal(f"as qcow2 it has more than the {self._max_bytes} bytes that there is room for")
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, at)
            at += written
            view = view[written:]

    def _write_refcounts(self) -> tuple[int, int]:
        """Count every cluster once, those of the counts themselves included."""
        blocks, table_clusters = 1, 1
        while True:
            total = self._next + blocks + table_clusters
            needed = -(-total // REFCOUNTS)
            needed_table = -(-needed // ENTRIES)
            if (needed, needed_table) == (blocks, table_clusters):
                break
            blocks, table_clusters = needed, needed_table
        counts = b"\0\x01" * total
        first = self._append(counts.ljust(blocks * CLUSTER_BYTES, b"\0"))
        table = array("Q", (first + index * CLUSTER_BYTES for index in range(blocks)))
        return self._append(_packed(table).ljust(table_clusters * CLUSTER_BYTES, b"\0")), table_clusters


def _packed(table: array[int]) -> bytes:
    swapped = array("Q", table)
    swapped.byteswap()
    return swapped.tobytes()
