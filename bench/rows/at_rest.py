"""An all-in-one node that has nothing to do: its memory, its CPU, and how soon it is ready.

With its real drivers where libvirtd and root are there, else with simulated ones. The limit of memory and start is a
bare interpreter that imports the same third-party libraries, the limit of CPU one that sleeps on the same loop.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from bench.child import child, cpu_seconds, resident_bytes
from bench.figure import Figure, NotMeasuredError, Size, of_rounds
from bench.machine import machine, real_node
from nanocore.testing.kernel_process import SIM_CONFIG, KernelProcess

LIBRARIES = (
    "apscheduler.schedulers.asyncio cryptography.x509 marshmallow msgspec nacl.signing pluggy sqlite3 structlog "
    "tomlkit tornado.websocket uvloop zmq"
)
REAL_LIBRARIES = " libvirt pyroute2"
READY_SECONDS = 30.0
SETTLE_SECONDS = 4.0
WHY_CPU = (
    "four fifths are the main loop's 15 wake-ups a second (the check of beats every 0.2 s, two transports' and the "
    "authenticator's look each second, the report every two); the rest libvirt's reads, its events and the loop watch"
)
WHY_START = (
    "about two thirds are imports (the bare figure beside it); then the plugins' declarations, the store, "
    "libvirt's connection and the first look at its guests, and the HTTP routes with their schemas"
)


@asynccontextmanager
async def bare_interpreter(libraries: str) -> AsyncIterator[dict[str, Callable[..., Awaitable[Any]]]]:
    """A child with the libraries imported, and nothing to do."""
    for name in libraries.split():
        __import__(name)
    yield {}


async def start_up(kernel: KernelProcess) -> tuple[float, float]:
    """Start the node; return the seconds, and its CPU seconds, until it says that it is ready."""
    ready = kernel.root / "run" / "nano" / "ready"
    begun = time.perf_counter()
    kernel.start()
    while not ready.exists():
        kernel.check_alive()
        if time.perf_counter() - begun > READY_SECONDS:
            raise RuntimeError(f"the node is not ready after {READY_SECONDS:g} s")
        await asyncio.sleep(0.002)
    return time.perf_counter() - begun, cpu_seconds(kernel.pid)


async def import_all(libraries: str) -> tuple[float, float]:
    """Return the seconds, and the CPU seconds, of an interpreter that imports the libraries."""
    imports = ";".join(f"import {name}" for name in libraries.split())
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", imports)
    assert await process.wait() == 0
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def resting_cpu(pid: int, seconds: float) -> float:
    """Return the percentage of one core that ``pid`` uses."""
    before, begun = cpu_seconds(pid), time.perf_counter()
    await asyncio.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.perf_counter() - begun) * 100


def make_node(stack: ExitStack) -> tuple[KernelProcess, str, str]:
    """Return a node, what its drivers are, and the libraries that it imports."""
    try:
        folder, libvirtd = stack.enter_context(machine())
    except NotMeasuredError as error:
        print(f"real drivers are not measured: {error}", file=sys.stderr)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nano-bench-")))
        config = SIM_CONFIG.replace("strict = true", "").replace("report_interval_seconds = 0.5", "")
        return KernelProcess(folder, config), "simulated drivers", LIBRARIES
    return real_node(folder, libvirtd), "real drivers", LIBRARIES + REAL_LIBRARIES


async def measure(size: Size) -> list[Figure]:
    seconds, rounds = size.of((0.5, 1), (10.0, 5), (60.0, 9))
    with ExitStack() as stack:
        kernel, drivers, libraries = make_node(stack)
        try:
            first = (await start_up(kernel), await import_all(libraries))
            await asyncio.sleep(SETTLE_SECONDS)
            async with child(bare_interpreter, libraries=libraries) as bare:
                memory = (resident_bytes(kernel.pid) / 1e6, resident_bytes(bare.pid) / 1e6)
                cpu = [
                    await asyncio.gather(resting_cpu(kernel.pid, seconds), resting_cpu(bare.pid, seconds))
                    for _ in range(2)
                ]
            starts = []
            for _ in range(rounds):
                await asyncio.to_thread(kernel.stop)
                starts.append((await start_up(kernel), await import_all(libraries)))
        finally:
            await asyncio.to_thread(kernel.stop)
    name, start = f"all-in-one at rest, {drivers}", f"start to ready, {drivers}"
    # A sleeping interpreter uses nothing at all: below a hundredth of a percent the ratio says nothing.
    resting = [(ours, max(limit, 0.01)) for ours, limit in cpu]
    return [
        of_rounds(f"{name}: memory", "MB", [memory], goal="<= 150 MB"),
        of_rounds(f"{name}: CPU of one core", "%", resting, goal="<= 0.3 %", n=int(seconds), why=WHY_CPU),
        of_rounds(start, "s", [(o[0], b[0]) for o, b in starts], goal="<= 1 s", n=rounds, why=WHY_START),
        of_rounds(f"{start}: CPU", "s", [(o[1], b[1]) for o, b in starts], n=rounds),
        of_rounds(f"first {start}", "s", [(first[0][0], first[1][0])]),
    ]
