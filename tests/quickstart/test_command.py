"""What the command says without a machine to set up."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from nanoplugins.quickstart.__main__ import main
from nanoplugins.quickstart.layout import CHECKOUT, Layout
from nanoplugins.quickstart.report import for_people, status_lines
from nanoplugins.quickstart.virtualization import is_mounted_on

STATUS = {
    "portal_url": "https://192.0.2.7:5870/",
    "username": "admin",
    "password_file": "/x",
    "node": {"id": "1", "name": "earth", "roles": ["core", "cell"], "state": "online"},
    "accelerator": "tcg",
    "instances": [{"id": "2", "name": "hello", "state": "running", "addresses": ["10.127.0.2"]}],
}


def test_status_of_a_machine_without_nano(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--status", "--root", str(tmp_path)]) == 3
    assert "./quickstart starts it" in capsys.readouterr().out
    assert main(["--status", "--json", "--root", str(tmp_path)]) == 3
    assert json.loads(capsys.readouterr().out) == {"running": False}


def test_uninstall_of_nothing_is_fine_and_touches_no_foreign_file(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("not ours")
    (tmp_path / "var/lib/nano").mkdir(parents=True)
    assert main(["--uninstall", "--root", str(tmp_path)]) == 0
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["etc", "etc/passwd"]


@pytest.mark.needs("namespaces")
def test_what_is_mounted_in_another_namespace_is_seen(tmp_path: Path) -> None:
    """Removing such a folder would take the mount away from the libvirtd that lives there."""
    folder, source = tmp_path / "run", tmp_path / "private"
    folder.mkdir()
    source.mkdir()
    assert not is_mounted_on(folder)
    script = f"mount --bind {source} {folder} && echo mounted && read -r _"
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "mounted\n"
        assert is_mounted_on(folder)
        other.communicate("\n", timeout=10)
    assert not is_mounted_on(folder)


def test_core_that_shall_join_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--join", "x", "--root", str(tmp_path)]) == 1
    assert "--join needs --role cell" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_last_words_name_everything_a_newcomer_needs(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.password_file.parent.mkdir(parents=True)
    layout.password_file.write_text("s3cret\n")
    text = for_people(STATUS, layout, "10.127.0.2")
    for needed in (
        "https://192.0.2.7:5870/",
        "admin",
        "s3cret",
        "http://10.127.0.2/",
        "invite",
        "--stop",
        "--uninstall",
    ):
        assert needed in text
    assert f"nano --root {tmp_path} console hello" in text
    assert "hello" in status_lines(STATUS)


def test_port_is_read_from_the_configuration(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert layout.port() == 5870
    (layout.config / "conf.d").mkdir(parents=True)
    (layout.config / "nano.toml").write_text("[restapi]\nport = 1\n")
    (layout.config / "conf.d/10.toml").write_text("[restapi]\nport = 2\n")
    assert layout.port() == 2
    (layout.config / "conf.d/20.toml").write_text("not toml [")
    assert layout.port() == 2


@pytest.mark.parametrize("arguments", [["--help"], ["--rolle", "x"], ["--role", "king"], ["--role"]])
def test_script_explains_itself_before_it_changes_anything(arguments: list[str]) -> None:
    done = subprocess.run([CHECKOUT / "quickstart", *arguments], capture_output=True, text=True, check=False)
    if arguments == ["--help"]:
        assert done.returncode == 0
        assert "--uninstall" in done.stdout
    else:
        assert done.returncode == 1
        assert "king" in done.stderr or arguments[0] in done.stderr
        assert "help" in done.stderr or "core" in done.stderr


@pytest.mark.parametrize("script", ["quickstart", "run-tests", ".ci/run"])
def test_scripts_parse(script: str) -> None:
    subprocess.run(["bash", "-n", CHECKOUT / script], check=True)
