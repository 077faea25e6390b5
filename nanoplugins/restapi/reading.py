"""``GET`` of a declared route without Tornado's ``RequestHandler``, which costs half of a short answer.

The answer is the same, header by header, as ``RouteHandler``'s, which serves everything else; a test compares them.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from http.client import responses as HTTP_REASONS  # noqa: N812  a constant
from typing import cast

import structlog
from tornado import httputil
from tornado.http1connection import HTTP1Connection

from nanocore.contracts.authorizer import ANONYMOUS
from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import PUBLIC
from nanoplugins.restapi.api import Api
from nanoplugins.restapi.endpoints import Endpoint
from nanoplugins.restapi.handling import (
    API_POLICY,
    SECURITY_HEADERS,
    credential_of,
    inside,
    matches,
    request_id_of,
    sent_or_cut,
)
from nanoplugins.restapi.problems import Answer, HttpProblem, problem

FIXED_HEADERS = {**SECURITY_HEADERS, "Content-Security-Policy": API_POLICY}
SHOWN_BYTES = 40
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")
Log = Callable[[httputil.HTTPServerRequest, int], None]


def is_plain_read(request: httputil.HTTPServerRequest) -> bool:
    """Return whether ``request`` is a GET without a body."""
    headers = request.headers
    return request.method == "GET" and "Content-Length" not in headers and "Transfer-Encoding" not in headers


class PlainRead(httputil.HTTPMessageDelegate):
    """One request; made by the router."""

    def __init__(
        self,
        api: Api,
        endpoint: Endpoint,
        request: httputil.HTTPServerRequest,
        parameters: Mapping[str, str],
        log: Log,
    ) -> None:
        self._api = api
        self._endpoint = endpoint
        self._request = request
        self._parameters = parameters
        self._log = log
        self._task: asyncio.Task[None] | None = None

    def finish(self) -> None:
        """Answer; called by Tornado once the request is read."""
        self._task = asyncio.get_running_loop().create_task(self._serve(), name="restapi.read")

    async def _serve(self) -> None:
        request_id = request_id_of(self._request)
        structlog.contextvars.bind_contextvars(trace=request_id)
        try:
            answer = await self._work()
        except NanoError as error:
            answer = problem(error, request_id)
        except Exception:
            self._api.context.log.exception("request failed", request_id=request_id, incident=request_id)
            answer = problem(inside(request_id), request_id)
        await self._send(answer, request_id)
        self._log(self._request, answer.status)

    async def _work(self) -> Answer:
        endpoint = self._endpoint
        credential = credential_of(self._request)
        if credential == ANONYMOUS and endpoint.message.permission != PUBLIC:
            raise NanoError(ErrorCode.UNAUTHENTICATED, "log in first")
        message = endpoint.build(self._parameters, self._query(), b"", {})
        answer = endpoint.answer(await self._api.core.call_reply(message, credential=credential))
        etag = answer.headers.get("ETag")
        if etag is not None and matches(etag, self._request.headers.get("If-None-Match")):
            return Answer(304, headers=answer.headers)
        return answer

    def _query(self) -> Mapping[str, list[str]]:
        return {
            name: [_text(name, value) for value in values] for name, values in self._request.query_arguments.items()
        }

    async def _send(self, answer: Answer, request_id: str) -> None:
        connection = cast("HTTP1Connection", self._request.connection)
        headers = httputil.HTTPHeaders()
        for name, value in FIXED_HEADERS.items():
            headers[name] = value
        headers["X-Request-Id"] = request_id
        headers["Date"] = _date(int(time.time()))
        is_revision = "ETag" in answer.headers
        headers["Cache-Control"] = "private, no-cache" if is_revision else "no-store"
        for name, value in answer.headers.items():
            headers[name] = value
        body = answer.body
        if answer.status in (204, 304):
            body = b""
        else:
            headers["Content-Type"] = answer.content_type
            headers["Content-Length"] = str(len(body))
        start = httputil.ResponseStartLine("", answer.status, HTTP_REASONS.get(answer.status, "Unknown"))
        sent = connection.write_headers(start, headers, body)
        connection.finish()
        await sent_or_cut(self._api, connection, sent, request_id)


def _text(name: str, value: bytes) -> str:
    """Return a query parameter as Tornado's handlers would."""
    try:
        return _CONTROL.sub(" ", value.decode()).strip()
    except UnicodeDecodeError as error:
        text = f"Invalid unicode in {name}: {value[:SHOWN_BYTES]!r}"
        raise HttpProblem(400, ErrorCode.INVALID_ARGUMENT, text, reason="http.bad_request") from error


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return httputil.format_timestamp(second)
