"""Hears a guest that has no agent: what its first-boot settings make it write to a virtio port, on a UNIX socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from nanoplugins.guest_tools.readiness import MAX_TEXT_BYTES, Probe, parse

AGAIN_SECONDS = 2.0
PAUSE_SECONDS = 0.1
REPORT_PAUSE_SECONDS = 1.0
"""An honest guest reports every three seconds."""
END = b"== end\n"
BEGIN = b"== cloud-init\n"


async def listen(path: Path, heard: Callable[[Probe], None]) -> None:
    """Call ``heard`` with everything the guest tells, until cancelled; the socket comes and goes with the guest."""
    while True:
        try:
            reader, writer = await asyncio.open_unix_connection(str(path), limit=MAX_TEXT_BYTES)
        except OSError:
            await asyncio.sleep(AGAIN_SECONDS)
            continue
        try:
            await _read(reader, heard)
        finally:
            writer.close()
        await asyncio.sleep(AGAIN_SECONDS)


async def _read(reader: asyncio.StreamReader, heard: Callable[[Probe], None]) -> None:
    """Take the last report out of what came; a guest that writes endlessly without an end is cut, and never kept.

    What a guest writes faster than is read here waits in its own QEMU, so that it costs nobody else anything.
    """
    kept = b""
    while chunk := await reader.read(MAX_TEXT_BYTES):
        kept = (kept + chunk)[-MAX_TEXT_BYTES:]
        whole, end, rest = kept.rpartition(END)
        begin = whole.rfind(BEGIN)
        if end:
            kept = rest
        if begin >= 0:
            heard(parse(whole[begin:].decode(errors="replace")))
        await asyncio.sleep(REPORT_PAUSE_SECONDS if end else PAUSE_SECONDS)
