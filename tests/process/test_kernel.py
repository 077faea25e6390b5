"""``nano-kernel``: start, stop, keys, configuration, plugins of other distributions, joining."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.kit import SMALL, Kernel, configure, install, run, running, until

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]
ROOT = Path(__file__).resolve().parents[2]

BAD_PLUGINS = {
    "dies": "raise ZeroDivisionError('at import')\n",
    "exits": "import sys\nsys.exit(3)\n",
    "sticks": "import threading\nthreading.Event().wait()\n",
    "steals": """
from typing import ClassVar
from nanocore.contracts.handler import Handler
from nanocore.contracts.plugin import PluginInfo
from nanocore.hookspecs import hookimpl
from nanocore.wire import Query

class Steal(Query[str], frozen=True, kw_only=True):
    op: ClassVar[str] = "identity.get_session"

async def steal(message, call):
    return "mine"

class Plugin:
    @hookimpl
    def nano_plugin_info(self):
        return [PluginInfo("steals", "1.0", "claims another's op")]

    @hookimpl
    def nano_message_handlers(self):
        return [Handler(Steal, steal)]
""",
    "blocks": """
import time
from nanocore.contracts.plugin import PluginInfo
from nanocore.hookspecs import hookimpl

class Plugin:
    name = "blocks"
    after = ()

    @hookimpl
    def nano_plugin_info(self):
        return [PluginInfo("blocks", "1.0", "blocks the loop when it stops")]

    @hookimpl
    def nano_services(self):
        return [self]

    async def start(self):
        pass

    async def stop(self):
        time.sleep(60)
