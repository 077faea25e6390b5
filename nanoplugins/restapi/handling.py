"""The base of every handler: identity, checks before the body, problem+json, headers, the access log."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Mapping
from http.client import responses as HTTP_REASONS  # noqa: N812  a constant
from typing import Any, cast

import structlog
from tornado import httputil, iostream, web
from tornado.http1connection import HTTP1Connection

from nanocore.contracts.authorizer import ANONYMOUS, LOCAL
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import new_id
from nanoplugins.restapi.api import Api
from nanoplugins.restapi.identities import SESSION_PREFIX
from nanoplugins.restapi.problems import Answer, HttpProblem, problem

COOKIE = "__Host-nano_session"
TOKEN_PREFIX = "token:"  # noqa: S105  the credential's kind
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_CREDENTIAL = 512
MAX_DIGITS = 18
"""Longest number in a header."""
DRAIN_BYTES = 8 * 1024 * 1024
"""A body that is too long is read and thrown away up to here, so that the client gets to see the answer."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
DOCUMENT_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Frame-Options": "DENY",
}
"""What only means something for what a browser shows; each header costs a request of JSON about 1 % of its time."""
API_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def is_local_socket(request: httputil.HTTPServerRequest) -> bool:
    """Return whether the request came over the UNIX socket; who may connect was checked then."""
    stream = getattr(request.connection, "stream", None)
    return stream is not None and stream.socket is not None and stream.socket.family == socket.AF_UNIX


def is_number(text: str) -> bool:
    """Return whether ``text`` from a header is a number for ``int``, which also fails on ``²`` and 5,000 digits."""
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS


def peer_uid(connection: socket.socket) -> int:
    """Return the user id of the process at the other end of a UNIX socket."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


def request_id_of(request: httputil.HTTPServerRequest) -> str:
    """Return the id in the answer, the problem and the log: the client's own if it gave a decent one."""
    known: str | None = getattr(request, "nano_request_id", None)
    if known is None:
        given = request.headers.get("X-Request-Id", "")
        known = given if _REQUEST_ID.fullmatch(given) else new_id()
        request.nano_request_id = known  # type: ignore[attr-defined]
    return known


def credential_of(request: httputil.HTTPServerRequest) -> str:
    """Return the credential of a request. Raises ``unauthenticated`` for one that can't be read."""
    header = request.headers.get("Authorization")
    if header is not None:
        scheme, _, value = header.partition(" ")
        if scheme.lower() != "bearer" or not 0 < len(value) <= MAX_CREDENTIAL:
            raise NanoError(ErrorCode.UNAUTHENTICATED, "Authorization must be `Bearer TOKEN`")
        return TOKEN_PREFIX + value.strip()
    if "Cookie" in request.headers:
        morsel = request.cookies.get(COOKIE)
        if morsel is not None and morsel.value and len(morsel.value) <= MAX_CREDENTIAL:
            return SESSION_PREFIX + morsel.value
    return LOCAL if is_local_socket(request) else ANONYMOUS


def matches(etag: str, wanted: str | None) -> bool:
    """Return whether ``If-None-Match`` names the revision that the answer has."""
    if not wanted:
        return False
    return wanted.strip() == "*" or etag in (part.strip().removeprefix("W/") for part in wanted.split(","))


def inside(request_id: str) -> NanoError:
    """Return what a client is told of a failure that only the log may explain."""
    text = f"something went wrong here; the log has it under incident {request_id}"
    return NanoError(ErrorCode.INTERNAL, text, incident=request_id)


async def sent_or_cut(api: Api, connection: HTTP1Connection, sent: asyncio.Future[None], request_id: str) -> None:
    """Return when the answer is on its way; a client that does not read it is cut off after ``stall_seconds``."""
    stream = connection.stream
    if stream is None or not stream.writing():
        # Nothing is left to wait for; a client that has gone is no news to anybody.
        sent.add_done_callback(_retrieve)
        return
    try:
        await asyncio.wait_for(asyncio.shield(sent), api.config.stall_seconds)
    except iostream.StreamClosedError:
        pass
    except TimeoutError:
        api.context.log.info("client does not read", request_id=request_id)
        connection.close()


