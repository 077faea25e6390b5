"""The blocking client."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from nanocore.client.endpoint import (
    MAX_WAIT_SECONDS,
    UPLOAD_CHUNK_BYTES,
    Endpoint,
    check_succeeded,
    ended,
    read_answer,
)
from nanocore.errors import ErrorCode, NanoError


class Client:
    """One connection to one API. Paths are below ``/api/v2``; answers are plain JSON.

    Every call raises the ``NanoError`` that the API answered with, or ``unavailable`` when there is no answer.
    """

    def __init__(self, endpoint: Endpoint, *, timeout_seconds: float = 60.0) -> None:
        self.endpoint = endpoint
        socket = None if endpoint.socket is None else str(endpoint.socket)
        transport = httpx2.HTTPTransport(uds=socket, verify=endpoint.tls())
        self._http = httpx2.Client(transport=transport, timeout=timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,  # noqa: ANN401  JSON
        params: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Any:  # noqa: ANN401  JSON
        """Send one request and return the answer's JSON."""
        response = self._send(method, path, self.endpoint.headers(method, idempotency_key), json=json, params=params)
        return read_answer(response.status_code, response.content, response.headers)

    def get(self, path: str, **params: Any) -> Any:  # noqa: ANN401  JSON
        """Read."""
        return self.request("GET", path, params=params)

    def items(self, path: str, **params: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401  JSON
        """Yield every item of a list, page after page."""
        while True:
            page = self.get(path, **{"limit": 1000, **params})
            yield from page["items"]
            if not page.get("next_cursor"):
                return
            params["cursor"] = page["next_cursor"]

    def wait(
        self,
        operation: Mapping[str, Any],
        *,
        timeout_seconds: float = 600.0,
        on_progress: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """Return the operation when it has succeeded; raise its error, or ``deadline_exceeded``."""
        ends = time.monotonic() + timeout_seconds
        now = dict(operation)
        while not ended(now):
            left = ends - time.monotonic()
            if left <= 0:
                raise NanoError(
                    ErrorCode.DEADLINE_EXCEEDED,
                    f"operation {now['id']} has not ended after {timeout_seconds:g} s; it goes on",
                )
            pause = min(left, 1.0 if on_progress else MAX_WAIT_SECONDS)
            now = self.get(f"/operations/{now['id']}", wait_seconds=round(pause, 3))
            if on_progress is not None:
                on_progress(now)
        check_succeeded(now)
        return now

    def upload_disk_image(
        self,
        file: Path,
        name: str,
        *,
        sha256: str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        timeout_seconds: float = 3600.0,
    ) -> dict[str, Any]:
        """Upload ``file`` and return the disk image when its inspection has passed; raise the reason if it has not."""
        body = {"name": name} | ({"sha256": sha256} if sha256 else {})
        return self.upload_image("/disk-images", file, body, on_progress=on_progress, timeout_seconds=timeout_seconds)

    def upload_image(
        self,
        collection: str,
        file: Path,
        body: Mapping[str, Any],
        *,
        on_progress: Callable[[int, int], None] | None = None,
        timeout_seconds: float = 3600.0,
    ) -> dict[str, Any]:
        """Upload ``file`` as an image of ``collection`` (``/disk-images``, ``/media-images``), as above.

        ``body`` says what the image is to be called, and more.
        """
        size = file.stat().st_size
        image = self.request("POST", collection, json={**body, "size_bytes": size})
        path = f"/uploads/{image['id']}"
        with file.open("rb") as source:
            offset = 0
            while offset < size:
                source.seek(offset)
                offset = self._append(path, offset, source.read(UPLOAD_CHUNK_BYTES))
                if on_progress is not None:
                    on_progress(offset, size)
        return self._wait_for_image(f"{collection}/{image['id']}", timeout_seconds)

    def _append(self, path: str, offset: int, chunk: bytes) -> int:
        headers = self.endpoint.headers("PATCH") | {
            "Tus-Resumable": "1.0.0",
            "Upload-Offset": str(offset),
            "Content-Type": "application/offset+octet-stream",
        }
        response = self._send("PATCH", path, headers, content=chunk)
        read_answer(response.status_code, response.content, response.headers)
        return int(response.headers["upload-offset"])

    def _wait_for_image(self, path: str, timeout_seconds: float) -> dict[str, Any]:
        ends = time.monotonic() + timeout_seconds
        while time.monotonic() < ends:
            image: dict[str, Any] = self.get(path)
            if image["state"] == "ready":
                return image
            if image["state"] == "failed":
                raise NanoError(ErrorCode.INVALID_ARGUMENT, str(image["reason"]))
            time.sleep(0.2)
        raise NanoError(ErrorCode.DEADLINE_EXCEEDED, f"{path} was not ready after {timeout_seconds:g} s")

    def download_image(self, path: str, file: Path, *, on_progress: Callable[[int, int], None] | None = None) -> None:
        """Write the image at ``path`` (``/disk-images/ID``) to ``file``.

        The bytes go to ``file`` with ``.part`` behind its name, where a repeat goes on; the digest is checked before
        the file gets its name. Raises ``conflict`` for a wrong digest.
        """
        image = self.get(path)
        part = file.with_name(file.name + ".part")
        offset = part.stat().st_size if part.exists() else 0
        if offset < image["size_bytes"]:
            self._fetch(f"{path}/content", part, offset, image["size_bytes"], on_progress)
        with part.open("rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
        if digest != image["sha256"]:
            part.unlink()
            raise NanoError(
                ErrorCode.CONFLICT, f"what came has SHA-256 {digest} instead of {image['sha256']}; download it again"
            )
        part.rename(file)

    def _fetch(
        self, path: str, part: Path, offset: int, size: int, on_progress: Callable[[int, int], None] | None
    ) -> None:
        headers = self.endpoint.headers("GET") | {"Range": f"bytes={offset}-"}
        try:
            with (
                self._http.stream("GET", self.endpoint.base_url + path, headers=headers) as response,
                part.open("ab") as target,
            ):
                if response.is_error:
                    read_answer(response.status_code, response.read(), response.headers)
                for chunk in response.iter_bytes():
                    offset += target.write(chunk)
                    if on_progress is not None:
                        on_progress(offset, size)
        except httpx2.TransportError as error:
            raise self.endpoint.unreachable(error) from error

    def _send(self, method: str, path: str, headers: dict[str, str], **content: Any) -> httpx2.Response:  # noqa: ANN401
        try:
            return self._http.request(method, self.endpoint.base_url + path, headers=headers, **content)
        except httpx2.TransportError as error:
            raise self.endpoint.unreachable(error) from error
