"""The portal's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanocore.capabilities.portal import StaticFolder
from nanocore.errors import NanoError
from nanoplugins.restapi.static import StaticFiles
from tests.restapi.conftest import Serve
from tests.restapi.toys import run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    (site / "assets").mkdir(parents=True)
    (site / "index.html").write_text("<!doctype html><title>Nano</title>")
    (site / "serial.html").write_text("<!doctype html><title>Serial</title>")
    (site / "assets" / "main-Ab3dEf9h.js").write_text("export const a = 1;\n" * 500)
    (site / "robots.txt").write_text("no")
    (tmp_path / "secret.txt").write_text("secret")
    (site / "way-out").symlink_to(tmp_path / "secret.txt")
    return site


def test_files(serve: Serve, folder: Path) -> None:
    async def main() -> None:
        async with serve(folder) as site, site.client() as client:
            answer = await client.get(site.base + "/")
            assert "<title>Nano" in answer.text
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'self'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["Cache-Control"] == "no-cache"
            assert "Strict-Transport-Security" not in answer.headers  # the certificate is self-made
            # The single page answers for its own addresses, never for the API's or for missing files.
            assert "<title>Nano" in (await client.get(site.base + "/instances/abc?tab=disks")).text
            for path in ("/api/v2/nope", "/api/nope", "/assets/gone.js", "/api", "/metrics/x"):
                answer = await client.get(site.base + path)
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
            answer = await client.get(site.base + "/assets/main-Ab3dEf9h.js")
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert answer.headers["Content-Encoding"] == "gzip"
            assert answer.text.startswith("export const a")
            plain = await client.get(site.base + "/assets/main-Ab3dEf9h.js", headers={"Accept-Encoding": "identity"})
            assert "Content-Encoding" not in plain.headers
            assert plain.text == answer.text
            etag = {"If-None-Match": answer.headers["ETag"]}
            assert (await client.get(site.base + "/assets/main-Ab3dEf9h.js", headers=etag)).status_code == 304
            relaxed = (await client.get(site.base + "/serial.html")).headers["Content-Security-Policy"]
            assert "style-src 'self' 'unsafe-inline'" in relaxed
            assert "script-src 'self';" in relaxed
            assert (await client.post(site.base + "/")).status_code == 405
            # A file that changed is read again.
            (folder / "index.html").write_text("<!doctype html><title>Newer page</title>")
            assert "Newer page" in (await client.get(site.base + "/")).text

    run(main)


@pytest.mark.parametrize(
    "path", ["/way-out", "/../secret.txt", "/%2e%2e/secret.txt", "/assets/..%2f..%2f../secret.txt", "/a%00.txt"]
)
def test_nothing_outside_the_folder(folder: Path, path: str) -> None:
    files = StaticFiles([StaticFolder("/", folder, index=None)])
    with pytest.raises(NanoError, match="there is nothing"):
        files.resolve(path)


def test_the_longest_prefix_answers(folder: Path) -> None:
    files = StaticFiles([StaticFolder("/", folder, index="index.html"), StaticFolder("/more", folder / "assets")])
    assert files.resolve("/more/main-Ab3dEf9h.js")[1].name == "main-Ab3dEf9h.js"
    assert files.resolve("/moreover")[1].name == "index.html"
    with pytest.raises(NanoError):
        files.resolve("/more/nothing")
