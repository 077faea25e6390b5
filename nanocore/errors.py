"""The closed list of error codes and the one exception that crosses every boundary.

::

    Exception
    └── NanoError(code, message, reason, details)     sent over the wire, mapped to HTTP and exit codes
        └── ConfigError                               start-up only: names file, key and remedy

A plugin adds a ``reason`` ("kvm.domain_locked"), never a code. A foreign library's errors are
translated in one table of the plugin that is that library's home.
"""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """What went wrong, as wire, REST, CLI and portal say it."""

    INVALID_ARGUMENT = "invalid_argument"
    UNAUTHENTICATED = "unauthenticated"
    PERMISSION_DENIED = "permission_denied"
    QUOTA_EXCEEDED = "quota_exceeded"
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    WRONG_STATE = "wrong_state"
    CANCELLED = "cancelled"
    CONFLICT = "conflict"
    UNSUPPORTED = "unsupported"
    INTERNAL = "internal"
    UNIMPLEMENTED = "unimplemented"
    NO_CAPACITY = "no_capacity"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    UNKNOWN_OUTCOME = "unknown_outcome"


class NanoError(Exception):
    """A failure that its receiver can act on.

    ``message`` says what, which and what to do. ``details`` are JSON-compatible values; three names have a
    meaning everywhere: ``field`` (path of the argument at fault), ``errors`` (field path to list of messages)
    and ``retry_after_seconds``. An ``internal`` error carries ``incident``, the id under which the log has
    the traceback.
    """

    def __init__(self, code: ErrorCode, message: str, *, reason: str | None = None, **details: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.details = details

    def __str__(self) -> str:
        """Return the message with its code in front, as logs show it."""
        return f"{self.code.value}: {self.message}"

    def __reduce__(self) -> tuple[object, ...]:
        """Keep code and details when pickled between processes."""
        return (_rebuild, (self.code, self.message, self.reason, self.details))


def _rebuild(code: ErrorCode, message: str, reason: str | None, details: dict[str, object]) -> NanoError:
    return NanoError(code, message, reason=reason, **details)


class ConfigError(NanoError):
    """The configuration can't be used; raised before anything was started."""

    def __init__(self, message: str, *, file: str | None = None, key: str | None = None) -> None:
        where = ": ".join(part for part in (file, key) if part)
        super().__init__(ErrorCode.INVALID_ARGUMENT, f"{where}: {message}" if where else message, reason="config")
