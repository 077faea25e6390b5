"""Starts an inspection process and reads its verdict. Nothing else looks into a file before it was inspected."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

from nanocore.errors import NanoError
from nanocore.model.image import ImageKind
from nanocore.wire import decode_json
from nanoplugins.images.formats import Verdict

MAX_VERDICT_BYTES = 64 * 1024
CPU_SECONDS = 60


async def inspect_image(
    path: Path, *, max_virtual_bytes: int, timeout_seconds: float, kind: ImageKind = ImageKind.DISK
) -> Verdict:
    """Return the verdict; an inspection that crashes, hangs or talks nonsense is a refusal.

    Raises ``OSError`` when the file can't be opened or the process can't be started.
    """
    image = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        arguments = ["inspect", kind.value, str(max_virtual_bytes), str(CPU_SECONDS)]
        process = await _start(
            arguments, stdin=image, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    finally:
        os.close(image)
    return await _judged(process, process.stdout, timeout_seconds)


async def convert_image(
    path: Path, target: Path, *, format: str, max_virtual_bytes: int, max_bytes: int, timeout_seconds: float
) -> Verdict:
    """Write ``path``, which an inspection found to be of ``format``, to the new file ``target`` as qcow2.

    As ``inspect_image``; the caller removes ``target`` whenever it is not wanted.
    """
    image = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        output = os.open(target, flags, 0o600)
        try:
            limits = [str(max_virtual_bytes), str(max_bytes), str(int(timeout_seconds))]
            arguments = ["convert", format, *limits]
            process = await _start(arguments, stdin=image, stdout=output, stderr=asyncio.subprocess.PIPE)
        finally:
            os.close(output)
    finally:
        os.close(image)
    return await _judged(process, process.stderr, timeout_seconds)


async def _start(arguments: list[str], *, stdin: int, stdout: int, stderr: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        f"nanoplugins.images.{arguments[0]}",
        *arguments[1:],
        # Secrets in our environment are none of its business; where our own modules come from is.
        env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "LC_ALL": "C.UTF-8"},
        cwd="/",
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
    )


async def _judged(
    process: asyncio.subprocess.Process, words: asyncio.StreamReader | None, timeout_seconds: float
) -> Verdict:
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _verdict(process, words)
    except TimeoutError:
        return Verdict(refusal=f"its inspection took longer than {timeout_seconds:g} s")
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _verdict(process: asyncio.subprocess.Process, words: asyncio.StreamReader | None) -> Verdict:
    if words is None:
        message = "started with a pipe"
        raise RuntimeError(message)
    text = await words.read(MAX_VERDICT_BYTES)
    status = await process.wait()
    if status == 0:
        with suppress(NanoError):
            return decode_json(text, Verdict)
    ending = f"was ended by signal {-status}" if status < 0 else f"failed with status {status}"
    return Verdict(refusal=f"its inspection {ending}: it is damaged, or made to break whoever reads it")
