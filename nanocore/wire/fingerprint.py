"""A stable digest of a message type's shape, so that a test notices an incompatible change."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from nanocore.wire.message import Message, Request, result_type


def fingerprint(message: type[Message]) -> str:
    """Return 16 hexadecimal digits of SHA-256 over op, schema number, fields, their types and the result's."""
    parts = [message.op, str(message.schema), _shape(message)]
    if issubclass(message, Request):
        parts.append(_shape(result_type(message)))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _shape(kind: Any) -> str:  # noqa: ANN401  a type expression
    schema, components = msgspec.json.schema_components([kind], ref_template="{name}")
    for part in (*schema, *components.values()):
        _drop_prose(part)
    return msgspec.json.encode([schema, components], order="sorted").decode()


def _drop_prose(part: Any) -> None:  # noqa: ANN401  a JSON schema
    if isinstance(part, dict):
        part.pop("description", None)
        part.pop("examples", None)
        for value in part.values():
            _drop_prose(value)
    elif isinstance(part, list | tuple):
        for value in part:
            _drop_prose(value)
