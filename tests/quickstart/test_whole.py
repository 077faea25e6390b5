"""``./quickstart`` as a newcomer runs it: a guest boots, a second run changes nothing, nothing is left."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system import real

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs("root", "libvirt", "qemu", "namespaces", "node"),
    pytest.mark.timeout(900),
]
CHECKOUT = Path(__file__).parents[2]


def quickstart(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(CHECKOUT / "quickstart"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
        stdin=subprocess.DEVNULL,
    )


def status(root: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(quickstart("--status", "--json", "--root", str(root)).stdout)
    return answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def root() -> Iterator[Path]:
    """An empty root with ports that nobody else uses; uninstalled at the end whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="nano-q-", dir="/tmp"))
    settings = folder / "etc" / "nano" / "conf.d" / "ports.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(
        f"[kernel]\nmessage_port = {free_port()}\nstream_port = {free_port()}\n\n"
        f'[restapi]\nlisten_address = "127.0.0.1"\nport = {free_port()}\n\n'
        f'[network]\ndefault_cidr = "10.125.0.0/24"\n'
    )
    try:
        yield folder
    finally:
        quickstart("--uninstall", "--root", str(folder))
        shutil.rmtree(folder, ignore_errors=True)


def test_from_nothing_to_a_guest_and_back(root: Path) -> None:
    first = quickstart("--root", str(root))
    assert first.returncode == 0, first.stderr[-3000:]
    seen = status(root)
    assert [(item["name"], item["state"]) for item in seen["instances"]] == [("hello", "running")]
    assert seen["portal_url"] in first.stdout
    assert "hello" in real.wait_for_page(seen["instances"][0]["addresses"][0], "hello")
    assert Path(seen["password_file"]).stat().st_mode & 0o777 == 0o600

    (bridge,) = real.links_with("10.125.0.1")
    kernels = [line for line in real.processes_of(root) if "nanocore" in line]
    again = quickstart("--root", str(root))
    assert again.returncode == 0, again.stderr[-3000:]
    assert status(root) == seen
    assert [line for line in real.processes_of(root) if "nanocore" in line] == kernels

    gone = quickstart("--uninstall", "--root", str(root))
    assert gone.returncode == 0, gone.stderr[-3000:]
    assert real.processes_of(root) == []
    assert real.links_with("10.125.0.1") == []
    assert not [table for table in real.own_tables() if table.endswith(bridge.removeprefix("nb"))]
    assert str(root) not in Path("/proc/mounts").read_text()
    assert [path for path in root.rglob("*") if path.is_file()] in ([], [root / "etc/nano/conf.d/ports.toml"])
