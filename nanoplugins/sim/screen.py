"""The screen of a simulated guest: the server side of RFB (RFC 6143) with one still picture. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass

WIDTH, HEIGHT = 320, 200
VERSION = b"RFB 003.008\n"

_BARS = (
    (255, 255, 255),
    (255, 255, 0),
    (0, 255, 255),
    (0, 255, 0),
    (255, 0, 255),
    (255, 0, 0),
    (0, 0, 255),
    (16, 16, 16),
)
_SET_PIXEL_FORMAT, _SET_ENCODINGS, _UPDATE_REQUEST, _KEY, _POINTER, _CUT_TEXT = 0, 2, 3, 4, 5, 6
_FIXED_LENGTHS = {_SET_PIXEL_FORMAT: 20, _SET_ENCODINGS: 4, _UPDATE_REQUEST: 10, _KEY: 8, _POINTER: 6, _CUT_TEXT: 8}
_NO_SECURITY = 1


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How a viewer wants its pixels."""

    bits: int = 32
    is_big_endian: bool = False
    most: tuple[int, int, int] = (255, 255, 255)
    shifts: tuple[int, int, int] = (16, 8, 0)

    @classmethod
    def parse(cls, data: bytes) -> PixelFormat:
        """Read the 16 bytes of the protocol."""
        bits, _, big, _, *numbers = struct.unpack(">BBBBHHHBBB3x", data)
        red, green, blue, *shifts = numbers
        return cls(bits, bool(big), (red, green, blue), (shifts[0], shifts[1], shifts[2]))

    def encode(self) -> bytes:
        """Return the 16 bytes of the protocol."""
        return struct.pack(">BBBBHHHBBB3x", self.bits, 24, self.is_big_endian, 1, *self.most, *self.shifts)

    def pixel(self, colour: tuple[int, int, int]) -> bytes:
        """Return one pixel; colours are 0 to 255."""
        parts = zip(colour, self.most, self.shifts, strict=True)
        value = sum((part * most // 255) << shift for part, most, shift in parts)
        return (value & ((1 << self.bits) - 1)).to_bytes(self.bits // 8, "big" if self.is_big_endian else "little")


class Screen:
    """One viewer's conversation: bytes in, bytes out. Raises ``ValueError`` when the viewer talks nonsense."""

    def __init__(self, title: str) -> None:
        self._title = title.encode()
        self._format = PixelFormat()
        self._received = b""
        self._step = self._read_version

    def greet(self) -> bytes:
        """Return what the server says first."""
        return VERSION

    def take(self, data: bytes) -> bytes:
        """Return the answers to whatever is complete in what was received so far."""
        self._received += data
        answers = b""
        while True:
            answer = self._step()
            if answer is None:
                return answers
            answers += answer

    def _eat(self, length: int) -> bytes | None:
        if len(self._received) < length:
            return None
        eaten, self._received = self._received[:length], self._received[length:]
        return eaten

    def _read_version(self) -> bytes | None:
        version = self._eat(len(VERSION))
        if version is None:
            return None
        if not version.startswith(b"RFB 003."):
            raise ValueError(f"not a viewer: {version!r}")
        self._step = self._read_security
        return bytes([1, _NO_SECURITY])

    def _read_security(self) -> bytes | None:
        chosen = self._eat(1)
        if chosen is None:
            return None
        if chosen != bytes([_NO_SECURITY]):
            raise ValueError(f"security type {chosen[0]} was not offered")
        self._step = self._read_init
        return struct.pack(">I", 0)

    def _read_init(self) -> bytes | None:
        if self._eat(1) is None:
            return None
        self._step = self._read_message
        head = struct.pack(">HH", WIDTH, HEIGHT) + self._format.encode()
        return head + struct.pack(">I", len(self._title)) + self._title

    def _read_message(self) -> bytes | None:
        if not self._received:
            return None
        kind = self._received[0]
        length = _FIXED_LENGTHS.get(kind)
        if length is None:
            raise ValueError(f"unknown message {kind}")
        if len(self._received) < length:
            return None
        if kind == _SET_ENCODINGS:
            length += 4 * int(struct.unpack_from(">H", self._received, 2)[0])
        elif kind == _CUT_TEXT:
            length += int(struct.unpack_from(">I", self._received, 4)[0])
        message = self._eat(length)
        if message is None:
            return None
        if kind == _SET_PIXEL_FORMAT:
            self._format = _checked(PixelFormat.parse(message[4:20]))
        is_whole_picture_wanted = kind == _UPDATE_REQUEST and not message[1]
        return self._picture() if is_whole_picture_wanted else b""

    def _picture(self) -> bytes:
        row = b"".join(self._format.pixel(bar) * (WIDTH // len(_BARS)) for bar in _BARS)
        return struct.pack(">BxHHHHHi", 0, 1, 0, 0, WIDTH, HEIGHT, 0) + row * HEIGHT


def _checked(format: PixelFormat) -> PixelFormat:
    if format.bits not in {8, 16, 32} or max(format.shifts) >= format.bits:
        raise ValueError(f"pixels of {format.bits} bits with shifts {format.shifts} can't be made")
    return format
