"""What an ISO 9660 file must be to be taken as a media image. Runs in the inspection process only.

Layout: ECMA-119. A drive shows the file's bytes as they are and QEMU is told that they are raw, so nothing in it is
ever followed; what is checked is that it is whole, and that nobody could take it for a disk image.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from nanoplugins.images.qcow2 import Refusal

SECTOR_BYTES = 2048
FIRST_DESCRIPTOR = 16
MAX_DESCRIPTORS = 64
PRIMARY, TERMINATOR = 1, 255
IDENTIFIER = b"CD001"
BLOCK_SIZES = (512, 1024, 2048)
OTHER_STARTS = (
    (b"QFI\xfb", "qcow2"),
    (b"QED\0", "QED"),
    (b"KDMV", "VMDK"),
    (b"COWD", "VMDK"),
    (b"# Disk DescriptorFile", "VMDK"),
    (b"conectix", "VHD"),
    (b"vhdxfile", "VHDX"),
    (b"<<<", "VDI"),
    (b"LUKS\xba\xbe", "LUKS"),
)
"""An ISO begins with 32 KiB that are free for a boot loader: room for another format's header."""


def check(file: BinaryIO, size_bytes: int) -> None:
    """Return if ``file`` is a whole ISO 9660 file; raise ``Refusal``."""
    file.seek(0)
    start = file.read(FIRST_DESCRIPTOR * SECTOR_BYTES)
    for magic, name in OTHER_STARTS:
        if start.startswith(magic):
            raise Refusal(f"it starts as {name} does; a media image is an ISO 9660 file, upload a disk as a disk image")
    volume = _primary(file)
    blocks, blocks_again = struct.unpack_from("<I", volume, 80)[0], struct.unpack_from(">I", volume, 84)[0]
    block_size, block_size_again = struct.unpack_from("<H", volume, 128)[0], struct.unpack_from(">H", volume, 130)[0]
    if blocks != blocks_again or block_size != block_size_again or block_size not in BLOCK_SIZES or not blocks:
        raise Refusal("its volume descriptor is damaged: its sizes contradict each other")
    if blocks * block_size > size_bytes:
        raise Refusal(
            f"it is cut off: it says that it has {blocks * block_size} bytes, {size_bytes} are there; "
            "upload the whole file"
        )


def _primary(file: BinaryIO) -> bytes:
    """Return the primary volume descriptor; the list of descriptors must end."""
    found: bytes | None = None
    for index in range(MAX_DESCRIPTORS):
        sector = file.read(SECTOR_BYTES)
        if len(sector) < SECTOR_BYTES:
            raise Refusal(
                "it is no ISO 9660 file, or it is cut off" if index == 0 else "it is cut off; upload it whole"
            )
        if sector[1:6] != IDENTIFIER:
            raise Refusal(
                "it is no ISO 9660 file: there is no volume descriptor"
                if index == 0
                else "its list of volume descriptors is damaged"
            )
        if sector[0] == PRIMARY and found is None:
            found = sector
        if sector[0] == TERMINATOR:
            break
    else:
        raise Refusal("its list of volume descriptors does not end")
    if found is None:
        raise Refusal("it has no primary volume descriptor")
    return found
