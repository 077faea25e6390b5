"""The certificate: made, kept, renewed, replaced while the listener runs."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from nanocore.errors import NanoError
from nanoplugins.restapi.tls import TlsFiles, ensure_certificate, local_names, server_context
from tests.restapi.conftest import Serve
from tests.restapi.toys import run, until


def names_of(path: Path) -> set[str]:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return {
        str(name.value) for name in certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    }


def test_made_once_and_made_again_for_new_names(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    files = ensure_certificate(folder, {"localhost", "127.0.0.1"})
    assert names_of(files.certificate) == {"localhost", "127.0.0.1"}
    assert files.key.stat().st_mode & 0o777 == 0o600
    assert (folder / "ca-key.pem").stat().st_mode & 0o777 == 0o600
    first, authority = files.certificate.read_bytes(), (folder / "ca.pem").read_bytes()
    ensure_certificate(folder, {"localhost"})
    assert files.certificate.read_bytes() == first
    ensure_certificate(folder, {"localhost", "node-1", "::1"})
    assert names_of(files.certificate) == {"localhost", "node-1", "::1"}
    # Who trusts the authority goes on trusting it.
    assert (folder / "ca.pem").read_bytes() == authority
    assert authority in files.certificate.read_bytes()


def test_somebody_elses_certificate_is_left_alone(tmp_path: Path) -> None:
    theirs = ensure_certificate(tmp_path / "theirs", {"nano.example"})
    ours = ensure_certificate(tmp_path / "ours", {"localhost"})
    shutil.copy(theirs.certificate, ours.certificate)
    shutil.copy(theirs.key, ours.key)
    ensure_certificate(tmp_path / "ours", {"localhost", "new-name"})
    assert names_of(ours.certificate) == {"nano.example"}


def test_unusable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("nonsense")
    with pytest.raises(NanoError, match=str(tmp_path / "a")):
        server_context(TlsFiles(tmp_path / "a", tmp_path / "b", is_self_made=False))


def test_local_names() -> None:
    assert {"localhost", "127.0.0.1", "node-1"} <= local_names("node-1")


def test_replaced_without_restart(serve: Serve, tmp_path: Path) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            assert (await client.get("/system")).status_code == 200
            folder = site.ca_file.parent
            # Rubbish changes nothing.
            old = site.ca_file.read_bytes()
            site.ca_file.write_text("half a certifi")
            await until(lambda: "certificate not replaced" in site.log.getvalue())
            context = ssl.create_default_context(cadata=old.decode())
            _, writer = await asyncio.open_connection("localhost", site.port, ssl=context)
            writer.close()
            other = ensure_certificate(tmp_path / "other", {"localhost"})
            shutil.copy(other.key, folder / "key.pem")
            shutil.copy(other.certificate, folder / "cert.pem")
            await until(lambda: "certificate replaced" in site.log.getvalue())
            async with site.client() as renewed:
                assert (await renewed.get("/system")).status_code == 200
            # The connection that was open goes on.
            assert (await client.get("/system")).status_code == 200

    run(main)
