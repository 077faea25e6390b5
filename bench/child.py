"""A measured program in a process of its own, so that its CPU and memory are its own.

The program is an asynchronous context manager that yields the commands it answers; parent and child speak JSON lines.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

ROOT = Path(__file__).parents[1]
MAX_LINE_BYTES = 64 * 1024 * 1024
STOP_SECONDS = 10.0

Commands = Mapping[str, Callable[..., Awaitable[Any]]]
Program = Callable[..., AbstractAsyncContextManager[Commands]]


class Child:
    """The parent's side."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def ask(self, command: str, **arguments: Any) -> Any:
        """Return what the child's ``command`` answers."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([command, arguments]).encode() + b"\n")
        return await self.answer()

    async def answer(self) -> Any:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a measured program ended with {await self._process.wait()}")
        return json.loads(line)

    async def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def child(program: Program, **arguments: Any) -> AsyncIterator[Child]:
    """Run ``program`` with ``arguments`` (JSON) in a process; what it writes to stderr is the parent's."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.child",
        f"{program.__module__}:{program.__name__}",
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=MAX_LINE_BYTES,
    )
    running = Child(process)
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(arguments).encode() + b"\n")
        await running.answer()
        yield running
    finally:
        await running.stop()


def cpu_seconds(pid: int) -> float:
    """Return the CPU that all threads of ``pid`` used so far, to the nanosecond (``clock_getcpuclockid``)."""
    return time.clock_gettime((~pid << 3) | 2)


def resident_bytes(pid: int) -> int:
    """Return the resident memory of ``pid``."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def serve(program: Program) -> None:
    """Run the program until the parent closes our standard input."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    arguments = json.loads(await reader.readline())
    async with program(**arguments) as commands:
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)  # as a node sets them
        say(None)
        while line := await reader.readline():
            command, options = json.loads(line)
            say(await commands[command](**options))


def say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    module, _, name = sys.argv[1].partition(":")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(getattr(importlib.import_module(module), name)))
