"""A guest of some eighty bytes: boots in a moment under software emulation, without a kernel from anywhere.

A boot sector that writes ``BANNER`` to the screen and to the first serial port with every tick of the clock (18 a
second), sends back what the serial port receives, and powers off when the power button is pressed.
"""

from __future__ import annotations

from pathlib import Path

BANNER = b"tiny guest\r\n"
DISK_BYTES = 1024 * 1024
"""Smaller disks have no geometry, and the firmware does not boot from them."""

_PARTITION = bytes([0x80, 0, 2, 0, 0x0C, 0, 2, 0, 1, 0, 0, 0, 1, 0, 0, 0])
"""One bootable partition of one sector: a raw disk without any is refused as an image."""
_LOAD_ADDRESS = 0x7C00
_SERIAL = 0x3F8
_POWER = 0x600
"""Base of the ACPI power management registers of QEMU's q35 machine, as its firmware sets it."""


def write_disk(path: Path) -> None:
    """Make the raw disk at ``path``."""
    path.write_bytes(boot_sector().ljust(DISK_BYTES, b"\0"))


def boot_sector() -> bytes:
    """Assemble the guest."""
    begin = bytes([0xFA, 0x31, 0xC0, 0x8E, 0xD8, 0xFB])  # cli; ds = 0; sti
    begin += _output_word(_POWER + 2, 0x0100)  # enable the power button, or its press is not recorded
    echo = bytes([0xBA, *_word(_SERIAL + 5), 0xEC, 0xA8, 0x01, 0x74, 0x05])  # received anything? else skip 5 bytes
    echo += bytes([0xBA, *_word(_SERIAL), 0xEC, 0xEE])  # send it back
    pressed = bytes([0xBA, *_word(_POWER), 0xED, 0xF6, 0xC4, 0x01])  # is the button's bit set?
    off = _output_word(_POWER + 4, 0x2000)  # sleep type 0: soft off
    pressed += bytes([0x74, len(off)]) + off
    letter = bytes([0xAC, 0x84, 0xC0, 0x74, 0x0D])  # al = next letter; at the end jump behind this loop
    letter += bytes([0xBA, *_word(_SERIAL), 0xEE, 0xB4, 0x0E, 0xBB, 0x07, 0x00, 0xCD, 0x10])  # serial; BIOS teletype
    letter += bytes([0xEB, 0x100 - len(letter) - 2])  # back for the next letter
    length = len(begin) + 3 + len(letter) + 1 + len(echo) + len(pressed) + 3
    again = bytes([0xBE, *_word(_LOAD_ADDRESS + length)])  # si = the banner, which follows the code
    body = again + letter + b"\xf4" + echo + pressed  # hlt: wait for the clock or a key
    back = (-(len(body) + 3)) & 0xFFFF
    code = begin + body + bytes([0xE9, *_word(back)])
    return (code + BANNER + b"\0").ljust(446, b"\0") + _PARTITION.ljust(64, b"\0") + b"\x55\xaa"


def _word(value: int) -> bytes:
    return value.to_bytes(2, "little")


def _output_word(port: int, value: int) -> bytes:
    return bytes([0xBA, *_word(port), 0xB8, *_word(value), 0xEF])  # dx = port; ax = value; out dx, ax
