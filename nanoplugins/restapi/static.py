"""The portal's files: from memory, packed once, with a policy that allows nothing from elsewhere."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import mimetypes
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from nanocore.capabilities.portal import StaticFolder
from nanocore.errors import ErrorCode, NanoError
from nanoplugins.restapi.handling import BaseHandler
from nanoplugins.restapi.problems import Answer

MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_CACHE_BYTES = 64 * 1024 * 1024
GZIP_LEAST_BYTES = 1024
HASHED = re.compile(r"[-.][A-Za-z0-9_-]{8,}\.[a-z0-9]+$")
"""File names with a digest of their content in them, which never change."""

_COMMON = (
    "default-src 'self'; script-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; "
)
POLICY = _COMMON + "style-src 'self'; frame-ancestors 'none'"
RELAXED_POLICY = _COMMON + "style-src 'self' 'unsafe-inline'; frame-ancestors 'self'"
"""For documents whose library writes styles (the serial console); the portal itself may frame them, nobody else."""

TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
}
PACKED = frozenset({".js", ".mjs", ".css", ".html", ".json", ".svg", ".webmanifest", ".map", ".txt"})


@dataclass(frozen=True, slots=True)
class _File:
    stamp: tuple[int, int]
    body: bytes
    packed: bytes | None
    etag: str
    content_type: str

    @property
    def size(self) -> int:
        return len(self.body) + len(self.packed or b"")


class StaticFiles:
    """Finds and keeps files of all declared folders."""

    def __init__(self, folders: Iterable[StaticFolder]) -> None:
        self._folders = sorted(folders, key=lambda folder: len(folder.url_prefix), reverse=True)
        self._cache: OrderedDict[Path, _File] = OrderedDict()
        self._lock = asyncio.Lock()

    def folder_of(self, path: str) -> StaticFolder | None:
        """Return the folder with the longest prefix of ``path``."""
        for folder in self._folders:
            prefix = folder.url_prefix.rstrip("/")
            if path == prefix or path.startswith(f"{prefix}/"):
                return folder
        return None

    def resolve(self, path: str) -> tuple[StaticFolder, Path]:
        """Return the file behind a URL path, or the folder's index. Raises ``not_found``."""
        folder = self.folder_of(path)
        if folder is None:
            raise _nothing(path)
        inside = unquote(path.removeprefix(folder.url_prefix.rstrip("/"))).lstrip("/")
        found = None if "\0" in inside else _inside(folder.folder, inside)
        # A missing asset is missing; only pages, which have no suffix, are the single page's own.
        if found is None and folder.index is not None and not Path(inside).suffix:
            found = _inside(folder.folder, folder.index)
        if found is None:
            raise _nothing(path)
        return folder, found

    async def read(self, path: Path) -> _File:
        """Return a file, from memory if it has not changed."""
        stat = path.stat()  # noqa: ASYNC240  one system call, of a file in the kernel's cache
        stamp = (stat.st_mtime_ns, stat.st_size)
        known = self._cache.get(path)
        if known is not None and known.stamp == stamp:
            self._cache.move_to_end(path)
            return known
        if stat.st_size > MAX_FILE_BYTES:
            raise NanoError(ErrorCode.UNSUPPORTED, f"{path.name} is too long to be served")
        async with self._lock:
            file = await asyncio.to_thread(_load, path, stamp)
        self._cache[path] = file
        while sum(entry.size for entry in self._cache.values()) > MAX_CACHE_BYTES and len(self._cache) > 1:
            self._cache.popitem(last=False)
        return file


class StaticHandler(BaseHandler):
    """``GET`` of a portal file; nothing here needs a login, as the files hold no data."""

    is_document = True

    def initialize(self, **options: Any) -> None:  # noqa: ANN401  each handler has its own
        """Take the files; called by Tornado."""
        super().initialize(**options)
        self._files: StaticFiles = options["files"]

    async def get(self) -> None:
        """Answer with the file or the single page."""
        folder, path = self._files.resolve(self.request.path)
        try:
            file = await self._files.read(path)
        except OSError as error:
            raise _nothing(self.request.path) from error
        name = path.relative_to(folder.folder.resolve()).as_posix()
        relaxed = name in {item.lstrip("/") for item in folder.relaxed_style_paths} or (
            self.request.path in folder.relaxed_style_paths
        )
        self.set_header("Content-Security-Policy", RELAXED_POLICY if relaxed else POLICY)
        if relaxed:
            self.set_header("X-Frame-Options", "SAMEORIGIN")
        if self.api.is_certificate_real:
            self.set_header("Strict-Transport-Security", "max-age=31536000")
        is_immutable = HASHED.search(path.name) is not None and path.suffix != ".html"
        self.set_header("Cache-Control", "public, max-age=31536000, immutable" if is_immutable else "no-cache")
        self.set_header("ETag", file.etag)
        self.set_header("Vary", "Accept-Encoding")
        if self.check_etag_header():
            await self.send(Answer(304))
            return
        body = file.body
        if file.packed is not None and "gzip" in self.request.headers.get("Accept-Encoding", ""):
            self.set_header("Content-Encoding", "gzip")
            body = file.packed
        await self.send(Answer(200, body, content_type=file.content_type))

    head = get


def _inside(folder: Path, name: str) -> Path | None:
    """Return the file ``name`` if it is one and really below ``folder``."""
    root = folder.resolve()
    try:
        path = (root / name).resolve()
        return path if path.is_relative_to(root) and path.is_file() else None
    except OSError:
        return None


def _load(path: Path, stamp: tuple[int, int]) -> _File:
    body = path.read_bytes()
    packed = None
    if path.suffix in PACKED and len(body) >= GZIP_LEAST_BYTES:
        packed = gzip.compress(body, 6, mtime=0)
        packed = packed if len(packed) < len(body) else None
    kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return _File(stamp, body, packed, f'"{hashlib.sha256(body).hexdigest()[:32]}"', kind)


def _nothing(path: str) -> NanoError:
    return NanoError(ErrorCode.NOT_FOUND, f"there is nothing at {path[:200]}")
