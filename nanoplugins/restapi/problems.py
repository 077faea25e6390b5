"""Error codes to HTTP: the only place that knows both. RFC 9457, ``application/problem+json``."""

from __future__ import annotations

from dataclasses import dataclass, field

from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import encode_json

CONTENT_TYPE = "application/problem+json"

STATUS: dict[ErrorCode, int] = {
    ErrorCode.INVALID_ARGUMENT: 400,
    ErrorCode.UNAUTHENTICATED: 401,
    ErrorCode.PERMISSION_DENIED: 403,
    ErrorCode.QUOTA_EXCEEDED: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.ALREADY_EXISTS: 409,
    ErrorCode.WRONG_STATE: 409,
    ErrorCode.CANCELLED: 409,
    ErrorCode.CONFLICT: 412,
    ErrorCode.UNSUPPORTED: 422,
    ErrorCode.INTERNAL: 500,
    ErrorCode.UNIMPLEMENTED: 501,
    ErrorCode.NO_CAPACITY: 503,
    ErrorCode.BUSY: 503,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.DEADLINE_EXCEEDED: 504,
    ErrorCode.UNKNOWN_OUTCOME: 504,
}

TITLES: dict[ErrorCode, str] = {
    ErrorCode.INVALID_ARGUMENT: "The request is not valid",
    ErrorCode.UNAUTHENTICATED: "Not logged in",
    ErrorCode.PERMISSION_DENIED: "Not allowed",
    ErrorCode.QUOTA_EXCEEDED: "Quota exceeded",
    ErrorCode.NOT_FOUND: "Not found",
    ErrorCode.ALREADY_EXISTS: "It exists already",
    ErrorCode.WRONG_STATE: "Not possible in this state",
    ErrorCode.CANCELLED: "Cancelled",
    ErrorCode.CONFLICT: "Somebody else changed it",
    ErrorCode.UNSUPPORTED: "Not supported here",
    ErrorCode.INTERNAL: "Internal error",
    ErrorCode.UNIMPLEMENTED: "Not implemented",
    ErrorCode.NO_CAPACITY: "No capacity left",
    ErrorCode.BUSY: "Busy",
    ErrorCode.UNAVAILABLE: "Unavailable",
    ErrorCode.DEADLINE_EXCEEDED: "It took too long",
    ErrorCode.UNKNOWN_OUTCOME: "The outcome is unknown",
}

DEFAULT_RETRY_SECONDS = 1


class HttpProblem(NanoError):  # noqa: N818  a problem, as RFC 9457 calls it
    """A failure of HTTP itself, whose status says more than its code: 405, 413, 415 and tus's own."""

    def __init__(
        self, status: int, code: ErrorCode, message: str, *, reason: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(code, message, reason=reason)
        self.status = status
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that is ready to send."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


def problem(error: NanoError, request_id: str) -> Answer:
    """Return the answer that tells a client of ``error``."""
    status = error.status if isinstance(error, HttpProblem) else STATUS[error.code]
    headers = dict(error.headers) if isinstance(error, HttpProblem) else {}
    if error.code is ErrorCode.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = 'Bearer realm="nano"'
    if error.code is ErrorCode.BUSY or "retry_after_seconds" in error.details:
        headers["Retry-After"] = _seconds(error.details.get("retry_after_seconds"))
    body: dict[str, object] = {
        "type": f"/api/v2/docs#{error.code.value}",
        "title": TITLES[error.code],
        "status": status,
        "detail": error.message,
        "code": error.code.value,
    }
    if error.reason:
        body["reason"] = error.reason
    body |= {name: error.details[name] for name in ("field", "errors", "incident") if name in error.details}
    body["request_id"] = request_id
    return Answer(status, encode_json(body), headers, CONTENT_TYPE)


def _seconds(value: object) -> str:
    return str(max(1, round(value))) if isinstance(value, int | float) else str(DEFAULT_RETRY_SECONDS)
