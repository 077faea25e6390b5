"""The parts of the demo image, and a real boot of it."""

from __future__ import annotations

import http.client
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nanoplugins.quickstart import demo_image
from nanoplugins.quickstart.cpio import Archive

BOOT_SECONDS = 90


def test_archive_is_read_by_cpio(tmp_path: Path) -> None:
    archive = Archive()
    archive.add_console()
    archive.add_file("etc/deep/file", b"odd", 0o755)
    archive.add_file("etc/deep/other", b"")
    archive.add_link("bin/sh", "/bin/busybox")
    listed = subprocess.run(
        ["busybox", "cpio", "-itv"], input=archive.to_bytes(), capture_output=True, check=True
    ).stdout.decode()
    lines = [line.split() for line in listed.splitlines()]
    assert [(line[0], line[-1]) for line in lines if line[-1] == "etc/deep/file"] == [("-rwxr-xr-x", "etc/deep/file")]
    assert sum(line[-1] == "etc/deep" for line in lines) == 1
    assert any(line[0] == "crw-------" and line[-1] == "dev/console" for line in lines)
    assert any(line[-3:] == ["bin/sh", "->", "/bin/busybox"] for line in lines)


def test_modules_come_after_what_they_need() -> None:
    needs = {"net": ["failover", "ring"], "failover": ["core"], "ring": ["core"], "core": [], "pci": ["ring"]}
    asked: list[str] = []

    def needed(name: str) -> list[str]:
        asked.append(name)
        return needs[name]

    order = demo_image.modules_in_order(["net", "pci"], needed)
    assert sorted(order) == sorted(needs)
    for name, before in needs.items():
        assert all(order.index(each) < order.index(name) for each in before)


def test_dependencies_are_read_from_a_module() -> None:
    assert demo_image.needed_by(b"x\0license=GPL\0depends=virtio-ring,failover\0name=a\0") == [
        "virtio_ring",
        "failover",
    ]
    assert demo_image.needed_by(b"x\0depends=\0") == []
    assert demo_image.needed_by(b"no module") == []


def test_partition_is_active_and_ends_with_the_disk() -> None:
    sector = demo_image.partition_table(b"\xfa" * 440)
    assert len(sector) == 512
    assert sector[:440] == b"\xfa" * 440
    assert sector[446] == 0x80
    first, count = (int.from_bytes(sector[at : at + 4], "little") for at in (454, 458))
    assert first * 512 == demo_image.PARTITION_OFFSET
    assert (first + count) * 512 == demo_image.DISK_BYTES
    assert sector[510:] == b"\x55\xaa"


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "demo.qcow2"
    said: list[str] = []
    demo_image.build(path, said.append)
    assert said
    assert not list(path.parent.glob("*.partial"))
    return path


class Guest:
    """The image under QEMU's software emulation, as ``kvm`` runs it: q35 and virtio."""

    def __init__(self, image: Path, folder: Path) -> None:
        self.serial = folder / "serial.log"
        self._monitor = folder / "monitor"
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = taken.getsockname()[1]
        self._process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-machine", "q35,accel=tcg", "-m", "192", "-display", "none", "-vga", "std"),
                *("-drive", f"file={image},if=virtio,format=qcow2,snapshot=on"),
                *("-netdev", f"user,id=n,hostname=hello,hostfwd=tcp:127.0.0.1:{self.port}-:80"),
                *("-device", "virtio-net-pci,netdev=n", "-device", "virtio-rng-pci"),
                *("-serial", f"file:{self.serial}", "-monitor", f"unix:{self._monitor},server,nowait"),
            ]
        )

    def wait_for(self, is_true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        while not is_true():
            assert time.monotonic() < deadline, f"no {what} within {BOOT_SECONDS} s; it said:\n{self.said()}"
            time.sleep(0.05)

    def said(self) -> str:
        return self.serial.read_text(errors="replace") if self.serial.exists() else ""

    def page(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def press_power_button(self) -> None:
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(str(self._monitor))
            # The command is carried out once the next prompt is there; closing before would lose it.
            for command in (b"", b"system_powerdown\n"):
                monitor.sendall(command)
                said = b""
                while not said.endswith(b"(qemu) "):
                    said += monitor.recv(1000)

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def guest(image: Path, tmp_path: Path) -> Iterator[Guest]:
    guest = Guest(image, tmp_path)
    yield guest
    guest.kill()


@pytest.mark.system
@pytest.mark.needs("qemu", "root")
@pytest.mark.timeout(400)
def test_image_boots_serves_its_page_and_obeys_the_power_button(guest: Guest) -> None:
    guest.wait_for(lambda: "nano-demo: ready 10.0.2.15" in guest.said(), "ready line")
    guest.wait_for(lambda: "hello:/# " in guest.said(), "shell on the serial port")
    page = guest.page()
    assert "<h1>hello</h1>" in page
    assert "has been up for" in page
    assert not guest.has_ended()
    guest.press_power_button()
    guest.wait_for(guest.has_ended, "power-off")
    assert "nano-demo: power button" in guest.said()