""",
}


def test_start_and_stop(tmp_path: Path) -> None:
    configure(tmp_path)
    with running(tmp_path) as kernel:
        facts = kernel.ready()
        assert facts["name"] == "core-1"
        assert facts["message_port"] > 0
        assert (tmp_path / "etc/nano/keys").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "etc/nano/keys/node.key").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "var/lib/nano/identity_local").stat().st_mode & 0o777 == 0o700
        code, seconds = kernel.end()
        assert code == 0
        assert seconds < 5
        assert not kernel.ready_file.exists()
        assert [line["event"] for line in kernel.lines()][-2:] == ["node stopping", "node stopped"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_start_is_the_same_node(tmp_path: Path, number: int) -> None:
    configure(tmp_path)
    ids = []
    for _ in range(2):
        with running(tmp_path) as kernel:
            ids.append(kernel.ready()["node_id"])
            assert kernel.end(number)[0] == 0
    assert ids[0] == ids[1]


def test_after_kill_9_it_starts_again(tmp_path: Path) -> None:
    configure(tmp_path)
    with running(tmp_path) as kernel:
        first = kernel.ready()["node_id"]
        assert kernel.end(signal.SIGKILL)[0] == -signal.SIGKILL
    with running(tmp_path) as kernel:
        assert kernel.ready()["node_id"] == first


def test_two_kernels_never_share_a_root(tmp_path: Path) -> None:
    configure(tmp_path)
    with running(tmp_path) as kernel:
        kernel.ready()
        second = run("--root", str(tmp_path))
        assert second.returncode == 5
        assert f"process id {kernel.process.pid} uses {tmp_path}" in second.stderr
        assert kernel.process.poll() is None


def test_a_wrong_setting_is_named_with_file_key_and_remedy(tmp_path: Path) -> None:
    configure(tmp_path)
    (tmp_path / "etc/nano/conf.d").mkdir()
    (tmp_path / "etc/nano/conf.d/10-mine.toml").write_text("[kernel]\nmesage_port = 1\n")
    for arguments in (("--check",), ()):
        done = run("--root", str(tmp_path), *arguments)
        assert done.returncode == 2
        assert "10-mine.toml: kernel.mesage_port: unknown setting; did you mean message_port?" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_key_that_others_may_read_stops_the_start(tmp_path: Path) -> None:
    configure(tmp_path)
    with running(tmp_path) as kernel:
        kernel.ready()
        kernel.end()
    key = tmp_path / "etc/nano/keys/node.key"
    key.chmod(0o644)
    done = run("--root", str(tmp_path))
    assert done.returncode == 4
    assert f"chmod 600 {key}" in done.stderr
    assert stat.S_IMODE(key.stat().st_mode) == 0o644


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    configure(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "etc/nano/conf.d").mkdir()
        (tmp_path / "etc/nano/conf.d/port.toml").write_text(f"[kernel]\nmessage_port = {port}\n")
        done = run("--root", str(tmp_path))
    assert done.returncode == 6
    assert str(port) in done.stderr


def test_bad_plugins_are_named_and_the_node_runs_and_stops_in_time(tmp_path: Path) -> None:
    configure(tmp_path, plugins=f"{SMALL}, " + ", ".join(f'"{name}"' for name in BAD_PLUGINS))
    path = tmp_path / "site"
    for name, text in BAD_PLUGINS.items():
        install(text, path, name=name)
    with running(tmp_path, path=path) as kernel:
        kernel.ready()
        reasons = {line["plugin"]: line["reason"] for line in kernel.lines() if line["event"] == "plugin failed"}
        assert set(reasons) == set(BAD_PLUGINS) - {"blocks"}
        assert "ZeroDivisionError: at import" in reasons["dies"]
        assert "end the process" in reasons["exits"]
        assert "did not return within 5 s" in reasons["sticks"]
        assert "identity.get_session" in reasons["steals"]
        assert "belongs to plugin identity_local" in reasons["steals"]
        code, seconds = kernel.end()
    assert seconds < 6
    assert code == 1
    blocked = [line for line in kernel.lines() if line["event"].startswith("the event loop was blocked")]
    assert "blocks_plugin.py" in blocked[0]["at"]
    assert "did not stop in time; ending the process" in {line["event"] for line in kernel.lines()}


def test_check_names_a_failed_plugin_and_starts_nothing(tmp_path: Path) -> None:
    configure(tmp_path, plugins=f'{SMALL}, "dies"')
    path = install(BAD_PLUGINS["dies"], tmp_path / "site", name="dies")
    done = subprocess.run(
        [sys.executable, "-m", "nanocore", "--root", str(tmp_path), "--check"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(path)},
    )
    assert done.returncode == 1
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert "failed" in rows["dies"]
    assert "enabled" in rows["state_sqlite"]
    assert "disabled" in rows["compute"]
    assert not (tmp_path / "var").exists()


def test_a_file_in_plugins_d_enables_a_third_party_plugin(tmp_path: Path) -> None:
    configure(tmp_path, plugins='"*"')
    path = tmp_path / "site"
    shutil.copytree(ROOT / "examples/nano-greeter/nano_greeter", path / "nano_greeter")
    info = path / "nano_greeter-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nano-greeter\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nano.plugins]\ngreeter = nano_greeter.plugin:Plugin\n")
    command = [sys.executable, "-m", "nanocore", "--root", str(tmp_path), "--check"]
    environment = {**os.environ, "PYTHONPATH": str(path)}
    before = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert "greeter              disabled" in before.stdout
    (tmp_path / "etc/nano/plugins.d").mkdir()
    (tmp_path / "etc/nano/plugins.d/greeter.toml").write_text('[greeter]\nphrase = "Good day"\n')
    with running(tmp_path, path=path) as kernel:
        kernel.ready()
        nano = str(Path(sys.executable).with_name("nano"))
        answer = _json([nano, "--root", str(tmp_path), "api", "GET", "/greetings/Ada"])
        assert answer == {"text": "Good day, Ada", "peers_joined": 0, "peers_lost": 0}
        plugins = _json([nano, "--root", str(tmp_path), "-o", "json", "plugin", "list"])
        assert kernel.end()[0] == 0
    assert "greeter" in str(plugins)


def test_ready_is_told_to_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(tmp_path)
    address = f"\0nano-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + address[1:])
        with running(tmp_path) as kernel:
            assert manager.recv(100) == b"READY=1"
            kernel.end()
            assert manager.recv(100) == b"STOPPING=1"


def test_versions_and_defaults() -> None:
    assert run("--version").stdout.startswith("nano-kernel, version ")
    assert run("--print-default-config").stdout == (ROOT / "etc/nano.toml").read_text()
    usage = run("--rot", "/x")
    assert usage.returncode == 2
    assert "--root" in usage.stderr


def test_join_by_invite_and_again(tmp_path: Path) -> None:
    """A second kernel joins a first one, takes name, roles and zone from its invite, and comes back by itself."""
    core = configure(tmp_path / "a", plugins='"*"')
    cell = configure(tmp_path / "b", plugins='"*"')
    with running(core) as first:
        first.ready()
        nano = str(Path(sys.executable).with_name("nano"))
        invite = until(lambda: _json([nano, "--root", str(core), "-o", "json", "invite"]), "an invite")
        taken = run("--root", str(cell), "--join", str(invite["token"]))
        assert taken.returncode == 5
        assert "a node named core-1 exists" in taken.stderr
        config = cell / "etc/nano/nano.toml"
        config.write_text(config.read_text().replace("core-1", "cell-1"))
        with running(cell, "--join", str(invite["token"])) as second:
            facts = second.ready()
            assert facts["roles"] == ["cell"]
            peers = {line["event"] for line in second.lines()}
            assert "joined" in peers
            assert second.end()[0] == 0
        assert 'roles = ["cell"]' in (cell / "etc/nano/conf.d/90-joined.toml").read_text()
        with running(cell) as second:
            assert second.ready()["roles"] == ["cell"]
            second.end()
        used = run("--root", str(configure(tmp_path / "c")), "--join", str(invite["token"]))
        assert used.returncode == 4
        assert "invite" in used.stderr


def test_a_token_that_is_none(tmp_path: Path) -> None:
    done = run("--root", str(configure(tmp_path)), "--join", "nonsense")
    assert done.returncode == 2
    assert "not an invite's token" in done.stderr


def _json(command: list[str]) -> dict[str, object] | None:
    import json

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return json.loads(done.stdout) if done.returncode == 0 else None


def test_the_kit_reports_an_early_end(tmp_path: Path) -> None:
    (tmp_path / "etc/nano").mkdir(parents=True)
    (tmp_path / "etc/nano/nano.toml").write_text("[kernel\n")
    kernel = Kernel(tmp_path)
    with pytest.raises(AssertionError, match="ended with 2"):
        kernel.ready()
