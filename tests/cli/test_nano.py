"""``nano`` as a user runs it, against a node with simulated drivers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanocore.testing.kernel_process import KernelProcess

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]
NANO = Path(sys.executable).with_name("nano")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running node's root."""
    process = KernelProcess(tmp_path_factory.mktemp("node"))
    process.start()
    try:
        process.wait_ready()
        yield process.root
    finally:
        process.stop()


def nano(root: Path, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(NANO), "--root", str(root), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        input=given,
        env={"PATH": "/usr/bin:/bin", "HOME": str(root)},
    )


def test_an_instance_from_upload_to_deletion(root: Path, tmp_path: Path) -> None:
    disk = tmp_path / "small.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "16M"], check=True)
    assert nano(root, "disk-image", "upload", str(disk)).returncode == 0
    made = nano(root, "--wait", "-o", "json", "instance", "create", "web-1", "--image", "small", "--memory", "64M")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["memory_bytes"] == 64 * 1024**2
    listed = nano(root, "instance", "list")
    assert listed.stdout.splitlines()[0].split()[:3] == ["NAME", "STATE", "READY"]
    assert listed.stdout.splitlines()[1].split()[:3] == ["web-1", "running", "yes"]
    assert nano(root, "operation", "list").stdout.splitlines()[1].split()[:2] == ["instance.create", "web-1"]
    assert "only cell that fits" in nano(root, "explain", "web-1").stdout
    assert nano(root, "--wait", "instance", "stop", "web-1").returncode == 0
    assert nano(root, "-o", "json", "instance", "get", "web-1").stdout.count('"stopped"') >= 1
    told = nano(root, "console", "web-1", given="")
    assert (told.returncode, "no console now" in told.stderr) == (5, True)
    assert nano(root, "--wait", "instance", "start", "web-1").returncode == 0
    assert "Simulated guest web-1" in nano(root, "console", "web-1", given="hello\n").stdout
    refused = nano(root, "instance", "delete", "web-1", given="n\n")
    assert refused.returncode == 1
    assert nano(root, "--wait", "instance", "delete", "-y", "web-1").returncode == 0
    assert nano(root, "-o", "name", "instance", "list").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("instance", "get", "nobody"), 3, "there is no instance named 'nobody'"),
        (("instance", "create", "Bad_Name", "--image", "00000000-0000-0000-0000-000000000000"), 2, "name"),
        (("instance", "update", "x"), 2, "say what to change"),
        (("instance", "list", "-f", "nonsense"), 2, "FIELD=VALUE"),
        (("instance", "create", "x"), 2, "--boot-disk"),
        (("instance", "batch", "create", "x-{n}", "2"), 2, "--boot-disk"),
        (("instance", "batch", "act", "start"), 2, "say which instances"),
        (("api", "GET", "/nothing"), 3, ""),
        (("api", "POST", "/instances", "-d", "{"), 2, "no JSON"),
        (("nonsense",), 2, "No such command"),
        (("instance", "list", "-o", "json"), 2, "before the noun: nano -o"),
    ],
)
def test_each_failure_has_its_exit_code_and_says_why(
    root: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = nano(root, *arguments)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr


def test_without_a_node_it_says_what_to_do(tmp_path: Path) -> None:
    done = nano(tmp_path, "node", "list")
    assert done.returncode == 6
    assert "is nano-kernel --root" in done.stderr


def test_nodes_plugins_and_doctor(root: Path) -> None:
    assert nano(root, "node", "list").stdout.splitlines()[1].split()[:2] == ["core-1", "online"]
    assert " enabled " in nano(root, "plugin", "list").stdout
    assert "Nano" in nano(root, "doctor").stdout
    assert nano(root, "invite").stdout.startswith("./quickstart --role cell --join ")


def test_contexts_keep_their_secrets(root: Path, tmp_path: Path) -> None:
    token = json.loads(nano(root, "-o", "json", "token", "create", "laptop").stdout)["token"]
    added = nano(tmp_path, "context", "add", "home", "--url", "https://127.0.0.1:1", "--token", token)
    assert added.returncode == 0, added.stderr
    file = tmp_path / ".config" / "nano" / "config.toml"
    assert file.stat().st_mode & 0o777 == 0o600
    assert nano(tmp_path, "context", "list").stdout.splitlines()[1].split() == ["*", "home", "https://127.0.0.1:1"]
    assert nano(tmp_path, "--context", "home", "node", "list").returncode == 6
    assert nano(tmp_path, "context", "delete", "home").returncode == 0
