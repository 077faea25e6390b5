"""The simulated screen as a viewer of any pixel format meets it."""

from __future__ import annotations

import struct

import pytest

from nanoplugins.sim.screen import HEIGHT, VERSION, WIDTH, PixelFormat, Screen

UPDATE = struct.pack(">BBHHHH", 3, 0, 0, 0, WIDTH, HEIGHT)


def greeted() -> Screen:
    screen = Screen("web-1")
    assert screen.greet() == VERSION
    assert screen.take(VERSION) == b"\x01\x01"
    assert screen.take(b"\x01") == bytes(4)
    head = screen.take(b"\x01")
    assert struct.unpack_from(">HH", head) == (WIDTH, HEIGHT)
    assert head.endswith(b"web-1")
    return screen


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_the_picture_comes_in_the_viewers_pixels(bits: int) -> None:
    screen = greeted()
    wanted = PixelFormat(bits, is_big_endian=True, most=(7, 7, 3), shifts=(5, 2, 0))
    assert screen.take(b"\0\0\0\0" + wanted.encode()) == b""
    picture = screen.take(UPDATE)
    assert len(picture) == 16 + WIDTH * HEIGHT * bits // 8
    assert picture[16 : 16 + bits // 8] == (0xFF).to_bytes(bits // 8, "big")  # the first bar is white
    assert len(set(picture[16:])) > 4


def test_bytes_may_come_one_by_one_and_other_messages_are_passed_over() -> None:
    screen = greeted()
    cut_text = struct.pack(">B3xI", 6, 5) + b"hello"
    encodings = struct.pack(">BxHii", 2, 2, 0, -223)
    key, pointer = struct.pack(">BB2xI", 4, 1, 65), struct.pack(">BBHH", 5, 0, 1, 1)
    answers = b"".join(screen.take(bytes([byte])) for byte in cut_text + encodings + key + pointer + UPDATE)
    assert len(answers) == 16 + WIDTH * HEIGHT * 4


def test_a_still_picture_has_no_news() -> None:
    screen = greeted()
    assert screen.take(UPDATE[:1] + b"\x01" + UPDATE[2:]) == b""


@pytest.mark.parametrize("nonsense", [b"\xff", b"\0\0\0\0" + PixelFormat(24).encode(), b"\0\0\0\0" + bytes(16)])
def test_nonsense_is_refused(nonsense: bytes) -> None:
    with pytest.raises(ValueError, match=r"message|bits"):
        greeted().take(nonsense)


def test_who_is_no_viewer_is_refused() -> None:
    with pytest.raises(ValueError, match="viewer"):
        Screen("web-1").take(b"GET / HTTP/1")
