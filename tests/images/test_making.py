"""Images built from instances and imported from URLs, on a whole node with simulated drivers."""

from __future__ import annotations

import hashlib
import http.server
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nanocore.errors import ErrorCode, NanoError
from nanocore.testing.kernel_process import SIM_CONFIG, KernelProcess, wait_until
from nanocore.testing.kill_points import killed_at, record_points

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]
IMPORTS = '\n[images]\nimport_allowed_networks = ["127.0.0.0/8"]\n'
ENDED = ("succeeded", "failed", "cancelled")
Json = dict[str, Any]


class Site(http.server.ThreadingHTTPServer):
    """Serves one file; holds it back half-way while ``is_holding``."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.go_on = threading.Event()
        self.go_on.set()
        self.is_asked = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.daemon_threads = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/disk.img?signature=secret"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Site

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        data = self.server.data
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])
        self.server.is_asked.set()
        self.server.go_on.wait(60)
        try:
            self.wfile.write(data[len(data) // 2 :])
        except OSError:
            return


@pytest.fixture
def site(qcow2: bytes) -> Iterator[Site]:
    made = Site(qcow2)
    thread = threading.Thread(target=lambda: made.serve_forever(poll_interval=0.01))
    thread.start()
    yield made
    made.go_on.set()
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[KernelProcess]:
    process = KernelProcess(tmp_path / "node", SIM_CONFIG + IMPORTS)
    try:
        yield process
    finally:
        process.stop()


@pytest.fixture
def kernel(stopped: KernelProcess) -> KernelProcess:
    stopped.start()
    stopped.wait_ready()
    return stopped


def make_instance(kernel: KernelProcess, qcow2: bytes, *, is_started: bool = True) -> Json:
    file = kernel.root / "small.qcow2"
    file.write_bytes(qcow2)
    image = kernel.client.upload_disk_image(file, "small")
    body = {"name": "web-1", "image_id": image["id"], "memory_bytes": 64 * 1024**2, "is_started": is_started}
    made = kernel.client.wait(kernel.client.request("POST", "/instances", json=body))
    found: Json = kernel.client.get(f"/instances/{made['result']['instance_id']}")
    return found


def build(kernel: KernelProcess, instance: Json, **more: Any) -> Json:
    body = {"name": "golden", "from_instance_id": instance["id"], **more}
    made: Json = kernel.client.request("POST", "/disk-images", json=body)
    return made


def image_files(kernel: KernelProcess) -> set[str]:
    folder = kernel.root / "var/lib/nano/images"
    return {path.name for name in ("uploads", "images") for path in (folder / name).iterdir()}


def check_nothing_is_left(kernel: KernelProcess, kept: int) -> None:
    """Assert that there are ``kept`` images, all ready, their files and nothing else, and no volume too many."""
    images = list(kernel.client.items("/disk-images"))
    assert [image["state"] for image in images] == ["ready"] * kept
    assert image_files(kernel) == {image["id"] for image in images}
    disks = {disk["id"] for instance in kernel.client.items("/instances") for disk in instance["disks"]}
    assert {volume["id"] for volume in kernel.client.items("/volumes")} == disks
    saved = kernel.root / "var/lib/nano/sim/volumes.json"
    assert sum(saved.read_text().count(f'"id":"{id}"') for id in disks) == saved.read_text().count('"folder":')
    assert kernel.client.get("/system")["problems"] == []


@pytest.mark.parametrize("is_started", [True, False])
def test_build_from_an_instance(kernel: KernelProcess, qcow2: bytes, is_started: bool) -> None:  # noqa: FBT001
    instance = make_instance(kernel, qcow2, is_started=is_started)
    operation = build(kernel, instance, description="made", tags=["golden"])
    assert {(each["kind"], each["id"]) for each in operation["resources"]} >= {("instance", instance["id"])}
    done = kernel.client.wait(operation)
    image = kernel.client.get(f"/disk-images/{done['result']['image_id']}")
    assert (image["name"], image["state"], image["tags"], image["size_bytes"]) == (
        "golden",
        "ready",
        ["golden"],
        1024**2,
    )
    assert image["uploaded_bytes"] == image["size_bytes"]
    source = image["source"]
    assert (source["kind"], source["instance_id"], source["instance"]) == ("instance", instance["id"], "web-1")
    assert source["is_consistent"] is done["result"]["is_consistent"]
    assert is_started or source["is_consistent"]
    check_nothing_is_left(kernel, kept=2)
    again = kernel.client.wait(build(kernel, instance))
    assert kernel.client.get(f"/disk-images/{again['result']['image_id']}")["version"] == 2


def refused(kernel: KernelProcess, body: Json, code: ErrorCode, match: str, path: str = "/disk-images") -> None:
    with pytest.raises(NanoError, match=match) as caught:
        kernel.client.request("POST", path, json=body)
    assert caught.value.code is code, caught.value


def test_what_is_refused_at_once(kernel: KernelProcess, qcow2: bytes) -> None:
    instance = make_instance(kernel, qcow2)
    kernel.client.wait(kernel.client.request("POST", f"/instances/{instance['id']}/actions/pause", json={}))
    paused = {"name": "x", "from_instance_id": instance["id"]}
    refused(kernel, paused, ErrorCode.WRONG_STATE, "web-1 is paused")
    refused(kernel, paused | {"sha256": "0" * 64}, ErrorCode.INVALID_ARGUMENT, "sha256")
    nobody = "00000000-0000-0000-0000-000000000000"
    refused(kernel, {"name": "x", "from_instance_id": nobody}, ErrorCode.NOT_FOUND, nobody)
    refused(kernel, {"name": "x"}, ErrorCode.INVALID_ARGUMENT, "exactly one")
    both = {"name": "x", "size_bytes": 5, "import_url": "http://example.org/"}
    refused(kernel, both, ErrorCode.INVALID_ARGUMENT, "exactly one")
    refused(kernel, {"name": "x", "import_url": "file:///etc/passwd"}, ErrorCode.INVALID_ARGUMENT, "http")
    refused(kernel, {"name": " a", "import_url": "http://example.org/"}, ErrorCode.INVALID_ARGUMENT, "printable")
    refused(kernel, {"name": "x"}, ErrorCode.INVALID_ARGUMENT, "exactly one", "/media-images")
    check_nothing_is_left(kernel, kept=1)


def test_import(kernel: KernelProcess, site: Site, qcow2: bytes) -> None:
    digest = hashlib.sha256(qcow2).hexdigest()
    body = {"name": "debian", "import_url": site.url, "sha256": digest}
    done = kernel.client.wait(kernel.client.request("POST", "/disk-images", json=body))
    image = kernel.client.get(f"/disk-images/{done['result']['image_id']}")
    assert (image["state"], image["sha256"], image["format"]) == ("ready", digest, "qcow2")
    assert (image["source"]["kind"], image["source"]["url"]) == ("url", site.url.partition("?")[0])
    assert "secret" not in str([*kernel.client.items("/operations")])
    check_nothing_is_left(kernel, kept=1)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"import_url": "http://127.0.0.1:9/nobody"}, "could not be fetched"),
        ({"import_url": "http://10.255.255.1/"}, "private"),
        ({"import_url": "http://169.254.169.254/latest/meta-data"}, "link-local"),
        ({"import_url": "http://nobody.invalid/"}, "could not be fetched"),
    ],
)
def test_import_that_fails_leaves_nothing(kernel: KernelProcess, site: Site, change: Json, why: str) -> None:
    body = {"name": "debian", "import_url": site.url} | change
    with pytest.raises(NanoError, match=why):
        kernel.client.wait(kernel.client.request("POST", "/disk-images", json=body))
    check_nothing_is_left(kernel, kept=0)


def test_import_of_no_image_leaves_nothing(kernel: KernelProcess, site: Site) -> None:
    site.data = b"<html>" * 1000
    for path in ("/disk-images", "/media-images"):
        with pytest.raises(NanoError, match="refused"):
            kernel.client.wait(kernel.client.request("POST", path, json={"name": "x", "import_url": site.url}))
    check_nothing_is_left(kernel, kept=0)
    assert list(kernel.client.items("/media-images")) == []


@pytest.mark.needs("root")
def test_full_disk_ends_imports_and_builds_with_nothing_left(tmp_path: Path, site: Site, qcow2: bytes) -> None:
    site.data = qcow2 + bytes(8 * 1024**2)
    process = KernelProcess(tmp_path / "node", SIM_CONFIG + IMPORTS + "reserve_bytes = 0\n")
    folder = process.root / "var/lib/nano/images"
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)
    try:
        process.start()
        process.wait_ready()
        instance = make_instance(process, qcow2)
        for body in ({"import_url": site.url}, {"from_instance_id": instance["id"]}):
            with pytest.raises(NanoError) as caught:
                process.client.wait(process.client.request("POST", "/disk-images", json={"name": "x"} | body))
            assert caught.value.code is ErrorCode.NO_CAPACITY, caught.value
            check_nothing_is_left(process, kept=1)
    finally:
        process.stop()
        subprocess.run(["umount", folder], check=True)


def test_cancelled_import_leaves_nothing(kernel: KernelProcess, site: Site) -> None:
    site.go_on.clear()
    operation = kernel.client.request("POST", "/disk-images", json={"name": "x", "import_url": site.url})
    assert site.is_asked.wait(60)
    wait_until(lambda: bool([*kernel.client.items("/disk-images")]), what="the record")
    (image,) = kernel.client.items("/disk-images")
    assert image["state"] == "creating"
    with pytest.raises(NanoError, match="cancel that"):
        kernel.client.request("DELETE", f"/disk-images/{image['id']}")
    kernel.client.request("DELETE", f"/operations/{operation['id']}")
    wait_until(lambda: kernel.client.get(f"/operations/{operation['id']}")["state"] == "cancelled", what="its end")
    check_nothing_is_left(kernel, kept=0)


def kill_everywhere(kernel: KernelProcess, work: Callable[[KernelProcess], object], least: int) -> int:
    """Kill ``kernel`` at each fail point of ``work``, which makes an image; afterwards there is one, or nothing."""
    # What the network tells its cells goes on beside it, at its own times.
    points = [point for point in record_points(kernel, work) if "network." not in point]
    assert len(points) >= least, points
    kernel.start()
    kernel.wait_ready()
    remove_made(kernel)
    kernel.stop()
    for point in points:
        assert killed_at(kernel, point, work), f"{point} was not reached"
        kernel.start()
        kernel.wait_ready()
        wait_until(lambda: settled(kernel), what=f"peace after {point}")
        made = [image for image in kernel.client.items("/disk-images") if image["name"] == "made"]
        states = {operation["state"] for operation in kernel.client.items("/operations")}
        assert len(made) <= 1, point
        assert states <= set(ENDED), point
        check_nothing_is_left(kernel, kept=len(made) + len([*kernel.client.items("/instances")]))
        remove_made(kernel)
        kernel.stop()
    return len(points)


def remove_made(kernel: KernelProcess) -> None:
    for image in kernel.client.items("/disk-images", name="made"):
        kernel.client.request("DELETE", f"/disk-images/{image['id']}")


def settled(kernel: KernelProcess) -> bool:
    instances = list(kernel.client.items("/instances"))
    if any(item["operation_id"] or item["state"]["observed"] == "unknown" for item in instances):
        return False
    return {operation["state"] for operation in kernel.client.items("/operations")} <= set(ENDED)


@pytest.mark.full
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("is_started", [True, False])
def test_build_killed_at_every_point(stopped: KernelProcess, qcow2: bytes, is_started: bool) -> None:  # noqa: FBT001
    stopped.start()
    stopped.wait_ready()
    make_instance(stopped, qcow2, is_started=is_started)
    stopped.stop()

    def work(kernel: KernelProcess) -> None:
        wait_until(lambda: settled(kernel), what="the cell's word")
        (instance,) = kernel.client.items("/instances")
        kernel.client.wait(build(kernel, instance, name="made"), timeout_seconds=60)

    count = kill_everywhere(stopped, work, least=20)
    print(f"image.build, {'running' if is_started else 'stopped'}: killed at {count} fail points, nothing left over")


@pytest.mark.full
@pytest.mark.timeout(1500)
def test_import_killed_at_every_point(stopped: KernelProcess, site: Site) -> None:
    def work(kernel: KernelProcess) -> None:
        body = {"name": "made", "import_url": site.url}
        kernel.client.wait(kernel.client.request("POST", "/disk-images", json=body), timeout_seconds=60)

    count = kill_everywhere(stopped, work, least=12)
    print(f"image.import: killed at {count} fail points, nothing left over")
