"""The start of a qcow2 file: enough to know its size without running a program.

Layout: QEMU, ``docs/interop/qcow2.txt``. A guest can't write here: it sees only what the file stores for it.
"""

from __future__ import annotations

import struct

from nanocore.errors import ErrorCode, NanoError

START_BYTES = 32
_START = struct.Struct(">4sIQIIQ")
_MAGIC = b"QFI\xfb"


def virtual_size(start: bytes, *, name: str) -> int:
    """Return the size in bytes that a guest sees; ``name`` is for the message of the ``internal`` error."""
    if len(start) >= START_BYTES:
        magic, _version, _backing_offset, _backing_length, _cluster_bits, size = _START.unpack_from(start)
        if magic == _MAGIC:
            return int(size)
    raise NanoError(
        ErrorCode.INTERNAL, f"{name} is damaged: it does not start as qcow2 does", reason="storage_local.damaged"
    )
