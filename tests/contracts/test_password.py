"""Hashes of guests' passwords are those that a Linux system makes."""

from __future__ import annotations

import subprocess

import pytest

from nanocore.model.password import hash_password

SALT = "abcdEFGH12345678"


@pytest.mark.parametrize("password", ["a", "correct horse battery staple", "grüße", "x" * 64, "y" * 65, "z" * 200])
def test_openssl_makes_the_same_hash(password: str) -> None:
    done = subprocess.run(
        ["openssl", "passwd", "-6", "-salt", SALT, password], capture_output=True, text=True, check=True
    )
    assert hash_password(password, SALT) == done.stdout.strip()


def test_every_hash_has_a_salt_of_its_own() -> None:
    assert hash_password("same") != hash_password("same")
