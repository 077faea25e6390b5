"""The plugin's parts, and the administrator made at the first start."""

from __future__ import annotations

import asyncio
import os
import secrets
from pathlib import Path

from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import StateStore
from nanocore.errors import ErrorCode, NanoError
from nanoplugins.identity_local.accounts import Accounts
from nanoplugins.identity_local.attempts import Attempts
from nanoplugins.identity_local.authorizer import LocalAuthorizer
from nanoplugins.identity_local.config import IdentityLocalConfig
from nanoplugins.identity_local.handlers import Handlers
from nanoplugins.identity_local.passwords import Passwords

PASSWORD_FILE = "admin-password"  # noqa: S105  a file's name
PASSWORD_BYTES = 15


class IdentityService:
    """Composes the plugin on a core; runs as long as the node does."""

    name = "identity_local"
    after: tuple[str, ...] = ()

    def __init__(self, context: PluginContext) -> None:
        self._context = context
        self._config = context.config(IdentityLocalConfig)
        self._accounts: Accounts | None = None
        self._passwords: Passwords | None = None
        attempts = Attempts(
            per_user=self._config.login_attempts,
            per_address=self._config.login_attempts_per_address,
            window_seconds=self._config.login_window_seconds,
        )
        self.authorizer = LocalAuthorizer(self.accounts)
        self.handlers = Handlers(self.accounts, self.passwords, attempts, context.clock, self._config.administrator)

    async def start(self) -> None:
        """Start the hashing threads; make the administrator if there is no user yet."""
        passwords = self._passwords = Passwords(parallel=self._config.parallel_hashes)
        await passwords.open()
        if not self.accounts().has_users():
            await self._make_administrator(passwords)

    async def stop(self) -> None:
        """End the hashing threads."""
        if self._passwords is not None:
            self._passwords.close()
            self._passwords = None

    async def sweep(self) -> None:
        """Delete what has expired; a timed job."""
        await self.accounts().sweep()

    def accounts(self) -> Accounts:
        """Return the accounts. The store is open before anything is asked of us."""
        if self._accounts is None:
            context = self._context
            self._accounts = Accounts(context.chosen(StateStore), context.clock, self._config, context.spawn)
        return self._accounts

    def passwords(self) -> Passwords:
        """Return the hashing threads; raise ``unavailable`` while the service does not run."""
        if self._passwords is None:
            raise NanoError(ErrorCode.UNAVAILABLE, "logins are not possible while the node starts or stops")
        return self._passwords

    async def _make_administrator(self, passwords: Passwords) -> None:
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        path = self._context.paths.state / PASSWORD_FILE
        # The file comes first: a crash in between makes a new password at the next start, never an unknown one.
        await asyncio.to_thread(_write_secret, path, password + "\n")
        await self.accounts().add_user(self._config.administrator, await passwords.hash(password), ["admin"])
        self._context.log.info("administrator made", username=self._config.administrator, password_file=str(path))


def _write_secret(path: Path, text: str) -> None:
    """Write ``text`` to a new file 0600 that appears whole or not at all."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
