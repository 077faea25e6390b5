"""``kill -9`` at every fail point of an upload; afterwards nothing acknowledged is lost and nothing is left over."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanocore.capabilities.images import GetUpload
from nanocore.ids import ImageId
from nanocore.model.image import ImageState

MakeNode = Callable[..., Any]

UPLOADER = """
import asyncio, hashlib, importlib.util, sys, structlog
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
from pathlib import Path
spec = importlib.util.spec_from_file_location("node_kit", sys.argv[1])
kit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kit)

async def main():
    data = Path(sys.argv[3]).read_bytes()
    async with kit.Node(Path(sys.argv[2]), [kit.NodeRole.CORE]).running() as core:
        id = await core.create("disk", len(data), sha256=hashlib.sha256(data).hexdigest())
        print(id, flush=True)
        state = await core.append(id, 0, data[:100_000])
        print(state.offset_bytes, flush=True)
        state = await core.append(id, 100_000, data[100_000:])
        print(state.offset_bytes, flush=True)
        await core.wait(id)

asyncio.run(main())
"""


def upload(root: Path, data: Path, point: str) -> tuple[int, list[str]]:
    """Run an upload in a process that dies at ``point``; return its status and what it printed."""
    kit = Path(__file__).with_name("conftest.py")
    done = subprocess.run(
        [sys.executable, "-c", UPLOADER, kit, root, data],
        env=os.environ | {"NANO_FAIL_POINT": point},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.split()


@pytest.mark.parametrize(
    ("point", "acknowledged"),
    [
        ("images/upload/synced", 0),
        ("images/upload/acknowledged", 100_000),
        ("images/inspect/judged", None),
        ("images/inspect/recorded", None),
    ],
)
def test_killed_upload_goes_on(
    node: MakeNode, tmp_path: Path, qcow2: bytes, point: str, acknowledged: int | None
) -> None:
    data = tmp_path / "data"
    data.write_bytes(qcow2)
    status, printed = upload(tmp_path / "core", data, point)
    assert status == -signal.SIGKILL
    id = ImageId(printed[0])

    async def main() -> None:
        async with node().running() as core:
            if acknowledged is not None:
                state = await core.call(GetUpload(id=id))
                assert state.offset_bytes == acknowledged
                await core.append(id, acknowledged, qcow2[acknowledged:])
            image = await core.wait(id)
            assert (image.state, image.format) == (ImageState.READY, "qcow2")
            assert image.sha256 == hashlib.sha256(qcow2).hexdigest()
            assert await core.read(id) == qcow2
            assert core.files() == {f"images/{id}"}

    asyncio.run(main())


@pytest.mark.parametrize("point", ["images/inspect/converted", "images/inspect/judged", "images/inspect/recorded"])
def test_killed_conversion_goes_on(node: MakeNode, tmp_path: Path, qcow2: bytes, point: str) -> None:
    """Also the digest that was announced, which the converted file does not have, is still checked rightly."""
    (tmp_path / "good").write_bytes(qcow2)
    data = tmp_path / "data"
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "vdi", tmp_path / "good", data], check=True)
    came = hashlib.sha256(data.read_bytes()).hexdigest()
    status, printed = upload(tmp_path / "core", data, point)
    assert status == -signal.SIGKILL
    id = ImageId(printed[0])

    async def main() -> None:
        async with node().running() as core:
            image = await core.wait(id)
            assert (image.state, image.format, image.source.sha256) == (ImageState.READY, "qcow2", came)
            stored = await core.read(id)
            assert image.sha256 == hashlib.sha256(stored).hexdigest()
            assert core.files() == {f"images/{id}"}
            (tmp_path / "stored").write_bytes(stored)

    asyncio.run(main())
    same = ["qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", tmp_path / "good", tmp_path / "stored"]
    subprocess.run(same, check=True, capture_output=True)


def test_the_uploader_lives_without_a_fail_point(tmp_path: Path, qcow2: bytes) -> None:
    data = tmp_path / "data"
    data.write_bytes(qcow2)
    status, printed = upload(tmp_path / "core", data, "")
    assert (status, printed[1:]) == (0, ["100000", str(len(qcow2))])
