"""The one frame that carries header and body.

Layout: 4 bytes magic, 1 byte protocol version, 2 bytes header length (big-endian), header, body. A router
decodes the header only. Blobs follow as frames of their own.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec

from nanocore.errors import ErrorCode, NanoError
from nanocore.wire.version import PROTOCOL_VERSION

MAGIC = b"NANO"
PREFIX_LENGTH = 7
MAX_HEADER_BYTES = 4096


class Kind(IntEnum):
    """What a frame is for."""

    REQUEST = 1
    REPLY = 2
    EVENT = 3
    CANCEL = 4
    BEAT = 5
    STREAM = 6
    ERROR = 7
    """A reply whose body is an ``ErrorBody``."""


class Header(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Everything that routing and dispatch need; array-encoded, so fields are only ever appended.

    ``ttl_ms`` is time left, never a wall-clock time: each hop subtracts what it used. ``actor`` is an opaque
    credential. ``trace`` is the request id that logs on every node share. ``vouched`` are the sender's node roles,
    comma-separated, as a core that passes the message on knows them; nobody else's word for it counts.
    """

    kind: Kind
    id: str
    op: str = ""
    schema: int = 1
    src: str = ""
    dst: str = ""
    ttl_ms: int = 10_000
    hops: int = 4
    actor: str = ""
    trace: str = ""
    vouched: str = ""


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """A ``NanoError`` on the wire."""

    code: ErrorCode
    message: str
    reason: str | None = None
    details: dict[str, Any] = msgspec.field(default_factory=dict)

    @classmethod
    def from_error(cls, error: NanoError) -> ErrorBody:
        """Return the body that describes ``error``."""
        return cls(code=error.code, message=error.message, reason=error.reason, details=error.details)

    def to_error(self) -> NanoError:
        """Return the exception that this body describes."""
        return NanoError(self.code, self.message, reason=self.reason, **self.details)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Header)
_PREFIX = MAGIC + bytes([PROTOCOL_VERSION])


def pack(header: Header, body: bytes | memoryview = b"") -> bytes:
    """Return the frame for ``header`` and ``body``."""
    head = _encoder.encode(header)
    return b"".join((_PREFIX, len(head).to_bytes(2, "big"), head, body))


def unpack(frame: bytes | memoryview) -> tuple[Header, memoryview]:
    """Return header and body of ``frame``; raise ``invalid_argument`` for anything else than a frame of ours."""
    view = memoryview(frame)
    if len(view) < PREFIX_LENGTH or bytes(view[:5]) != _PREFIX:
        raise NanoError(ErrorCode.INVALID_ARGUMENT, "not a Nano frame of this protocol version", reason="wire.magic")
    length = int.from_bytes(view[5:PREFIX_LENGTH], "big")
    if length > MAX_HEADER_BYTES or PREFIX_LENGTH + length > len(view):
        raise NanoError(ErrorCode.INVALID_ARGUMENT, "header length is beyond the frame", reason="wire.header")
    end = PREFIX_LENGTH + length
    try:
        return _decoder.decode(view[PREFIX_LENGTH:end]), view[end:]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NanoError(ErrorCode.INVALID_ARGUMENT, f"bad header: {error}", reason="wire.header") from error
