"""What a client of the API waits for with 1,000 instances: a page of all, one of them, and ``nano instance list``.

A real all-in-one node with simulated guests; beside it a bare Tornado that writes the same bytes, and a bare script
that prints the same table.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from bench.child import Child, child
from bench.figure import Figure, Size, of_rounds
from bench.http import Target, bare_tornado, get, latencies, load, send
from nanocore.testing.kernel_process import SIM_CONFIG, KernelProcess

API = "/api/v2"
LARGE_CELL = """
[sim]
cores = 65536
memory_bytes = 70368744177664
storage_bytes = 703687441776640
"""
CREATE_SECONDS = 90.0
WHY_PAGE = (
    "every two seconds the cell's report changes the usage of all 1,000 instances: their views are built and encoded "
    "anew and each change is told to the feed, on the same loop"
)
WHY_ONE = (
    "beyond Tornado's parsing and writing, which are most of it: the access log's JSON line, the message through "
    "dispatch and authorizer, ten more headers, an answer of 2.5 kB, and the cell's report every two seconds"
)
WHY_TAIL = "a page of 1,000 is 2 MB that is written on the loop, and each update is a durable commit"
UPDATES, LISTS = 100, 10
WHY_LIST = "two thirds are imports (the interpreter, click, httpx2 with httpcore2 and ssl), the rest JSON and the table"
BARE_LIST = """
import http.client, json, socket, sys
class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])
connection = Connection("localhost")
connection.request("GET", "/api/v2/instances?limit=1000")
rows = [["NAME", "STATE", "ADDRESSES", "NODE", "VCPUS", "MEMORY", "CREATED", "ID"]]
for item in json.load(connection.getresponse())["items"]:
    addresses = ",".join(address for nic in item["nics"] for address in nic["addresses"])
    size = f"{item['memory_bytes'] / 2**20:.0f} MiB"
    rows.append([item["name"], item["state"]["observed"], addresses, item["node"] or "", str(item["vcpus"]), size,
                 item["created_at"], item["id"]])
widths = [max(map(len, column)) for column in zip(*rows)]
for row in rows:
    print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)))
"""


@dataclass
class Node:
    """A running node, its API's targets and one of its instances."""

    kernel: KernelProcess
    port: int
    token: str
    instance_id: str

    @property
    def socket(self) -> Path:
        return self.kernel.root / "run" / "nano" / "api.sock"

    def over_tls(self, resource: str) -> Target:
        headers = {"Authorization": f"Bearer {self.token}"}
        return Target(self.kernel.pid, API + resource, port=self.port, headers=headers)

    def local(self, resource: str) -> Target:
        return Target(self.kernel.pid, API + resource, path=str(self.socket))


def upload(kernel: KernelProcess) -> str:
    image = kernel.root / "small.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "16M"], check=True)
    return str(kernel.client.upload_disk_image(image, "small")["id"])


async def fill(kernel: KernelProcess, count: int) -> Node:
    """Create ``count`` instances through the API and wait until all of them run."""
    image_id = await asyncio.to_thread(upload, kernel)
    token = await asyncio.to_thread(lambda: kernel.client.request("POST", "/tokens", json={"name": "bench"})["token"])
    port = next(line["port"] for line in kernel.log_lines() if line.get("event") == "listening" and "port" in line)
    node = Node(kernel, port, token, "")
    bodies = [
        json.dumps({"name": f"web-{number}", "image_id": image_id, "memory_bytes": 2**26}).encode()
        for number in range(count)
    ]
    for status, answer in await send(node.local("/instances"), "POST", bodies):
        if status >= 400:
            raise RuntimeError(f"an instance was refused: {answer[:300]!r}")
    running = node.local("/instances?state.observed=running&limit=1")
    ends = time.monotonic() + CREATE_SECONDS
    while (page := json.loads(await get(running)))["total"] < count:
        if time.monotonic() > ends:
            raise RuntimeError(f"{page['total']} of {count} instances run; {await why_not(node)}")
        await asyncio.sleep(0.5)
    node.instance_id = page["items"][0]["id"]
    return node


async def why_not(node: Node) -> str:
    """Return what became of the instances that do not run."""
    said = []
    for noun in ("instances", "operations"):
        for item in json.loads(await get(node.local(f"/{noun}?limit=1000")))["items"]:
            state = item["state"] if noun == "operations" else item["state"]["observed"]
            if state not in {"succeeded", "running"}:
                said.append(f"{noun} {item['id']}: {state} {item.get('error') or item['state']}")
    return "; ".join(said)


