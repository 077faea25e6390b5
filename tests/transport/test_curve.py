"""Key files and key texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanocore.errors import ErrorCode, NanoError
from nanocore.transport.curve import KeyPair, parse_public_key, read_private, write_private


def test_a_private_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    write_private(path, b"secret")
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_private(path) == b"secret"
    assert [file.name for file in tmp_path.iterdir()] == ["node.key"]


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        write_private(path, b"yours")
    assert path.read_bytes() == b"mine"
    assert [file.name for file in tmp_path.iterdir()] == ["node.key"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "node.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        write_private(tmp_path / "node.key", b"secret")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_wider_mode_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "node.key"
    write_private(path, b"secret")
    path.chmod(mode)
    with pytest.raises(NanoError, match=f"mode {mode:04o}.*chmod 600") as caught:
        read_private(path)
    assert caught.value.code is ErrorCode.PERMISSION_DENIED


def test_a_pair_is_known_by_its_secret_and_never_shows_it() -> None:
    pair = KeyPair.generate()
    assert KeyPair.from_secret(pair.secret) == pair
    assert pair.secret not in repr(pair)
    assert parse_public_key(pair.public) == pair.public


@pytest.mark.parametrize("text", ["", "x", "x" * 39, "x" * 41, "~" * 40, "é" * 40, "#" * 40])
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(NanoError) as caught:
        parse_public_key(text)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.details["field"] == "public_key"


@pytest.mark.parametrize("text", ["", "x", "é" * 40])
def test_what_is_no_secret_key_is_refused(text: str) -> None:
    with pytest.raises(NanoError, match="not a CURVE secret key"):
        KeyPair.from_secret(text)
