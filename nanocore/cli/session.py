"""Which API ``nano`` talks to, and how its errors become exit codes."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from nanocore.errors import ErrorCode, NanoError

if TYPE_CHECKING:
    from nanocore.client import Client

SOCKET = Path("run/nano/api.sock")

EXIT_CODES: dict[ErrorCode, int] = {
    ErrorCode.INVALID_ARGUMENT: 2,
    ErrorCode.NOT_FOUND: 3,
    ErrorCode.UNAUTHENTICATED: 4,
    ErrorCode.PERMISSION_DENIED: 4,
    ErrorCode.QUOTA_EXCEEDED: 4,
    ErrorCode.ALREADY_EXISTS: 5,
    ErrorCode.WRONG_STATE: 5,
    ErrorCode.CONFLICT: 5,
    ErrorCode.CANCELLED: 5,
    ErrorCode.BUSY: 5,
    ErrorCode.UNAVAILABLE: 6,
    ErrorCode.DEADLINE_EXCEEDED: 7,
    ErrorCode.UNKNOWN_OUTCOME: 7,
}
"""Everything else is 1."""


@dataclass
class Session:
    """The options before the noun, and the connection made of them on first use."""

    context: str | None = None
    root: Path | None = None
    output: str = "table"
    wait: bool | None = None
    _client: Client | None = field(default=None, repr=False)

    @property
    def client(self) -> Client:
        """Return the connection: the local socket if we may use it, else the context."""
        if self._client is None:
            from nanocore.client import Client

            self._client = Client(self._endpoint())
        return self._client

    @property
    def is_waiting(self) -> bool:
        """Whether long work is waited for: said by option, else on a terminal."""
        return sys.stdout.isatty() if self.wait is None else self.wait

    def _endpoint(self) -> Any:  # noqa: ANN401  imported late, so that --help is quick
        from nanocore.client import Endpoint

        if self.context is None:
            root = self.root or Path(os.environ.get("NANO_ROOT", "/"))
            socket = root / SOCKET
            if os.access(socket, os.R_OK | os.W_OK):
                return Endpoint(socket=socket)
            if self.root is not None:
                raise NanoError(
                    ErrorCode.UNAVAILABLE, f"{socket} is not there or not ours; is nano-kernel --root {root} running?"
                )
        name, settings = self._context_settings()
        ca_file = settings.get("ca_file")
        if "url" not in settings:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"{config_file()}: contexts.{name}: url is missing")
        return Endpoint(url=settings["url"], token=settings.get("token"), ca_file=Path(ca_file) if ca_file else None)

    def _context_settings(self) -> tuple[str, Mapping[str, Any]]:
        config = read_contexts()
        contexts: Mapping[str, Any] = config.get("contexts", {})
        name = self.context or os.environ.get("NANO_CONTEXT") or config.get("current")
        if name is None:
            raise NanoError(
                ErrorCode.UNAVAILABLE,
                "no nano-kernel runs here that we may talk to, and there is no context; "
                "run as root on the core, or: nano context add NAME --url https://HOST:5870 --token TOKEN",
            )
        if name not in contexts:
            known = ", ".join(sorted(contexts)) or "none"
            raise NanoError(ErrorCode.NOT_FOUND, f"no context is called {name!r}; there are: {known}")
        return name, contexts[name]


def config_file() -> Path:
    """Return where contexts are kept."""
    return Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "nano" / "config.toml"


def read_contexts() -> dict[str, Any]:
    """Return the contexts' file, empty if there is none; raise ``invalid_argument`` naming it."""
    file = config_file()
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise NanoError(ErrorCode.INVALID_ARGUMENT, f"{file}: can't be read: {error}") from error


def fail(error: NanoError) -> NoReturn:
    """Print an error as a person needs it and leave with its exit code."""
    click.secho(f"Error: {error.message}", err=True, fg="red")
    errors = error.details.get("errors")
    if isinstance(errors, Mapping):
        for name, messages in errors.items():
            line = f"{name}: {'; '.join(map(str, messages)) if isinstance(messages, list) else messages}"
            # What is wrong with one field only is the message already.
            if line != error.message:
                click.echo(f"  {line}", err=True)
    for name in ("incident", "request_id"):
        if name in error.details:
            click.echo(f"  {name}: {error.details[name]}", err=True)
    sys.exit(EXIT_CODES.get(error.code, 1))
