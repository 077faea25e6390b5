"""argon2id by PyNaCl, in few threads: each hash takes 64 MiB and about a tenth of a second."""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from nacl import exceptions
from nacl.pwhash import argon2id

from nanocore.errors import ErrorCode, NanoError

MEMORY_BYTES = 64 * 1024 * 1024
PASSES = 2
MAX_WAITING = 32
"""More logins than this at once are ``busy``: the cost of a flood is bounded."""

T = TypeVar("T")


class Passwords:
    """Makes and checks hashes; used by the login only."""

    def __init__(self, *, parallel: int) -> None:
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="nano-password")
        self._waiting = 0
        self._decoy = ""

    async def open(self) -> None:
        """Make the hash that an unknown user's password is checked against."""
        self._decoy = await self.hash(secrets.token_urlsafe(16))

    def close(self) -> None:
        """End the threads; a hash in progress is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Return the text form of a new hash. Raises ``busy``."""
        data = _bytes(password)
        return await self._run(lambda: argon2id.str(data, opslimit=PASSES, memlimit=MEMORY_BYTES).decode())

    async def is_right(self, password_hash: str | None, password: str) -> bool:
        """Return whether ``password`` fits; ``None`` (unknown user) takes as long and never fits. Raises ``busy``."""
        data = _bytes(password)
        fits = await self._run(lambda: _verify((password_hash or self._decoy).encode(), data))
        return fits and password_hash is not None

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= MAX_WAITING:
            raise NanoError(ErrorCode.BUSY, "too many logins at once; try again", retry_after_seconds=2)
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        # Counted until the thread is done, even when whoever asked has given up.
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    def _done(self, future: asyncio.Future[T]) -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()


def _bytes(password: str) -> bytes:
    # The same password typed on two keyboards may be composed differently.
    return unicodedata.normalize("NFKC", password).encode()


def _verify(password_hash: bytes, password: bytes) -> bool:
    try:
        return argon2id.verify(password_hash, password)
    except exceptions.InvalidkeyError:
        return False
