"""Real nodes as processes, and what they run."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pycdlib
import pytest

from nanocore.testing.kernel_process import KernelProcess, wait_until
from nanocore.testing.libvirtd import PrivateLibvirtd, private_libvirtd
from nanoplugins.quickstart import demo_image as demo_image_module
from tests.system import debian_image as debian_image_module
from tests.system import real
from tests.system.acts import remove_instances


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave what takes longer to ``./run-tests --full``."""
    if os.environ.get("NANO_FULL"):
        return
    longer = [item for item in items if item.get_closest_marker("full")]
    if longer:
        config.hook.pytest_deselected(items=longer)
        items[:] = [item for item in items if not item.get_closest_marker("full")]


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[KernelProcess]:
    """An all-in-one node with simulated drivers, running."""
    process = KernelProcess(tmp_path)
    process.start()
    try:
        process.wait_ready()
        yield process
    finally:
        process.stop()


@pytest.fixture(scope="session")
def small_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty disk image that passes inspection."""
    file = tmp_path_factory.mktemp("image") / "small.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(file), "16M"], check=True)
    return file


@pytest.fixture(scope="session")
def small_iso(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A media image with one file, which passes inspection."""
    file = tmp_path_factory.mktemp("media") / "tools.iso"
    made = pycdlib.PyCdlib()
    made.new(vol_ident="TOOLS", joliet=3)
    text = b"hello from a drive\n"
    made.add_fp(io.BytesIO(text), len(text), "/HELLO.TXT;1", joliet_path="/hello.txt")
    made.write(str(file))
    made.close()
    return file


@pytest.fixture(scope="session")
def libvirtd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateLibvirtd]:
    """A libvirtd of this test run."""
    with private_libvirtd(tmp_path_factory.mktemp("lv")) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def demo_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo disk image, built from the distribution's packages; kept between runs in ``.cache``."""
    made_from = [
        Path(demo_image_module.__file__),
        *sorted((Path(demo_image_module.__file__).parent / "demo").iterdir()),
    ]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in made_from)).hexdigest()
    cached = Path(__file__).parents[1] / ".cache" / f"demo-{digest[:12]}.qcow2"
    if not cached.exists():
        cached.parent.mkdir(exist_ok=True)
        fresh = tmp_path_factory.mktemp("demo") / "demo.qcow2"
        demo_image_module.build(fresh, print)
        shutil.move(fresh, cached)
    return cached


@pytest.fixture(scope="session")
def debian_image() -> Path:
    """A Debian with cloud-init, SSH and QEMU's guest agent; made once, kept in ``.cache``."""
    cached = Path(__file__).parents[1] / ".cache" / "debian.qcow2"
    if not cached.exists():
        cached.parent.mkdir(exist_ok=True)
        debian_image_module.build(cached)
    return cached


@contextmanager
def real_node(folder: Path, libvirtd: PrivateLibvirtd, *, has_portal: bool = False) -> Iterator[KernelProcess]:
    """Run an all-in-one node on real libvirt, QEMU and bridges; everything it made is gone afterwards."""
    configuration = real.configuration(libvirtd.uri)
    if has_portal:
        configuration = configuration.replace('"-webportal", ', "")
    process = KernelProcess(folder, configuration, name="real-1")
    process.start()
    try:
        process.wait_ready()
        wait_until(lambda: process.client.get("/nodes")["items"][0]["usage"]["cores"], seconds=60, what="a report")
        yield process
        remove_instances(process)
        names = real.network_names(process)
    finally:
        process.stop()
    assert real.domains(libvirtd.uri) == {}
    assert real.own_links().isdisjoint(name.bridge for name in names)
    assert real.own_tables().isdisjoint(name.table for name in names)
    assert real.volume_files(process) == set()
    assert not real.processes_of(folder)


@pytest.fixture
def real_kernel(tmp_path: Path, libvirtd: PrivateLibvirtd) -> Iterator[KernelProcess]:
    """An all-in-one node on real libvirt, QEMU and bridges, running; everything it made is gone afterwards."""
    with real_node(tmp_path, libvirtd) as process:
        yield process


@pytest.fixture
def real_portal(tmp_path: Path, libvirtd: PrivateLibvirtd) -> Iterator[KernelProcess]:
    """The same, with the portal."""
    with real_node(tmp_path, libvirtd, has_portal=True) as process:
        yield process
