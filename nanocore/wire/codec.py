"""Bytes to typed values and back; msgspec's errors become ``invalid_argument`` with the field's path."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from nanocore.errors import ErrorCode, NanoError

T = TypeVar("T")

_msgpack_encoder = msgspec.msgpack.Encoder()
_json_encoder = msgspec.json.Encoder()
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}
_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


def encode(value: object) -> bytes:
    """Return ``value`` as MessagePack."""
    return _msgpack_encoder.encode(value)


def decode(body: bytes | memoryview, kind: type[T]) -> T:
    """Return the ``kind`` that ``body`` (MessagePack) holds.

    Unknown fields are ignored; missing or wrong ones raise ``invalid_argument`` with the field's path.
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        return decoder.decode(body)  # type: ignore[no-any-return]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid(error) from error


def encode_json(value: object) -> bytes:
    """Return ``value`` as JSON."""
    return _json_encoder.encode(value)


def decode_json(body: bytes | str, kind: type[T]) -> T:
    """Return the ``kind`` that ``body`` (JSON) holds; errors as ``decode``."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid(error) from error


def to_builtins(value: object) -> Any:  # noqa: ANN401  JSON-compatible data has no narrower type
    """Return ``value`` as dicts, lists and scalars, as JSON would show it."""
    return msgspec.to_builtins(value)


def _invalid(error: Exception) -> NanoError:
    text = str(error)
    found = _PATH.search(text)
    if found:
        return NanoError(ErrorCode.INVALID_ARGUMENT, f"{found['path']}: {text[: found.start()]}", field=found["path"])
    return NanoError(ErrorCode.INVALID_ARGUMENT, text)
