"""The asyncio client: the same calls as ``Client``, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx2

from nanocore.client.endpoint import MAX_WAIT_SECONDS, Endpoint, check_succeeded, ended, read_answer
from nanocore.errors import ErrorCode, NanoError


class AsyncClient:
    """One connection pool to one API; errors as ``Client``."""

    def __init__(self, endpoint: Endpoint, *, timeout_seconds: float = 60.0) -> None:
        self.endpoint = endpoint
        socket = None if endpoint.socket is None else str(endpoint.socket)
        transport = httpx2.AsyncHTTPTransport(uds=socket, verify=endpoint.tls())
        self._http = httpx2.AsyncClient(transport=transport, timeout=timeout_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,  # noqa: ANN401  JSON
        params: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Any:  # noqa: ANN401  JSON
        """Send one request and return the answer's JSON."""
        headers = self.endpoint.headers(method, idempotency_key)
        try:
            response = await self._http.request(
                method, self.endpoint.base_url + path, headers=headers, json=json, params=params
            )
        except httpx2.TransportError as error:
            raise self.endpoint.unreachable(error) from error
        return read_answer(response.status_code, response.content, response.headers)

    async def get(self, path: str, **params: Any) -> Any:  # noqa: ANN401  JSON
        """Read."""
        return await self.request("GET", path, params=params)

    async def items(self, path: str, **params: Any) -> AsyncIterator[dict[str, Any]]:  # noqa: ANN401  JSON
        """Yield every item of a list, page after page."""
        while True:
            page = await self.get(path, **{"limit": 1000, **params})
            for item in page["items"]:
                yield item
            if not page.get("next_cursor"):
                return
            params["cursor"] = page["next_cursor"]

    async def wait(self, operation: Mapping[str, Any], *, timeout_seconds: float = 600.0) -> dict[str, Any]:
        """Return the operation when it has succeeded; raise its error, or ``deadline_exceeded``."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + timeout_seconds
        now = dict(operation)
        while not ended(now):
            left = ends - loop.time()
            if left <= 0:
                raise NanoError(
                    ErrorCode.DEADLINE_EXCEEDED,
                    f"operation {now['id']} has not ended after {timeout_seconds:g} s; it goes on",
                )
            now = await self.get(f"/operations/{now['id']}", wait_seconds=round(min(left, MAX_WAIT_SECONDS), 3))
        check_succeeded(now)
        return now
