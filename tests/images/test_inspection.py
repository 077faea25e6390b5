"""What is taken as a disk image. Crafted files are built here, byte by byte or by ``qemu-img``."""

from __future__ import annotations

import asyncio
import io
import os
import re
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanocore.model.image import ImageState
from nanoplugins.images import inspect as inspect_module
from nanoplugins.images.formats import Verdict, examine
from nanoplugins.images.inspection import inspect_image

MakeNode = Callable[..., Any]
MIB = 1024**2
GIB = 1024**3
LIMIT = 1024 * GIB

SECRET = b"root:x:0:0:the secret of the core\n"


def inspect(path: Path, *, max_virtual_bytes: int = LIMIT, timeout_seconds: float = 30) -> Verdict:
    return asyncio.run(inspect_image(path, max_virtual_bytes=max_virtual_bytes, timeout_seconds=timeout_seconds))


def qemu_img(*arguments: object) -> None:
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, capture_output=True)


def patched(data: bytes, offset: int, layout: str, *values: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(layout, changed, offset, *values)
    return bytes(changed)


def mbr(*entries: bytes, start: bytes = b"") -> bytes:
    sector = bytearray(512)
    sector[: len(start)] = start
    for index, entry in enumerate(entries):
        sector[446 + 16 * index : 462 + 16 * index] = entry
    sector[510:] = b"\x55\xaa"
    return bytes(sector)


LINUX = struct.pack("<B3BB3BII", 0x80, 0, 2, 0, 0x83, 0, 0, 0, 1, 2047)
GPT = struct.pack("<B3BB3BII", 0, 0, 2, 0, 0xEE, 0, 0, 0, 1, 2047)
BODY = bytes(MIB - 512)


# -- taken


def test_good_images_are_taken(tmp_path: Path, qcow2: bytes, raw: bytes) -> None:
    path = tmp_path / "image"
    path.write_bytes(qcow2)
    assert inspect(path) == Verdict(format="qcow2", virtual_size_bytes=8 * MIB)
    path.write_bytes(raw)
    assert inspect(path) == Verdict(format="raw", virtual_size_bytes=MIB)
    path.write_bytes(mbr(GPT) + BODY)
    assert inspect(path) == Verdict(format="raw", virtual_size_bytes=MIB)


@pytest.mark.parametrize(
    "options",
    ["compat=0.10", "compat=1.1", "compression_type=zstd", "cluster_size=512", "cluster_size=2M", "lazy_refcounts=on"],
)
@pytest.mark.parametrize("is_compressed", [False, True])
def test_every_plain_kind_of_qcow2_is_taken(tmp_path: Path, options: str, is_compressed: bool) -> None:  # noqa: FBT001
    source, path = tmp_path / "source", tmp_path / "image"
    source.write_bytes(os.urandom(3 * MIB) + b"text " * MIB + bytes(6 * MIB))
    qemu_img("convert", *(["-c"] if is_compressed else []), "-f", "raw", "-O", "qcow2", "-o", options, source, path)
    assert inspect(path) == Verdict(format="qcow2", virtual_size_bytes=14 * MIB)


# -- refused: the four shapes that made a probing qemu-img leak a file of the host, and their kin


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(SECRET.ljust(512, b"\n"))
    return path


def backing_file(path: Path, secret: Path) -> None:
    qemu_img("create", "-f", "qcow2", "-F", "raw", "-b", secret, path, "1M")


def backing_file_v2(path: Path, secret: Path) -> None:
    qemu_img("create", "-f", "qcow2", "-o", "compat=0.10", "-F", "raw", "-b", secret, path, "1M")


def data_file(path: Path, secret: Path) -> None:
    other = path.with_name("other.raw")
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={other},data_file_raw=on", path, "1M")
    qemu_img("amend", "-f", "qcow2", "-o", f"data_file={secret},data_file_raw=on", path)


def data_file_hidden_in_an_extension(path: Path, secret: Path) -> None:
    data_file(path, secret)
    path.write_bytes(patched(path.read_bytes(), 72, ">Q", 0))


def vmdk_descriptor(path: Path, secret: Path) -> None:
    path.write_text(
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n"
        f'createType="monolithicFlat"\nRW 2048 FLAT "{secret}" 0\nddb.adapterType = "ide"\n'
    )


def vmdk_descriptor_padded(path: Path, secret: Path) -> None:
    vmdk_descriptor(path, secret)
    path.write_bytes(path.read_bytes().ljust(MIB, b"\n"))


def vmdk_descriptor_with_a_boot_sector(path: Path, secret: Path) -> None:
    vmdk_descriptor(path, secret)
    path.write_bytes(mbr(LINUX, start=path.read_bytes()[:440]) + BODY)


def qcow2_with_a_boot_sector(path: Path, secret: Path) -> None:
    backing_file(path, secret)
    path.write_bytes(mbr(LINUX, start=path.read_bytes()[:440]) + BODY)


REFUSED_SHAPES = [
    (backing_file, "backing file"),
    (backing_file_v2, "backing file"),
    (data_file, "another file"),
    (data_file_hidden_in_an_extension, "another file"),
    (vmdk_descriptor, "names other files"),
    (vmdk_descriptor_padded, "names other files"),
    (vmdk_descriptor_with_a_boot_sector, "VMDK descriptor"),
    (qcow2_with_a_boot_sector, "several things at once"),
]


@pytest.mark.parametrize(("make", "why"), REFUSED_SHAPES, ids=[make.__name__ for make, _ in REFUSED_SHAPES])
def test_crafted_shapes_are_refused(tmp_path: Path, secret: Path, make: Callable[[Path, Path], None], why: str) -> None:
    path = tmp_path / "image"
    make(path, secret)
    refusal = inspect(path).refusal
    assert refusal is not None
    assert re.search(why, refusal), refusal
    assert SECRET.decode().strip() not in refusal


def test_crafted_shapes_fail_an_upload_and_leave_nothing(node: MakeNode, tmp_path: Path, secret: Path) -> None:
    async def main() -> None:
        async with node().running() as core:
            for make, _ in REFUSED_SHAPES:
                path = tmp_path / make.__name__
                make(path, secret)
                image = await core.upload(make.__name__, path.read_bytes())
                assert image.state is ImageState.FAILED
                assert "refused" in (image.reason or "")
            async with asyncio.timeout(10):
                while core.files():
                    await asyncio.sleep(0.005)

    asyncio.run(main())


@pytest.mark.parametrize("format", ["vhdx", "qed", "luks"])
def test_other_formats_are_refused(tmp_path: Path, format: str) -> None:
    path = tmp_path / "image"
    options = ["--object", "secret,id=s,data=passphrase", "-o", "key-secret=s,iter-time=10"] if format == "luks" else []
    qemu_img("create", "-f", format, *options, path, "1M")
    assert inspect(path).refusal is not None


def test_fixed_vhd_with_a_boot_sector_is_no_raw_disk(tmp_path: Path) -> None:
    path = tmp_path / "image"
    qemu_img("create", "-f", "vpc", "-o", "subformat=fixed,force_size", path, "1M")
    data = bytearray(path.read_bytes())
    data[:512] = mbr(LINUX)
    path.write_bytes(data)
    assert inspect(path) == Verdict(format="vhd", virtual_size_bytes=MIB)
    path.write_bytes(patched(bytes(data), len(data) - 512 + 48, ">Q", 5))
    assert "checksum" in (inspect(path).refusal or "")


def test_encrypted_qcow2_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image"
    secret = ["--object", "secret,id=s,data=passphrase"]
    qemu_img(
        "create",
        "-f",
        "qcow2",
        *secret,
        "-o",
        "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=300",
        path,
        "1M",
    )
    assert "encrypted" in (inspect(path).refusal or "")


def test_internal_snapshots_are_refused(tmp_path: Path, qcow2: bytes) -> None:
    path = tmp_path / "image"
    path.write_bytes(qcow2)
    qemu_img("snapshot", "-c", "one", path)
    assert "snapshot" in (inspect(path).refusal or "")


def iso(start: bytes = b"") -> bytes:
    head = bytearray(64 * 1024)
    head[: len(start)] = start
    head[32768 : 32768 + 7] = b"\x01CD001\x01"
    struct.pack_into("<I", head, 32768 + 80, 32)
    struct.pack_into("<H", head, 32768 + 128, 2048)
    return bytes(head)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "."),
        (b"\0", "."),
        (b"QFI\xfb", "."),
        (b"QFI\xfb" + bytes(200), "."),
        (bytes(MIB), "no known disk image"),
        (SECRET * 100, "."),
        (b"\x7fELF" + bytes(MIB - 4), "no known disk image"),
        (mbr() + BODY, "not safe"),
        (mbr(GPT, LINUX) + BODY, "not safe"),
        (mbr(b"\x01" + LINUX[1:]) + BODY, "not safe"),
        (mbr(LINUX) + BODY[:-1], "multiple of 512"),
        (mbr(LINUX), "."),
        (iso(), "media image"),
        (iso(mbr(LINUX)), "media image"),
    ],
    ids=range(14),
)
def test_what_is_no_disk_image(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "image"
    path.write_bytes(data)
    verdict = inspect(path)
    if data == mbr(LINUX):
        assert verdict == Verdict(format="raw", virtual_size_bytes=512)
    else:
        assert re.search(why, verdict.refusal or ""), verdict


# -- bombs and damage


@pytest.mark.parametrize("size", [LIMIT + 512, 2**63, 2**64 - 512, 0, 1000])
def test_virtual_size_beyond_reason(tmp_path: Path, qcow2: bytes, size: int) -> None:
    path = tmp_path / "image"
    path.write_bytes(patched(qcow2, 24, ">Q", size))
    assert "size" in (inspect(path).refusal or "") or "unfolds" in (inspect(path).refusal or "")


def test_raw_beyond_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(mbr(LINUX) + BODY)
    assert "allowed" in (inspect(path, max_virtual_bytes=MIB - 512).refusal or "")


@pytest.mark.parametrize(
    ("offset", "layout", "value"),
    [
        (4, ">I", 1),
        (4, ">I", 4),
        (20, ">I", 8),
        (20, ">I", 22),
        (20, ">I", 2**32 - 1),
        (36, ">I", 0),
        (36, ">I", 2**32 - 1),
        (40, ">Q", 2**63),
        (40, ">Q", 2**64 - 8),
        (60, ">I", 1),
        (72, ">Q", 1 << 1),
        (72, ">Q", 1 << 4),
        (72, ">Q", 1 << 40),
        (100, ">I", 0),
        (100, ">I", 2**32 - 1),
    ],
)
def test_damaged_header_is_refused(tmp_path: Path, qcow2: bytes, offset: int, layout: str, value: int) -> None:
    path = tmp_path / "image"
    path.write_bytes(patched(qcow2, offset, layout, value))
    assert inspect(path).refusal is not None


def l1(data: bytes) -> int:
    return int(struct.unpack_from(">Q", data, 40)[0])


def l2(data: bytes) -> int:
    return int(struct.unpack_from(">Q", data, l1(data))[0]) & 0x00FFFFFFFFFFFE00


def test_cluster_map_that_points_out_of_the_file(qcow2: bytes) -> None:
    for position, value in (
        (l1(qcow2), 1 << 40),
        (l1(qcow2), l2(qcow2) + 512),
        (l2(qcow2), 1 << 40),
        (l2(qcow2), 1536),
    ):
        data = patched(qcow2, position, ">Q", value)
        assert examine(io.BytesIO(data), len(data), LIMIT).refusal is not None


def test_table_used_by_thousands_is_read_once(tmp_path: Path) -> None:
    """A tiny file that would cost hours if every reference were followed."""
    path = tmp_path / "image"
    qemu_img("create", "-f", "qcow2", path, f"{LIMIT}")
    data = bytearray(path.read_bytes())
    start, count = l1(bytes(data)), struct.unpack_from(">I", data, 36)[0]
    for index in range(count):
        struct.pack_into(">Q", data, start + 8 * index, 65536)
    path.write_bytes(data)
    before = time.monotonic()
    assert "twice" in (inspect(path).refusal or "")
    assert time.monotonic() - before < 20


@pytest.mark.parametrize("kept", [0.05, 0.2, 0.5, 0.9])
def test_cut_off_image_is_refused(tmp_path: Path, qcow2: bytes, kept: float) -> None:
    path = tmp_path / "image"
    path.write_bytes(qcow2[: int(len(qcow2) * kept)])
    assert "cut off" in (inspect(path).refusal or "")


def test_every_cut_of_the_header_is_refused(qcow2: bytes) -> None:
    for length in range(0, 4096, 7):
        data = qcow2[:length]
        assert examine(io.BytesIO(data), length, LIMIT).refusal is not None


# -- the process


def test_inspection_that_hangs_is_ended(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "image"
    path.write_bytes(raw)
    assert "longer" in (inspect(path, timeout_seconds=0.001).refusal or "")


def test_link_is_not_followed(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "image").write_bytes(raw)
    (tmp_path / "link").symlink_to(tmp_path / "image")
    with pytest.raises(OSError, match="symbolic"):
        inspect(tmp_path / "link")


CONFINED = """
import os, socket, sys
from nanoplugins.images.inspect import confine
confine(1)
def refused(act):
    try:
        act()
    except OSError:
        return True
    return False
assert refused(lambda: open("/etc/hostname"))
assert refused(socket.socket)
assert refused(lambda: os.pipe())
assert os.geteuid() != 0
try:
    bytearray(1 << 30)
except MemoryError:
    pass
else:
    raise SystemExit("memory is not limited")
sys.stdout.write("confined")
sys.stdout.flush()
while True:
    pass
"""


def test_confined_process_opens_nothing_and_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CONFINED], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.stdout == "confined", done.stderr
    assert done.returncode < 0
    assert inspect_module.MEMORY_BYTES <= GIB


def test_verdict_of_a_crashing_inspection_is_a_refusal(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "image"
    path.write_bytes(raw)
    verdict = asyncio.run(inspect_image(path, max_virtual_bytes="x", timeout_seconds=30))  # type: ignore[arg-type]
    assert "failed with status 1" in (verdict.refusal or "")
