"""VMDK, VDI and VHD: what ``qemu-img`` makes is taken and means the same as qcow2; crafted ones are refused."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanocore.capabilities.images import GetDiskImage
from nanocore.ids import ImageId
from nanocore.model.image import ImageState
from nanoplugins.images.foreign import open_foreign
from nanoplugins.images.formats import Verdict, examine
from nanoplugins.images.inspection import convert_image, inspect_image
from nanoplugins.images.qcow2 import Refusal
from nanoplugins.images.qcow2_writer import Qcow2Writer

pytestmark = pytest.mark.needs("qemu")
MakeNode = Callable[..., Any]
MIB = 1024**2
LIMIT = 1024 * 1024**3
SHAPES = {
    "vmdk-sparse": ("vmdk", "vmdk", "subformat=monolithicSparse"),
    "vmdk-stream": ("vmdk", "vmdk", "subformat=streamOptimized"),
    "vmdk-zeroed": ("vmdk", "vmdk", "subformat=monolithicSparse,zeroed_grain=on"),
    "vdi-dynamic": ("vdi", "vdi", "static=off"),
    "vdi-fixed": ("vdi", "vdi", "static=on"),
    "vhd-dynamic": ("vpc", "vhd", "subformat=dynamic,force_size"),
    "vhd-dynamic-chs": ("vpc", "vhd", "subformat=dynamic"),
    "vhd-fixed": ("vpc", "vhd", "subformat=fixed,force_size"),
}


def qemu_img(*arguments: object) -> None:
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw disk of 37 MiB with data in odd places, holes, and a last cluster that is not whole."""
    path = tmp_path_factory.mktemp("disk") / "disk.raw"
    sector = bytearray(512)
    sector[446:462] = struct.pack("<B3BB3BII", 0x80, 0, 2, 0, 0x83, 0, 0, 0, 1, 2047)
    sector[510:] = b"\x55\xaa"
    with path.open("wb") as file:
        file.write(sector)
        for at, length in ((4096, 3 * MIB), (7 * MIB + 512, 512), (20 * MIB - 512, 70_144), (37 * MIB - 1024, 1024)):
            file.seek(at)
            file.write(os.urandom(length))
        file.truncate(37 * MIB)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, disk: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("foreign")
    for name, (format, _, options) in SHAPES.items():
        qemu_img("convert", "-f", "raw", "-O", format, "-o", options, disk, folder / name)
    return {name: folder / name for name in SHAPES}


def inspect(path: Path, *, max_virtual_bytes: int = LIMIT) -> Verdict:
    return asyncio.run(inspect_image(path, max_virtual_bytes=max_virtual_bytes, timeout_seconds=60))


def convert(path: Path, target: Path, format: str, *, max_bytes: int = LIMIT) -> Verdict:
    return asyncio.run(
        convert_image(path, target, format=format, max_virtual_bytes=LIMIT, max_bytes=max_bytes, timeout_seconds=60)
    )


def judge(data: bytes, target: Path) -> str:
    """Return why an inspection, or the conversion that follows, refuses ``data``; as they do it, but here."""
    found = examine(io.BytesIO(data), len(data), LIMIT)
    if found.refusal is not None:
        return found.refusal
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        disk = open_foreign(found.format, io.BytesIO(data), len(data))
        writer = Qcow2Writer(descriptor, disk.virtual_bytes, LIMIT)
        writer.write(disk.parts())
        writer.finish()
    except Refusal as refusal:
        return str(refusal)
    finally:
        os.close(descriptor)
    return ""


@pytest.mark.parametrize("name", SHAPES)
def test_what_other_programs_make_is_converted(tmp_path: Path, files: dict[str, Path], disk: Path, name: str) -> None:
    path, target = files[name], tmp_path / "out.qcow2"
    found = inspect(path)
    assert (found.refusal, found.format) == (None, SHAPES[name][1])
    assert found.virtual_size_bytes >= disk.stat().st_size
    done = convert(path, target, found.format)
    assert done == Verdict(format="qcow2", virtual_size_bytes=found.virtual_size_bytes)
    assert inspect(target) == done
    qemu_img("check", "-f", "qcow2", target)
    qemu_img("compare", "-f", "raw", "-F", "qcow2", disk, target)
    qemu_img("compare", "-f", SHAPES[name][0], "-F", "qcow2", path, target)
    assert target.stat().st_size < 8 * MIB, "holes stay holes"


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("kept", [0.001, 0.1, 0.5, 0.99])
def test_cut_off_files_are_refused(tmp_path: Path, files: dict[str, Path], disk: Path, name: str, kept: float) -> None:
    data = files[name].read_bytes()
    if not judge(data[: int(len(data) * kept)], tmp_path / "out"):
        # A stream ends with markers and padding: nothing of the disk was in what is missing.
        assert name == "vmdk-stream"
        qemu_img("compare", "-f", "raw", "-F", "qcow2", disk, tmp_path / "out")