async def rates(node: Node, tornado: Child, size: Size) -> list[Figure]:
    where = await tornado.ask("where")
    one, page = f"/instances/{node.instance_id}", "/instances?limit=1000"
    bare_tls = {"pid": tornado.pid, "port": where["port"]}
    bare_local = {"pid": tornado.pid, "path": where["path"]}
    pages, ones = size.of((8, 16), (48, 400), (1000, 10_000))
    whole, single = "GET a page of 1,000 instances", "GET one instance"
    work = [
        (f"{whole}, HTTPS and token", node.over_tls(page), Target(resource="/page", **bare_tls), pages, WHY_PAGE),
        (f"{whole}, local socket", node.local(page), Target(resource="/page", **bare_local), pages, WHY_PAGE),
        (f"{single}, HTTPS and token", node.over_tls(one), Target(resource="/hello", **bare_tls), ones, WHY_ONE),
        (f"{single}, local socket", node.local(one), Target(resource="/hello", **bare_local), ones, WHY_ONE),
    ]
    figures = []
    for name, ours, bare, requests, why in work:
        found = [(await load(ours, requests), await load(bare, requests)) for _ in range(size.of(1, 3, 5))]
        figures += [
            of_rounds(f"{name}: rate", "1/s", [(o[0], b[0]) for o, b in found], goal=">= 0.7", n=requests, why=why),
            of_rounds(f"{name}: CPU", "us", [(o[1], b[1]) for o, b in found], n=requests),
        ]
    return figures


async def busy(node: Node, updates: int, lists: int, is_over: asyncio.Event) -> None:
    """Change ``updates`` instances and read ``lists`` pages of 1,000 each second until ``is_over``."""
    ids = [item["id"] for item in json.loads(await get(node.local("/instances?limit=1000")))["items"]]

    async def every(pause: float, act: Callable[[int], Awaitable[object]]) -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            begun = time.perf_counter()
            await act(number)
            await asyncio.sleep(max(0.0, pause - (time.perf_counter() - begun)))

    async def update(number: int) -> None:
        body = json.dumps({"description": f"change {number}"}).encode()
        await send(node.local(f"/instances/{ids[number % len(ids)]}"), "PATCH", [body])

    async def read(_number: int) -> None:
        await get(node.local("/instances?limit=1000"))

    await asyncio.gather(*(every(8 / updates, update) for _ in range(8)), every(1 / lists, read))


async def tail(node: Node, size: Size) -> list[Figure]:
    """Return the slowest hundredth of single reads while everything changes, beside the same on a quiet node."""
    one, requests = node.local(f"/instances/{node.instance_id}"), size.of(20, 600, 3000)
    found = []
    for _ in range(size.of(1, 3, 5)):
        quiet = await latencies(one, requests)
        is_over = asyncio.Event()
        work = asyncio.create_task(busy(node, UPDATES, LISTS, is_over))
        loaded = await latencies(one, requests)
        is_over.set()
        await work
        found.append((loaded[len(loaded) * 99 // 100], quiet[len(quiet) * 99 // 100]))
    name = f"GET one instance during {UPDATES} updates and {LISTS} lists of 1,000 a second: p99"
    return [of_rounds(name, "ms", found, goal="<= 3", n=requests, why=WHY_TAIL)]


def run_timed(command: list[str]) -> tuple[float, float]:
    """Return the seconds and the CPU seconds of a whole process."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def listing(node: Node, rounds: int) -> list[Figure]:
    nano = [str(Path(sys.executable).with_name("nano")), "--root", str(node.kernel.root), "instance", "list"]
    bare = [sys.executable, "-c", BARE_LIST, str(node.socket)]
    found = [(run_timed(nano), run_timed(bare)) for _ in range(rounds + 1)][1:]
    name = "nano instance list, 1,000 instances"
    return [
        of_rounds(name, "s", [(o[0], b[0]) for o, b in found], goal="<= 0.25 s", n=rounds, why=WHY_LIST),
        of_rounds(f"{name}: CPU", "s", [(o[1], b[1]) for o, b in found], n=rounds),
    ]


async def measure(size: Size) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="nano-bench-") as folder:
        config = SIM_CONFIG.replace("strict = true", "").replace("report_interval_seconds = 0.5", "") + LARGE_CELL
        kernel = KernelProcess(Path(folder), config)
        kernel.start()
        try:
            await asyncio.to_thread(kernel.wait_ready)
            node = await fill(kernel, size.of(20, 1000, 1000))
            page = Path(folder) / "page.json"
            page.write_bytes(await get(node.local("/instances?limit=1000")))
            tls = {"certificate": str(find(kernel.root, "cert*.pem")), "key": str(find(kernel.root, "key.pem"))}
            async with child(bare_tornado, folder=folder, page=str(page), **tls) as tornado:
                figures = [*await rates(node, tornado, size), *await tail(node, size)]
            return [*figures, *await asyncio.to_thread(listing, node, size.of(1, 7, 15))]
        finally:
            await asyncio.to_thread(kernel.stop)


def find(root: Path, pattern: str) -> Path:
    return next(root.rglob(pattern))
