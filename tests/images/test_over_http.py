"""Images over the public API of a whole node: downloads with ranges, and the command line."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from nanocore.errors import ErrorCode, NanoError
from nanocore.testing.kernel_process import KernelProcess

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]
NANO = Path(sys.executable).with_name("nano")
ISO = Path("/usr/lib/memtest86+/memtest86+x64.iso")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    process = KernelProcess(tmp_path_factory.mktemp("node"))
    process.start()
    try:
        process.wait_ready()
        yield process
    finally:
        process.stop()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "debian.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "16M"], check=True)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 5 0 3M", path], check=True, capture_output=True)
    return path


def fetch(kernel: KernelProcess, path: str, method: str = "GET", **headers: str) -> httpx2.Response:
    client = kernel.client
    given = client.endpoint.headers("GET") | {name.replace("_", "-"): value for name, value in headers.items()}
    return client._http.request(method, client.endpoint.base_url + path, headers=given)


def nano(kernel: KernelProcess, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(NANO), "--root", str(kernel.root), "-o", "json", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "HOME": str(kernel.root)},
    )


def test_download_whole_and_in_parts(kernel: KernelProcess, disk: Path) -> None:
    data = disk.read_bytes()
    image = kernel.client.upload_disk_image(disk, "Debian ☃/12")
    path = f"/disk-images/{image['id']}/content"
    whole = fetch(kernel, path)
    assert (whole.status_code, whole.content) == (200, data)
    assert whole.headers["Content-Length"] == str(len(data))
    assert whole.headers["Content-Disposition"].startswith('attachment; filename="Debian_12-1.qcow2"; filename*=UTF-8')
    etag = whole.headers["ETag"]
    assert etag == f'"{hashlib.sha256(data).hexdigest()}"'
    head = fetch(kernel, path, "HEAD")
    assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", str(len(data)))
    for wanted, part in (
        ("bytes=0-99", data[:100]),
        ("bytes=1000000-", data[1000000:]),
        ("bytes=-5", data[-5:]),
        (f"bytes=5-{10**15}", data[5:]),
    ):
        answer = fetch(kernel, path, Range=wanted)
        assert (answer.status_code, answer.content) == (206, part), wanted
        start = len(data) - len(part) if wanted != "bytes=0-99" else 0
        assert answer.headers["Content-Range"] == f"bytes {start}-{start + len(part) - 1}/{len(data)}"
    for ignored in ("bytes=1-2,5-6", "lines=1-2", "bytes=-", "bytes=9-3", "bytes=x"):
        assert fetch(kernel, path, Range=ignored).status_code == 200, ignored
    assert fetch(kernel, path, Range=f"bytes={len(data)}-").status_code == 416
    assert fetch(kernel, path, Range="bytes=0-9", If_Range='"other"').status_code == 200
    assert fetch(kernel, path, If_None_Match=etag).status_code == 304
    assert fetch(kernel, path, Authorization="Bearer nonsense").status_code == 401
    assert fetch(kernel, f"/media-images/{image['id']}/content").status_code == 404
    unfinished = kernel.client.request("POST", "/disk-images", json={"name": "unfinished", "size_bytes": 5})
    assert fetch(kernel, f"/disk-images/{unfinished['id']}/content").status_code == 409


def test_no_download_without_a_login(kernel: KernelProcess, disk: Path) -> None:
    image = kernel.client.upload_disk_image(disk, "secret")
    port = (kernel.root / "run/nano/restapi/address").read_text().strip()
    url = f"https://127.0.0.1:{port}/api/v2/disk-images/{image['id']}/content"
    with httpx2.Client(verify=False) as stranger:
        for method in ("GET", "HEAD"):
            assert stranger.request(method, url).status_code == 401


def test_commands(kernel: KernelProcess, disk: Path, tmp_path: Path) -> None:
    def ok(*arguments: object) -> Any:
        done = nano(kernel, *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    media = ok("media-image", "upload", ISO, "--name", "memtest", "--tag", "tools", "--description", "Memory test")
    assert (media["format"], media["tags"], media["size_bytes"]) == ("iso", ["tools"], ISO.stat().st_size)
    assert ok("media-image", "update", "memtest", "--tag", "rescue")["tags"] == ["rescue"]
    assert [item["name"] for item in ok("media-image", "list")] == ["memtest"]
    # What an earlier attempt left is gone on from.
    target = tmp_path / "back.iso"
    target.with_name("back.iso.part").write_bytes(ISO.read_bytes()[:1_000_000])
    ok("media-image", "download", "memtest", target)
    assert target.read_bytes() == ISO.read_bytes()
    target.with_name("back.iso.part").write_bytes(b"something else")
    wrong = nano(kernel, "media-image", "download", "memtest", target)
    assert (wrong.returncode, "SHA-256" in wrong.stderr) == (5, True)
    ok("media-image", "delete", "--yes", "memtest")
    first = ok("disk-image", "upload", disk, "--name", "versions")
    second = ok("disk-image", "upload", disk, "--name", "versions")
    assert (first["version"], second["version"]) == (1, 2)
    assert ok("disk-image", "get", "versions")["id"] == second["id"]
    kernel.client.request("POST", "/disk-images", json={"name": "versions", "size_bytes": 5})
    assert ok("disk-image", "get", "versions")["id"] == second["id"], "the newest is not ready"


def test_delete_is_refused_while_a_clone_needs_it(kernel: KernelProcess, disk: Path) -> None:
    client = kernel.client
    image = client.upload_disk_image(disk, "cloned")
    body = {"name": "clone-1", "image_id": image["id"], "memory_bytes": 64 * 1024**2}
    made = client.wait(client.request("POST", "/instances", json=body))
    with pytest.raises(NanoError, match="instance clone-1") as caught:
        client.request("DELETE", f"/disk-images/{image['id']}")
    assert caught.value.code is ErrorCode.WRONG_STATE
    client.wait(client.request("DELETE", f"/instances/{made['result']['instance_id']}"))
    client.request("DELETE", f"/disk-images/{image['id']}")
