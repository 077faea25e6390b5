"""The listener's certificate: a small authority and a certificate made at the first start, replaceable at any time."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from nanocore.errors import ErrorCode, NanoError

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 397
RENEW_DAYS = 30
LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What the listener loads: the chain, also a CA file for clients, as the authority is in it; and its key."""

    certificate: Path
    key: Path
    is_self_made: bool


def self_made_files(folder: Path) -> TlsFiles:
    """Return where this node keeps the certificate that it makes itself."""
    return TlsFiles(folder / "cert.pem", folder / "key.pem", is_self_made=True)


def ensure_certificate(folder: Path, names: Iterable[str]) -> TlsFiles:
    """Make authority and certificate unless they are there and good; blocking, called in a thread.

    A certificate that somebody else put there is left alone. ``names`` are host names and addresses.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = self_made_files(folder)
    authority, authority_key = _authority(folder)
    wanted = {name for name in names if name}
    if files.certificate.exists() and files.key.exists() and not _needs_renewal(files.certificate, authority, wanted):
        return files
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(key, authority, authority_key, sorted(wanted))
    _write(files.key, _key_bytes(key), 0o600)
    _write(files.certificate, _pem(certificate) + _pem(authority), 0o644)
    return files


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the listener's TLS context: 1.3 only. Raises ``invalid_argument`` naming the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _load(context, files)
    return context


async def watch_files(context: ssl.SSLContext, files: TlsFiles, report: Callable[[NanoError | None], None]) -> None:
    """Load ``files`` into ``context`` whenever they change; connections that are open keep what they have.

    Runs until cancelled. ``report`` is told of every change, with the reason if it can't be used.
    """
    seen = _stamp(files)
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = _stamp(files)
        if now == seen:
            continue
        seen = now
        try:
            # Tried apart first: a half-written pair must not spoil the context in use.
            _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), files)
            _load(context, files)
        except NanoError as error:
            report(error)
        else:
            report(None)


def local_names(node_name: str) -> set[str]:
    """Return every name and address that this machine may be reached by; blocking, reads ``/proc/net`` only."""
    names = {"localhost", "127.0.0.1", "::1", node_name, socket.gethostname(), socket.getfqdn()}
    try:
        trie = Path("/proc/net/fib_trie").read_text(encoding="ascii")
        names.update(re.findall(r"\|-- ([0-9.]+)\n\s+/32 host LOCAL", trie))
    except OSError:
        pass
    try:
        for line in Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines():
            address = ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))
            if not address.is_link_local:
                names.add(str(address))
    except OSError:
        pass
    return names


def _authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate_path, key_path = folder / "ca.pem", folder / "ca-key.pem"
    if certificate_path.exists() and key_path.exists():
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"{key_path} is not the key that this node made; delete it")
        return x509.load_pem_x509_certificate(certificate_path.read_bytes()), key
    key = ec.generate_private_key(ec.SECP256R1())
    # A name of its own for every authority: browsers mix up two of the same name.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Nano authority {os.urandom(4).hex()}")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(key_path, _key_bytes(key), 0o600)
    _write(certificate_path, _pem(certificate), 0o644)
    return certificate, key


def _certificate(
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    names: list[str],
) -> x509.Certificate:
    now = datetime.now(UTC)
    authority_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Nano")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=CERTIFICATE_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(authority_id, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _needs_renewal(path: Path, authority: x509.Certificate, wanted: set[str]) -> bool:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    if certificate.issuer != authority.subject:
        return False
    if certificate.not_valid_after_utc < datetime.now(UTC) + timedelta(days=RENEW_DAYS):
        return True
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return not {_general_name(name) for name in wanted} <= set(names)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name.encode("idna").decode() if not name.isascii() else name)


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    try:
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as error:
        raise NanoError(
            ErrorCode.INVALID_ARGUMENT,
            f"{files.certificate} and {files.key} can't be used as certificate and key: {error}",
            reason="restapi.certificate",
        ) from error


def _stamp(files: TlsFiles) -> tuple[object, ...]:
    stamps: list[object] = []
    for path in (files.certificate, files.key):
        try:
            stat = path.stat()
            stamps.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        except OSError:
            stamps.append(None)
    return tuple(stamps)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    """Put ``data`` at ``path`` with ``mode``, whole or not at all."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.chmod(mode)
    new.replace(path)
