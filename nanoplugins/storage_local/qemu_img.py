"""Runs ``qemu-img``: argument lists, explicit formats, limits, a deadline; its complaints become ``NanoError``."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from nanocore.errors import ErrorCode, NanoError

PROGRAM = "qemu-img"
TIMEOUT_SECONDS = 60.0
CPU_SECONDS = 30
COPY_SECONDS = 4 * 3600
"""A copy takes as long as its disk and its size say; whoever asked can cancel it."""
MEMORY_BYTES = 1024**3
METADATA_BYTES = 64 * 1024**2
"""What a command may write beyond the file's present end: tables only, never a guest's data."""
MAX_COMPLAINT = 2000

ERRORS: tuple[tuple[re.Pattern[str], ErrorCode, str, str], ...] = (
    (
        re.compile(r"No space left on device|Disk quota exceeded"),
        ErrorCode.NO_CAPACITY,
        "storage_local.full",
        "the storage pool is full; delete volumes or add space",
    ),
    (
        re.compile(r"Failed to get .*lock|Failed to lock|Is another process using the image"),
        ErrorCode.WRONG_STATE,
        "storage_local.in_use",
        "the volume is in use; stop its instance first",
    ),
    (
        re.compile(r"Permission denied|Operation not permitted|Read-only file system|Input/output error"),
        ErrorCode.UNAVAILABLE,
        "storage_local.refused",
        "the file system refused; check the storage pool's folder",
    ),
    (
        re.compile(r"File too large"),
        ErrorCode.UNAVAILABLE,
        "storage_local.limit",
        "the file system or a limit does not allow a file that large",
    ),
    (
        re.compile(r"No such file or directory"),
        ErrorCode.NOT_FOUND,
        "storage_local.no_file",
        "a file is gone",
    ),
    (
        re.compile(r"Image is not in \w+ format|[Ii]nvalid (?:qcow2|header)|[Cc]orrupt"),
        ErrorCode.INTERNAL,
        "storage_local.damaged",
        "the file is damaged",
    ),
)
"""First match wins; anything else is ``internal``."""


async def create_volume(
    path: Path, size_bytes: int, *, base: Path | None = None, base_format: str | None = None
) -> None:
    """Make an empty qcow2 at ``path``, or a thin clone of ``base``, whose format is told, never probed."""
    arguments = ["create", "-q", "-f", "qcow2"]
    if base is not None and base_format is not None:
        arguments += ["-F", base_format, "-b", str(base)]
    await _run([*arguments, str(path), str(size_bytes)], written_bytes=METADATA_BYTES)


async def grow_volume(path: Path, size_bytes: int, *, file_bytes: int) -> None:
    """Grow the qcow2 at ``path``, whose file is ``file_bytes`` long now."""
    await _run(["resize", "-q", "-f", "qcow2", str(path), str(size_bytes)], written_bytes=file_bytes + METADATA_BYTES)


async def shrink_volume(path: Path, size_bytes: int, *, file_bytes: int) -> None:
    """Cut the qcow2 at ``path``; what lies beyond ``size_bytes`` is lost."""
    arguments = ["resize", "-q", "-f", "qcow2", "--shrink", str(path), str(size_bytes)]
    await _run(arguments, written_bytes=file_bytes + METADATA_BYTES)


async def copy_volume(source: Path, target: Path, size_bytes: int) -> None:
    """Write what the qcow2 at ``source`` and its base hold, ``size_bytes`` at most, into a qcow2 at ``target``."""
    arguments = ["convert", "-q", "-f", "qcow2", "-O", "qcow2", str(source), str(target)]
    written = size_bytes + size_bytes // 1024 + METADATA_BYTES
    await _run(arguments, written_bytes=written, timeout_seconds=COPY_SECONDS, cpu_seconds=COPY_SECONDS)


async def change_snapshot(path: Path, act: str, name: str, *, file_bytes: int) -> None:
    """Create (``-c``), restore (``-a``) or delete (``-d``) a snapshot inside the qcow2 at ``path``."""
    # `snapshot` has no -f; only options of the image keep it from guessing the format.
    image = f"driver=qcow2,file.driver=file,file.filename={str(path).replace(',', ',,')}"
    arguments = ["snapshot", "-q", "--image-opts", act, name, image]
    await _run(arguments, written_bytes=file_bytes + METADATA_BYTES)


def translate(complaint: str) -> NanoError:
    """Return the error for what ``qemu-img`` printed."""
    text = complaint.strip()[:MAX_COMPLAINT]
    for pattern, code, reason, meaning in ERRORS:
        if pattern.search(text):
            return NanoError(code, f"{meaning} ({text})", reason=reason)
    return NanoError(ErrorCode.INTERNAL, f"qemu-img failed: {text or 'no message'}", reason="storage_local.qemu_img")


async def _run(
    arguments: Sequence[str],
    *,
    written_bytes: int,
    timeout_seconds: float = TIMEOUT_SECONDS,
    cpu_seconds: int = CPU_SECONDS,
) -> None:
    limits = [f"--as={MEMORY_BYTES}", f"--cpu={cpu_seconds}", f"--fsize={written_bytes}", "--core=0", "--nofile=64"]
    # The messages are matched, so they must be English; nothing else of our environment concerns the program.
    environment = {"LC_ALL": "C", "PATH": os.environ.get("PATH", os.defpath)}
    try:
        process = await asyncio.create_subprocess_exec(
            "prlimit",
            *limits,
            PROGRAM,
            *arguments,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError as error:
        raise _missing("prlimit", "util-linux") from error
    try:
        async with asyncio.timeout(timeout_seconds):
            _, complaint = await process.communicate()
    except TimeoutError as error:
        raise NanoError(
            ErrorCode.UNAVAILABLE,
            f"qemu-img {arguments[0]} did not end within {timeout_seconds:.0f} s; is the storage pool's disk stuck?",
            reason="storage_local.timeout",
        ) from error
    finally:
        await _reap(process)
    if process.returncode == 0:
        return
    text = complaint.decode(errors="replace")
    if "failed to execute qemu-img" in text:
        raise _missing(PROGRAM, "qemu-utils")
    raise translate(text or f"ended by signal {-(process.returncode or 0)}")


async def _reap(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _missing(program: str, package: str) -> NanoError:
    return NanoError(
        ErrorCode.UNAVAILABLE,
        f"{program} is not installed; install the package {package}",
        reason="storage_local.no_program",
    )
