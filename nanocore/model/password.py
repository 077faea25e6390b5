"""Hashes a guest's password as its system keeps it: SHA-512 crypt (Ulrich Drepper, "Unix crypt using SHA-256/512").

Python's own ``crypt`` is gone since 3.13, and every Linux guest knows this scheme; stronger ones some do not.
"""

from __future__ import annotations

import secrets
from hashlib import sha512

ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ROUNDS = 5000
"""The scheme's default: other numbers would be part of the text."""
SALT_LENGTH = 16
DIGEST_BYTES = 64


def hash_password(password: str, salt: str | None = None) -> str:
    """Return ``$6$salt$digest``; ``salt`` is random unless a test gives one."""
    salt = salt or "".join(secrets.choice(ALPHABET) for _ in range(SALT_LENGTH))
    word, grain = password.encode(), salt.encode()
    digest = _first(word, grain)
    words = _repeat(sha512(word * len(word)).digest(), len(word))
    grains = _repeat(sha512(grain * (16 + digest[0])).digest(), len(grain))
    for turn in range(ROUNDS):
        parts = [words if turn % 2 else digest]
        if turn % 3:
            parts.append(grains)
        if turn % 7:
            parts.append(words)
        parts.append(digest if turn % 2 else words)
        digest = sha512(b"".join(parts)).digest()
    return f"$6${salt}${_encode(digest)}"


def _first(word: bytes, grain: bytes) -> bytes:
    inner = sha512(word + grain + word).digest()
    parts = [word, grain, _repeat(inner, len(word))]
    left = len(word)
    while left:
        parts.append(inner if left & 1 else word)
        left >>= 1
    return sha512(b"".join(parts)).digest()


def _repeat(digest: bytes, length: int) -> bytes:
    return (digest * (length // DIGEST_BYTES + 1))[:length]


def _encode(digest: bytes) -> str:
    text = ""
    third = DIGEST_BYTES // 3
    for index in range(third):
        trio = [index, index + third, index + 2 * third]
        turn = index % 3
        high, middle, low = (digest[at] for at in trio[turn:] + trio[:turn])
        text += _letters(high << 16 | middle << 8 | low, 4)
    return text + _letters(digest[DIGEST_BYTES - 1], 2)


def _letters(value: int, count: int) -> str:
    return "".join(ALPHABET[value >> 6 * at & 63] for at in range(count))
