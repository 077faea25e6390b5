"""Logs: one JSON object a line, context variables on every line, secrets never.

Nothing here is global: ``make_logger`` returns a logger that writes to the stream it is given. The context
variables (``trace``, ``plugin``, ``operation``) are bound by whoever starts a piece of work, with ``log_context``.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, TextIO, cast

import structlog

REDACTED = "[redacted]"
MAX_DEPTH = 6

_SECRET_NAME = re.compile(
    r"(^|_)(password|passwd|secret|token|credential|actor|authorization|cookie|otp|ticket|csrf_token|"
    r"secret_key|private_key|csrf)$",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"(?P<kind>\bnano_(?=[\w-]{32})|\b(?:session|token):(?=[\w-]{16})|\bBearer )[A-Za-z0-9_\-.~+/=]+"
)

_ENCODER = json.JSONEncoder(default=repr, ensure_ascii=False)
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def make_logger(stream: TextIO, level: str = "info") -> structlog.stdlib.BoundLogger:
    """Return a logger that writes JSON lines of ``level`` and above to ``stream``."""
    logger = structlog.wrap_logger(
        structlog.WriteLogger(cast("TextIO", _Lossy(stream))),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            redact,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        cache_logger_on_first_use=True,
    )
    return cast("structlog.stdlib.BoundLogger", logger.bind())


def log_context(**values: object) -> AbstractContextManager[Any]:
    """Bind ``values`` to every line logged inside the ``with`` block, in this task and those it starts."""
    return structlog.contextvars.bound_contextvars(**values)


def bind_log_context(**values: object) -> None:
    """Bind ``values`` to every further line of this task."""
    structlog.contextvars.bind_contextvars(**values)


def redact(_logger: Any, _method: str, event: Any) -> Any:  # noqa: ANN401  structlog's signature
    """Replace secrets, found by their field's name or by their shape."""
    return {name: _clean(name, value, 0) for name, value in event.items()}


def _render(_logger: Any, _method: str, event: Any) -> str:  # noqa: ANN401  structlog's signature
    return _ENCODER.encode(event)


@lru_cache(maxsize=4096)
def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def _clean(name: str, value: Any, depth: int) -> Any:  # noqa: ANN401  anything can be logged
    if value is not None and _is_secret(name):
        return REDACTED
    if isinstance(value, str):
        return _SECRET_TEXT.sub(lambda found: found["kind"] + REDACTED, value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping) and depth < MAX_DEPTH:
        return {str(key): _clean(str(key), item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth < MAX_DEPTH:
        return [_clean("", item, depth + 1) for item in value]
    return _clean(name, repr(value), depth)


class ForeignHandler(logging.Handler):
    """Passes what libraries log through the standard library on to our logger; installed by ``nano-kernel`` only."""

    def __init__(self, logger: structlog.stdlib.BoundLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Log ``record`` under its own level, with the library's name."""
        level = max((number for number in LEVELS.values() if number <= record.levelno), default=logging.DEBUG)
        try:
            self._logger.log(level, record.getMessage(), library=record.name, exc_info=record.exc_info)
        except Exception:  # noqa: BLE001  a library's broken log call must not break its work
            self.handleError(record)


class _Lossy:
    """A log line that can't be written (closed pipe, full disk) is lost; the work that logged it goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            return
