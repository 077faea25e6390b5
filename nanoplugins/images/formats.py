"""Which files are taken as disk images. Runs in the inspection process only; the home of ``oslo.utils``.

``format_inspector`` tells what a file claims to be without running anything; two claims at once are a refusal. What is
taken is checked further here, as its checks are about known attacks, not about complete files.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from nanocore.wire import Struct
from nanoplugins.images import media, qcow2
from nanoplugins.images.foreign import open_foreign
from nanoplugins.images.qcow2 import SECTOR_BYTES, Refusal

if TYPE_CHECKING:
    from oslo_utils.imageutils.format_inspector import FileInspector

HEAD_BYTES = 1024 * 1024
"""Everything by which a format is told lies in it: ISO 9660's descriptor is the last, at 32 KiB."""
CHUNK_BYTES = 4096
BOOT_SIGNATURE = b"\x55\xaa"
BOOT_SIGNATURE_AT = 510
FOREIGN = ("vmdk", "vdi", "vhd")
"""Formats that are taken and converted to qcow2 once."""
_VHD_FOOTER = b"conectix"
_OTHER_STARTS = (
    (b"#", "a text such as a VMDK descriptor"),
    (b"QFI\xfb", "qcow2"),
    (b"QED\0", "QED"),
    (b"KDMV", "VMDK"),
    (b"COWD", "VMDK"),
    (b"conectix", "VHD"),
    (b"vhdxfile", "VHDX"),
    (b"<<<", "VDI"),
    (b"LUKS\xba\xbe", "LUKS"),
    (b"Bochs Virtual HD Image", "a Bochs image"),
    (b"WithoutFreeSpace", "a Parallels image"),
    (b"WithouFreSpacExt", "a Parallels image"),
)
"""What QEMU's own probing would take for another format; Nano never probes, others who get the file might."""
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


def examine_media(file: BinaryIO, size_bytes: int) -> Verdict:
    """Return that ``file`` is a whole ISO 9660 file, or why it is refused."""
    try:
        media.check(file, size_bytes)
    except Refusal as refusal:
        return Verdict(refusal=str(refusal))
    return Verdict(format="iso", virtual_size_bytes=size_bytes)


def _examine(file: BinaryIO, size_bytes: int, max_virtual_bytes: int) -> Verdict:
    from oslo_utils.imageutils import format_inspector

    head = file.read(HEAD_BYTES)
    try:
        found = _detect(head)
        # Ours first: its refusals say what to do.
        if str(found) == "qcow2":
            verdict = Verdict(format="qcow2", virtual_size_bytes=qcow2.check(file, size_bytes, max_virtual_bytes))
        elif str(found) in FOREIGN or _is_fixed_vhd(file, size_bytes, str(found)):
            format = str(found) if str(found) in FOREIGN else "vhd"
            virtual_bytes = open_foreign(format, file, size_bytes).virtual_bytes
            check_virtual_size(virtual_bytes, max_virtual_bytes)
            verdict = Verdict(format=format, virtual_size_bytes=virtual_bytes)
        elif str(found) in ("gpt", "raw"):
            verdict = _check_raw(head, size_bytes, max_virtual_bytes)
        else:
            raise Refusal(_unsupported(str(found)))
        found.safety_check()
    except format_inspector.SafetyCheckFailed as error:
        raise Refusal(f"it is not safe: {'; '.join(str(failure) for failure in error.failures.values())}") from error
    except format_inspector.ImageFormatError as error:
        raise Refusal(f"it pretends to be several things at once: {error}") from error
    return verdict


def check_virtual_size(virtual_bytes: int, max_virtual_bytes: int) -> None:
    """Refuse a size that no disk has, or that nobody has room for."""
    if virtual_bytes <= 0 or virtual_bytes % SECTOR_BYTES:
        raise Refusal(f"its virtual size of {virtual_bytes} bytes is none that a disk can have")
    if virtual_bytes > max_virtual_bytes:
        raise Refusal(
            f"it unfolds to {virtual_bytes} bytes, more than the {max_virtual_bytes} allowed "
            "([images] max_virtual_bytes)"
        )


def _is_fixed_vhd(file: BinaryIO, size_bytes: int, found: str) -> bool:
    """Return whether something that looks like a raw disk ends as a fixed VHD does."""
    if found not in ("gpt", "raw") or size_bytes <= SECTOR_BYTES:
        return False
    file.seek(size_bytes - SECTOR_BYTES)
    return file.read(len(_VHD_FOOTER)) == _VHD_FOOTER


def _check_raw(head: bytes, size_bytes: int, max_virtual_bytes: int) -> Verdict:
    """Take a raw disk that firmware could boot and that nobody could take for anything else."""
    if size_bytes % SECTOR_BYTES:
        raise Refusal(f"a raw disk is a multiple of {SECTOR_BYTES} bytes long; this file is not, or it is cut off")
    if size_bytes > max_virtual_bytes:
        raise Refusal(f"it has {size_bytes} bytes, more than the {max_virtual_bytes} allowed")
    if head[BOOT_SIGNATURE_AT:SECTOR_BYTES] != BOOT_SIGNATURE:
        raise Refusal("it is no known disk image: neither qcow2, VMDK, VDI nor VHD, and no raw disk with a boot sector")
    for magic, name in _OTHER_STARTS:
        if head.startswith(magic):
            raise Refusal(f"it starts as {name} does, but has a boot sector as well")
    return Verdict(format="raw", virtual_size_bytes=size_bytes)


def _detect(head: bytes) -> FileInspector:
    """Return what the file claims to be; raises ``ImageFormatError`` when it claims several things."""
    from oslo_utils.imageutils import format_inspector

    wrapper = format_inspector.InspectWrapper(BytesIO(head))
    while wrapper.read(CHUNK_BYTES):
        pass
    wrapper.close()
    if "iso" in {str(found) for found in wrapper.formats or ()}:
        raise Refusal("it is an ISO 9660 file, a media image; a disk image is qcow2 or raw")
    found = wrapper.format
    if found is None:
        raise Refusal("it is no known disk image")
    return found


def _unsupported(claimed: str) -> str:
    return f"{claimed} is not taken as a disk image; {_CONVERT}"