def patched(data: bytes, offset: int, layout: str, *values: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(layout, changed, offset, *values)
    return bytes(changed)


def resummed(data: bytes, start: int, length: int, at: int) -> bytes:
    """Give a part of a VHD the checksum that it should have."""
    changed = bytearray(data)
    changed[start + at : start + at + 4] = bytes(4)
    struct.pack_into(">I", changed, start + at, ~sum(changed[start : start + length]) & 0xFFFFFFFF)
    return bytes(changed)


def vhd(data: bytes, offset: int, layout: str, *values: int) -> bytes:
    """Change the footer, and its copy at the start."""
    end = len(data) - 512
    for start in (0, end):
        data = resummed(patched(data, start + offset, layout, *values), start, 512, 64)
    return data


def vhd_header(data: bytes, offset: int, layout: str, *values: int) -> bytes:
    return resummed(patched(data, 512 + offset, layout, *values), 512, 1024, 36)


def described(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    at = data.index(old)
    return data[:at] + new.ljust(len(old)) + data[at + len(old) :]


def vmdk_entry(data: bytes, value: int) -> bytes:
    """Point the second grain at ``value``."""
    map_at = struct.unpack_from("<Q", data, 56)[0] * 512
    table = struct.unpack_from("<I", data, map_at)[0] * 512
    return patched(data, table + 4, "<I", value)


def vmdk_grain(data: bytes) -> int:
    map_at = struct.unpack_from("<Q", data, 56)[0] * 512
    table = struct.unpack_from("<I", data, map_at)[0] * 512
    return int(struct.unpack_from("<I", data, table)[0])


def vdi_map(data: bytes) -> int:
    return int(struct.unpack_from("<I", data, 340)[0])


def vhd_map(data: bytes) -> int:
    return int(struct.unpack_from(">Q", data, 512 + 16)[0])


def vdi_huge(data: bytes) -> bytes:
    return patched(patched(data, 368, "<Q", 2**60), 384, "<I", 2**31)


def vhd_lie(data: bytes) -> bytes:
    end = len(data) - 512
    return resummed(patched(data, end + 48, ">Q", 2**40), end, 512, 64)


CRAFTED: list[tuple[str, str, Callable[[bytes], bytes], str]] = [
    ("parent", "vmdk-sparse", lambda d: described(d, b"parentCID=ffffffff", b"parentCID=12345678"), "parent"),
    (
        "parent-hint",
        "vmdk-sparse",
        lambda d: described(d, b"# Extent description", b'parentFileNameHint="/'),
        "parent|describes|several",
    ),
    ("flat-extent", "vmdk-sparse", lambda d: described(d, b"SPARSE", b"FLAT"), "several files|not safe"),
    (
        "other-type",
        "vmdk-sparse",
        lambda d: described(d, b'"monolithicSparse"', b'"monolithicFlat"'),
        "several files|not safe",
    ),
    ("descriptor-only", "vmdk-sparse", lambda d: patched(d, 12, "<Q", 0), "describes other files|not safe"),
    ("huge", "vmdk-sparse", lambda d: patched(d, 12, "<Q", 2**50), "unfolds"),
    ("map-outside", "vmdk-sparse", lambda d: patched(d, 56, "<Q", 2**40), "cut off"),
    ("grain-size", "vmdk-sparse", lambda d: patched(d, 20, "<Q", 7), "damaged"),
    ("grain-outside", "vmdk-sparse", lambda d: vmdk_entry(d, 2**31), "cut off"),
    ("grain-twice", "vmdk-sparse", lambda d: vmdk_entry(d, vmdk_grain(d)), "used twice"),
    ("vmdk-version", "vmdk-sparse", lambda d: patched(d, 4, "<I", 9), "version"),
    ("vdi-parent", "vdi-dynamic", lambda d: patched(d, 424, "<I", 1), "parent"),
    ("vdi-differencing", "vdi-dynamic", lambda d: patched(d, 76, "<I", 4), "another file"),
    (
        "vdi-huge",
        "vdi-dynamic",
        lambda d: patched(patched(d, 368, "<Q", 2**60), 384, "<I", 2**31),
        "contradict|unfolds|cut",
    ),
    ("vdi-fewer-blocks", "vdi-dynamic", lambda d: patched(d, 384, "<I", 3), "contradict"),
    ("vdi-block-size", "vdi-dynamic", lambda d: patched(d, 376, "<I", 512), "no VDI has"),
    ("vdi-block-outside", "vdi-dynamic", lambda d: patched(d, vdi_map(d), "<I", 2**30), "cut off"),
    ("vdi-block-twice", "vdi-dynamic", lambda d: patched(d, vdi_map(d), "<II", 0, 0), "twice"),
    ("vhd-huge", "vhd-dynamic", lambda d: vhd(d, 48, ">Q", 2**50), "shorter|unfolds"),
    ("vhd-checksum", "vhd-dynamic", lambda d: patched(d, len(d) - 512 + 48, ">Q", 5), "checksum"),
    ("vhd-differencing", "vhd-dynamic", lambda d: vhd(d, 60, ">I", 4), "another file"),
    ("vhd-parent", "vhd-dynamic", lambda d: vhd_header(d, 40, ">I", 1), "parent"),
    ("vhd-short-map", "vhd-dynamic", lambda d: vhd_header(d, 28, ">I", 1), "shorter"),
    ("vhd-block-size", "vhd-dynamic", lambda d: vhd_header(d, 32, ">I", 3), "blocks of 3"),
    ("vhd-block-outside", "vhd-dynamic", lambda d: patched(d, vhd_map(d), ">I", 2**31), "cut off"),
    ("vhd-block-twice", "vhd-dynamic", lambda d: patched(d, vhd_map(d), ">II", 4, 4), "twice"),
    (
        "vhd-fixed-lies",
        "vhd-fixed",
        lambda d: resummed(patched(d, len(d) - 464, ">Q", 2**40), len(d) - 512, 512, 64),
        "lies",
    ),
    ("not-a-number", "vhd-dynamic", lambda d: vhd(d, 48, ">Q", 1000), "size"),
]


@pytest.mark.parametrize(("make", "shape", "craft", "why"), CRAFTED, ids=[case[0] for case in CRAFTED])
def test_crafted_files_are_refused(
    tmp_path: Path, files: dict[str, Path], make: str, shape: str, craft: Callable[[bytes], bytes], why: str
) -> None:
    del make
    refusal = judge(craft(files[shape].read_bytes()), tmp_path / "out")
    assert refusal
    assert re.search(why, refusal), refusal


def test_compressed_bomb_does_not_unfold(tmp_path: Path, files: dict[str, Path]) -> None:
    """A grain that claims to be small and unpacks to more is read up to its size."""
    target = tmp_path / "out"
    verdict = convert(files["vmdk-stream"], target, "vmdk", max_bytes=MIB)
    assert "room" in (verdict.refusal or "")
    assert target.stat().st_size <= MIB


def test_upload_becomes_qcow2(node: MakeNode, files: dict[str, Path], disk: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with node().running() as core:
            for name in ("vmdk-sparse", "vdi-dynamic", "vhd-fixed"):
                data = files[name].read_bytes()
                digest = hashlib.sha256(data).hexdigest()
                image = await core.upload(name, data, sha256=digest)
                assert (image.state, image.format, image.reason) == (ImageState.READY, "qcow2", None)
                assert (image.source.format, image.source.sha256) == (SHAPES[name][1], digest)
                stored = await core.read(image.id)
                assert (image.size_bytes, image.uploaded_bytes) == (len(stored), len(stored))
                assert image.sha256 == hashlib.sha256(stored).hexdigest() != digest
                (tmp_path / name).write_bytes(stored)
                qemu_img("compare", "-f", "raw", "-F", "qcow2", disk, tmp_path / name)
                assert core.files() == {f"images/{one.id}" for one in await images(core)}

    asyncio.run(main())


async def images(core: Any) -> list[Any]:
    return [await core.call(GetDiskImage(id=ImageId(path.name))) for path in (core.state / "images").iterdir()]


def test_conversion_without_room_leaves_nothing(node: MakeNode, files: dict[str, Path]) -> None:
    data = files["vmdk-stream"].read_bytes()

    async def main() -> None:
        async with node(max_image_bytes=len(data)).running() as core:
            image = await core.upload("x", data)
            assert image.state is ImageState.FAILED
            assert "room" in (image.reason or "")
            async with asyncio.timeout(10):
                while core.files():
                    await asyncio.sleep(0.005)

    asyncio.run(main())
