"""Which files are taken as disk images. Runs in the inspection process only; the home of ``oslo.utils``.

``format_inspector`` tells what a file claims to be without running anything; two claims at once are a refusal. What is
taken is checked further here, as its checks are about known attacks, not about complete files.
"""

from __future__ import annotations

from io import BytesIO
from typing import BinaryIO

from nanocore.wire import Struct
from nanoplugins.images import qcow2
from nanoplugins.images.qcow2 import SECTOR_BYTES, Refusal

HEAD_BYTES = 1024 * 1024
"""Everything by which a format is told lies in it: ISO 9660's descriptor is the last, at 32 KiB."""
CHUNK_BYTES = 4096
BOOT_SIGNATURE = b"\x55\xaa"
BOOT_SIGNATURE_AT = 510
_VHD_FOOTER = b"conectix"
_CONVERT = "convert it with qemu-img convert -O qcow2"


class Verdict(Struct, frozen=True, kw_only=True):
    """The inspection's answer; either ``refusal`` or the other two."""

    format: str = ""
    virtual_size_bytes: int = 0
    refusal: str | None = None


def examine(file: BinaryIO, size_bytes: int, max_virtual_bytes: int) -> Verdict:
    """Return what ``file``, of ``size_bytes``, is, or why it is refused."""
    try:
        return _examine(file, size_bytes, max_virtual_bytes)
    except Refusal as refusal:
        return Verdict(refusal=str(refusal))


def _examine(file: BinaryIO, size_bytes: int, max_virtual_bytes: int) -> Verdict:
    claimed = _claimed_format(file)
    if claimed == "qcow2":
        return Verdict(format="qcow2", virtual_size_bytes=qcow2.check(file, size_bytes, max_virtual_bytes))
    if claimed not in ("gpt", "raw"):
        raise Refusal(_unsupported(claimed))
    if size_bytes % SECTOR_BYTES:
        raise Refusal(f"a raw disk is a multiple of {SECTOR_BYTES} bytes long; this file is not, or it is cut off")
    if size_bytes > max_virtual_bytes:
        raise Refusal(f"it has {size_bytes} bytes, more than the {max_virtual_bytes} allowed")
    file.seek(0)
    if file.read(SECTOR_BYTES)[BOOT_SIGNATURE_AT:] != BOOT_SIGNATURE:
        raise Refusal("it is no known disk image: neither qcow2 nor a raw disk with a boot sector")
    file.seek(size_bytes - SECTOR_BYTES)
    if file.read(len(_VHD_FOOTER)) == _VHD_FOOTER:
        raise Refusal(_unsupported("vhd"))
    return Verdict(format="raw", virtual_size_bytes=size_bytes)


def _claimed_format(file: BinaryIO) -> str:
    from oslo_utils.imageutils import format_inspector

    wrapper = format_inspector.InspectWrapper(BytesIO(file.read(HEAD_BYTES)))
    try:
        while wrapper.read(CHUNK_BYTES):
            pass
        wrapper.close()
        claims = {str(found) for found in wrapper.formats or ()}
        if "iso" in claims:
            raise Refusal("it is an ISO 9660 file, a media image; a disk image is qcow2 or raw")
        found = wrapper.format
        if found is None:
            raise Refusal("it is no known disk image")
        if str(found) in ("qcow2", "gpt", "raw"):
            found.safety_check()
        return str(found)
    except format_inspector.SafetyCheckFailed as error:
        raise Refusal(f"it is not safe: {'; '.join(str(failure) for failure in error.failures.values())}") from error
    except format_inspector.ImageFormatError as error:
        raise Refusal(f"it pretends to be several things at once: {error}") from error


def _unsupported(claimed: str) -> str:
    return f"{claimed} is not taken as a disk image; {_CONVERT}"
