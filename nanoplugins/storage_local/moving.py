"""Copies a volume's file to another folder, holes and snapshots included, without holding anything up."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
from pathlib import Path

from nanocore.errors import ErrorCode, NanoError

CHUNK_BYTES = 8 * 1024**2
_FLOCK = struct.Struct("hhqqi4x")
_LOCKS_AT, _LOCKS_BYTES = 100, 200
"""The bytes that QEMU locks in a file it has open (``block/file-posix.c``)."""


def check_unused(path: Path) -> None:
    """Raise ``wrong_state`` while a process has the volume open as QEMU does."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _LOCKS_AT, _LOCKS_BYTES, 0)
        holder = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, wanted))
    finally:
        os.close(descriptor)
    if holder[0] != fcntl.F_UNLCK:
        raise NanoError(
            ErrorCode.WRONG_STATE, "the volume is in use; stop its instance first", reason="storage_local.in_use"
        )


def copy(source: Path, target: Path, stop: threading.Event) -> None:
    """Copy what ``source`` stores into the empty file ``target``; an end asked for by ``stop`` is ``cancelled``."""
    reader = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        writer = os.open(target, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            length = os.fstat(reader).st_size
            os.ftruncate(writer, length)
            at = 0
            while (found := _next_data(reader, at)) is not None:
                at = _copy_range(reader, writer, *found, stop)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _next_data(reader: int, at: int) -> tuple[int, int] | None:
    try:
        start = os.lseek(reader, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
    return start, os.lseek(reader, start, os.SEEK_HOLE)


def _copy_range(reader: int, writer: int, start: int, end: int, stop: threading.Event) -> int:
    at = start
    while at < end:
        if stop.is_set():
            raise NanoError(ErrorCode.CANCELLED, "the copy was ended", reason="storage_local.cancelled")
        part = os.pread(reader, min(CHUNK_BYTES, end - at), at)
        if not part:
            break
        os.pwrite(writer, part, at)
        at += len(part)
    return max(at, end)
