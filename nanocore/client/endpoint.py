"""Where the API is, how to reach it, and what its answers mean. Pure; both clients stand on it."""

from __future__ import annotations

import json
import ssl
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanocore.errors import ErrorCode, NanoError

API = "/api/v2"
MAX_WAIT_SECONDS = 30.0
UPLOAD_CHUNK_BYTES = 4 * 1024 * 1024
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """``url`` with ``token``, or ``socket`` (root on the core's own host needs no token).

    ``ca_file`` is the certificate to trust; without it the machine's own authorities count.
    """

    url: str = "https://localhost:5870"
    token: str | None = None
    ca_file: Path | None = None
    socket: Path | None = None

    @property
    def base_url(self) -> str:
        """Return what paths are appended to."""
        return "http://localhost" + API if self.socket else self.url.rstrip("/") + API

    def headers(self, method: str, idempotency_key: str | None = None) -> dict[str, str]:
        """Return the headers of a request; every write gets a key, so that a repeat counts once."""
        headers = {"Accept": "application/json, application/problem+json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if method in WRITES:
            headers["Idempotency-Key"] = idempotency_key or str(uuid.uuid4())
        return headers

    def tls(self) -> ssl.SSLContext:
        """Return whom to trust; raises ``invalid_argument`` for a certificate file that can't be read."""
        if self.socket is not None:
            # Never used, and trusts nobody: reading the machine's authorities would take longer than most requests.
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            return ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        except OSError as error:
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT, f"{self.ca_file}: can't be used as a certificate: {error}"
            ) from error

    def unreachable(self, error: Exception) -> NanoError:
        """Return the error for an API that does not answer."""
        where = str(self.socket or self.url)
        return NanoError(
            ErrorCode.UNAVAILABLE,
            f"{where} does not answer: {error}; check with: nano doctor",
            reason="client.unreachable",
        )


def read_answer(status: int, body: bytes, headers: Mapping[str, str]) -> Any:  # noqa: ANN401  JSON
    """Return the JSON of an answer, ``None`` for an empty one; raise the ``NanoError`` that a problem describes."""
    if status < 400:  # noqa: PLR2004  HTTP
        return json.loads(body) if body else None
    raise _problem(status, body, headers)


def _problem(status: int, body: bytes, headers: Mapping[str, str]) -> NanoError:
    try:
        problem = json.loads(body)
        code = ErrorCode(problem["code"])
    except (ValueError, KeyError, TypeError):
        text = body[:200].decode(errors="replace")
        return NanoError(ErrorCode.INTERNAL, f"the API answered {status} with something that is no problem: {text}")
    details = {
        name: problem[name] for name in ("field", "errors", "incident", "request_id") if problem.get(name) is not None
    }
    if "retry-after" in headers:
        details["retry_after_seconds"] = float(headers["retry-after"])
    detail = problem.get("detail") or problem.get("title") or code.value
    return NanoError(code, detail, reason=problem.get("reason"), **details)


def ended(operation: Mapping[str, Any]) -> bool:
    """Return whether an operation has ended."""
    return operation["state"] in ("succeeded", "failed", "cancelled")


def check_succeeded(operation: Mapping[str, Any]) -> None:
    """Raise the error of an operation that did not succeed."""
    if operation["state"] == "cancelled":
        raise NanoError(ErrorCode.CANCELLED, f"operation {operation['id']} was cancelled")
    if operation["state"] == "failed":
        error = operation.get("error") or {"code": "internal", "message": "no reason given"}
        raise NanoError(ErrorCode(error["code"]), error["message"], reason=error.get("reason"))