class BaseHandler(web.RequestHandler):
    """Everything but the answer itself."""

    policy = API_POLICY
    is_document = False

    def initialize(self, **options: Any) -> None:  # noqa: ANN401  each handler has its own
        """Take the shared parts; called by Tornado for every request."""
        self.api: Api = options["api"]
        # Tornado runs the handler in a task of its own, with a copy of this context: logs and messages carry the id.
        structlog.contextvars.bind_contextvars(trace=self.request_id)

    def set_default_headers(self) -> None:
        """Set what every answer carries, problems included."""
        self.clear_header("Server")
        self.set_header("X-Request-Id", self.request_id)
        for name, value in SECURITY_HEADERS.items():
            self.set_header(name, value)
        if self.is_document:
            for name, value in DOCUMENT_HEADERS.items():
                self.set_header(name, value)
        self.set_header("Content-Security-Policy", self.policy)
        self.set_header("Cache-Control", "no-store")

    @property
    def request_id(self) -> str:
        """The id in the answer, the problem and the log: the client's own if it gave a decent one."""
        return request_id_of(self.request)

    @property
    def connection(self) -> HTTP1Connection:
        """The connection, as the only kind that Tornado's server makes."""
        return cast("HTTP1Connection", self.request.connection)

    # -- who

    def credential(self) -> str:
        """Return the credential of this request. Raises ``unauthenticated`` for one that can't be read."""
        return credential_of(self.request)

    def is_from_elsewhere(self) -> bool:
        """Return whether a page of another site made a browser send this."""
        origin = self.request.headers.get("Origin")
        return origin is not None and origin.partition("://")[2].lower() != self.request.host.lower()

    async def check_cross_site(self, credential: str) -> None:
        """Return unless another site made a browser send this. Raises ``permission_denied``."""
        if self.request.method in SAFE_METHODS:
            return
        if self.is_from_elsewhere():
            raise NanoError(
                ErrorCode.PERMISSION_DENIED, "requests from other sites are not taken", reason="http.origin"
            )
        if credential.startswith(SESSION_PREFIX):
            await self.api.identities.check_csrf(credential, self.request.headers.get("X-CSRF-Token", ""))

    # -- answers

    async def send(self, answer: Answer) -> None:
        """Send ``answer``; a client that does not read it is cut off after ``stall_seconds``."""
        self.set_status(answer.status)
        for name, value in answer.headers.items():
            self.set_header(name, value)
        if answer.status not in (204, 304):
            self.set_header("Content-Type", answer.content_type)
        sent = self.finish(answer.body or None)
        await sent_or_cut(self.api, self.connection, sent, self.request_id)

    def write_error(self, status_code: int, **kwargs: Any) -> None:  # noqa: ANN401  Tornado's signature
        """Answer any exception as problem+json; called by Tornado."""
        answer = problem(self._as_nano(status_code, kwargs.get("exc_info")), self.request_id)
        self.set_status(answer.status)
        for name, value in answer.headers.items():
            self.set_header(name, value)
        self.set_header("Content-Type", answer.content_type)
        self.finish(b"" if self.request.method == "HEAD" else answer.body)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:  # noqa: ANN401  Tornado's signature
        """Log what nobody expected, with the incident id that the client is told."""
        if not isinstance(value, NanoError | web.HTTPError | iostream.StreamClosedError):
            self.api.context.log.error(
                "request failed", request_id=self.request_id, incident=self.request_id, exc_info=(typ, value, tb)
            )

    def compute_etag(self) -> str | None:
        """Return nothing: hashing a list costs as much as making it; revisions are set as ETag instead."""
        return None

    def check_etag_header(self) -> bool:
        """Return whether ``If-None-Match`` names the revision that the answer has."""
        etag = self._headers.get("ETag")
        return etag is not None and matches(etag, self.request.headers.get("If-None-Match"))

    def _as_nano(self, status_code: int, exc_info: Any) -> NanoError:  # noqa: ANN401  sys.exc_info()
        error = exc_info[1] if exc_info else None
        if isinstance(error, NanoError):
            return error
        if isinstance(error, web.HTTPError) and status_code < 500:  # noqa: PLR2004  a client's mistake
            message = error.log_message or HTTP_REASONS.get(status_code, "the request can't be understood")
            return HttpProblem(status_code, ErrorCode.INVALID_ARGUMENT, message, reason="http.bad_request")
        return inside(self.request_id)


def _retrieve(sent: asyncio.Future[None]) -> None:
    if not sent.cancelled():
        sent.exception()


@web.stream_request_body
class BodyHandler(BaseHandler):
    """A handler with a short body, which is collected here so that its length has one limit and one answer."""

    def initialize(self, **options: Any) -> None:  # noqa: ANN401  each handler has its own
        """Take the shared parts; called by Tornado for every request."""
        super().initialize(**options)
        self._chunks: list[bytes] = []
        self._received = 0

    def prepare(self) -> None:
        """Check the announced length before any of the body is read."""
        length = self.request.headers.get("Content-Length", "0")
        limit = max(DRAIN_BYTES, self.api.config.max_body_bytes)
        self.connection.set_max_body_size(limit)
        # Tornado refuses what is no number; thousands of digits are one, and more than int() takes.
        if length.isascii() and length.isdigit() and (len(length) > MAX_DIGITS or int(length) > limit):
            raise self._too_long({"Connection": "close"})  # the body stays unread

    def data_received(self, chunk: bytes) -> None:
        """Keep a piece of the body, or only count it once there is too much."""
        self._received += len(chunk)
        if self._received <= self.api.config.max_body_bytes:
            self._chunks.append(chunk)

    def take_body(self) -> bytes:
        """Return the body. Raises 413 and, for a body that is not JSON by its own words, 415."""
        if self._received > self.api.config.max_body_bytes:
            raise self._too_long()
        body = b"".join(self._chunks)
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if body and not (kind == "application/json" or kind.endswith("+json")):
            raise HttpProblem(
                415, ErrorCode.INVALID_ARGUMENT, "Content-Type must be application/json", reason="http.content_type"
            )
        return body

    def query(self) -> Mapping[str, list[str]]:
        """Return the query's parameters as text. Raises ``invalid_argument`` for bytes that are none."""
        return {name: self.get_query_arguments(name) for name in self.request.query_arguments}

    def _too_long(self, headers: dict[str, str] | None = None) -> HttpProblem:
        return HttpProblem(
            413,
            ErrorCode.INVALID_ARGUMENT,
            f"the body is longer than {self.api.config.max_body_bytes} bytes",
            reason="http.body_too_long",
            headers=headers,
        )
