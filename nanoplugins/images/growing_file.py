"""A file that grows by chunks and knows its digest; used for uploads on the core and fetches on cells. Blocks."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from nanocore.errors import ErrorCode, NanoError

READ_BYTES = 1024 * 1024
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class GrowingFile:
    """Open for appending at ``offset``; what lies beyond is cut off. ``digest`` covers everything before it."""

    def __init__(self, path: Path, offset: int, digest: hashlib._Hash | None = None) -> None:
        self.path = path
        self.offset = offset
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        try:
            self._check_length()
            os.ftruncate(self._descriptor, offset)
            self.digest = digest or self._digest_so_far()
        except BaseException:
            os.close(self._descriptor)
            raise

    def append(self, chunks: Iterable[bytes]) -> None:
        """Write and digest; on a full disk cut the file back to where it was and raise ``no_capacity``."""
        position = self.offset
        digest = self.digest.copy()
        try:
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    written = os.pwrite(self._descriptor, view, position)
                    position += written
                    view = view[written:]
                digest.update(chunk)
        except OSError as error:
            os.ftruncate(self._descriptor, self.offset)
            raise write_error(error) from error
        self.offset, self.digest = position, digest

    def sync(self) -> None:
        """Make everything written durable."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise write_error(error) from error

    def close(self) -> None:
        """Close; safe to call twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _check_length(self) -> None:
        length = os.fstat(self._descriptor).st_size
        if length < self.offset:
            raise NanoError(
                ErrorCode.CONFLICT,
                f"{self.path} has {length} bytes, {self.offset} had arrived; delete the image and begin again",
                reason="images.short_file",
            )

    def _digest_so_far(self) -> hashlib._Hash:
        digest = hashlib.sha256()
        position = 0
        while position < self.offset:
            data = os.pread(self._descriptor, min(READ_BYTES, self.offset - position), position)
            if not data:
                raise NanoError(
                    ErrorCode.CONFLICT, f"{self.path} was cut off by somebody else", reason="images.short_file"
                )
            digest.update(data)
            position += len(data)
        return digest


def write_error(error: OSError) -> NanoError:
    """Translate what the file system says to a write."""
    if error.errno in _FULL:
        return NanoError(
            ErrorCode.NO_CAPACITY,
            "the disk for images is full; free space on it and resume",
            reason="images.full",
        )
    return NanoError(
        ErrorCode.UNAVAILABLE, f"the disk for images can't be written: {error.strerror}", reason="images.disk"
    )
