"""Nodes and compute pools, from outside: real kernels with simulated cells."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nanocore.client import Client
from nanocore.errors import ErrorCode, NanoError
from nanocore.testing.kernel_process import SIM_CONFIG, KernelProcess, wait_until
from tests.system.acts import create, upload, wait_for_state

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

CELL_CONFIG = SIM_CONFIG.replace("strict = true", 'strict = true\nroles = ["cell"]')
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def cell(tmp_path: Path, kernel: KernelProcess) -> Iterator[KernelProcess]:
    """A joined cell in the pool ``default``, which has reported."""
    process = KernelProcess(tmp_path / "cell", CELL_CONFIG, name="cell-2")
    invite = kernel.client.request("POST", "/node-invites", json={"roles": ["cell"]})
    process.start(arguments=("--join", invite["token"]))
    try:
        wait_until(lambda: find_node(kernel, "cell-2")["state"] == "online", what="the cell online")
        node = find_node(kernel, "cell-2")
        assert node["compute_pool_id"] is None
        pool = kernel.client.get("/compute-pools")["items"][0]
        kernel.client.request("PUT", f"/compute-pools/{pool['id']}/cells/{node['id']}")
        wait_until(lambda: find_node(kernel, "cell-2")["usage"]["cores"] > 0, what="the cell's first report")
        yield process
    finally:
        process.stop()


def find_node(kernel: KernelProcess, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = [node for node in kernel.client.get("/nodes")["items"] if node["name"] == name]
    return found[0] if found else {"state": None}


def refusal(act: Callable[[], object]) -> NanoError:
    with pytest.raises(NanoError) as caught:
        act()
    return caught.value


def test_a_kernel_restarts_where_asked(kernel: KernelProcess) -> None:
    client = kernel.client
    node = find_node(kernel, "core-1")
    pid, ready = kernel.pid, kernel.root / "run" / "nano" / "ready"
    before = ready.stat().st_mtime_ns
    assert client.request("POST", f"/nodes/{node['id']}/actions/restart")["name"] == "core-1"
    wait_until(lambda: ready.exists() and ready.stat().st_mtime_ns != before, what="the kernel back")
    kernel.wait_ready()
    assert kernel.pid == pid
    assert find_node(kernel, "core-1")["state"] == "online"


def test_a_cell_is_stopped_shown_and_restarted(kernel: KernelProcess, cell: KernelProcess) -> None:
    client = kernel.client
    id = find_node(kernel, "cell-2")["id"]
    ready = cell.root / "run" / "nano" / "ready"
    before = ready.stat().st_mtime_ns
    client.request("POST", f"/nodes/{id}/actions/restart")
    wait_until(lambda: ready.exists() and ready.stat().st_mtime_ns != before, what="the cell's kernel back")
    wait_until(lambda: find_node(kernel, "cell-2")["state"] == "online", what="the cell online again")
    client.request("POST", f"/nodes/{id}/actions/stop")
    assert cell.wait_ended(15) == 0
    wait_until(lambda: find_node(kernel, "cell-2")["state"] == "unreachable", what="the loss shown")
    assert "./quickstart" in find_node(kernel, "cell-2")["reason"]
    for action in ("stop", "restart"):
        error = refusal(lambda action=action: client.request("POST", f"/nodes/{id}/actions/{action}"))
        assert error.code is ErrorCode.WRONG_STATE
        assert "systemctl start nano-kernel" in error.message
    assert refusal(lambda: client.get(f"/nodes/{id}/plugins")).code is ErrorCode.UNAVAILABLE


def test_plugins_of_every_node_tell_how_they_are(kernel: KernelProcess, cell: KernelProcess) -> None:
    plugins = {}
    for name in ("core-1", "cell-2"):
        answer = kernel.client.get(f"/nodes/{find_node(kernel, name)['id']}/plugins")
        plugins[name] = {plugin["name"]: plugin for plugin in answer["items"]}
    assert plugins["core-1"]["compute"]["state"] == "enabled"
    assert plugins["cell-2"]["compute"]["state"] == "disabled"
    assert "for nodes with role core" in plugins["cell-2"]["compute"]["reason"]
    checks = [check for plugin in plugins["cell-2"].values() for check in plugin["checks"]]
    assert checks
    assert all(check["is_ok"] is (check["reason"] is None) for check in checks)
    assert refusal(lambda: kernel.client.get(f"/nodes/{UNKNOWN}/plugins")).code is ErrorCode.NOT_FOUND


def test_the_last_of_its_kind_is_protected(kernel: KernelProcess, small_image: Path) -> None:
    client = kernel.client
    id = find_node(kernel, "core-1")["id"]
    pool = client.get("/compute-pools")["items"][0]
    client.request("POST", f"/nodes/{id}/actions/disable")
    client.request("POST", f"/nodes/{id}/actions/enable")
    client.wait(create(kernel, "web-1", upload(kernel, small_image)))
    for act, words in (
        (lambda: client.request("POST", f"/nodes/{id}/actions/stop"), "last node that answers as core"),
        (lambda: client.request("DELETE", f"/nodes/{id}"), "core itself"),
        (lambda: client.request("POST", f"/nodes/{id}/actions/disable"), "last enabled cell of compute pool default"),
        (lambda: client.request("DELETE", f"/compute-pools/{pool['id']}"), "last compute pool"),
    ):
        error = refusal(act)
        assert error.code is ErrorCode.WRONG_STATE
        assert words in error.message


def test_a_node_with_instances_is_not_removed_and_they_are_named(
    kernel: KernelProcess, cell: KernelProcess, small_image: Path
) -> None:
    client = kernel.client
    id = find_node(kernel, "cell-2")["id"]
    image = upload(kernel, small_image)
    made = [client.wait(create(kernel, f"away-{n}", image, node_id=id))["result"]["instance_id"] for n in (1, 2)]
    error = refusal(lambda: client.request("DELETE", f"/nodes/{id}"))
    assert error.code is ErrorCode.WRONG_STATE
    assert "2 instances live on node cell-2 (away-1, away-2)" in error.message
    for instance_id in made:
        client.wait(client.request("DELETE", f"/instances/{instance_id}"))
    body = {"name": "kept", "size_bytes": 1024**2, "node_id": id}
    volume = client.wait(client.request("POST", "/volumes", json=body))["result"]["volume_id"]
    error = refusal(lambda: client.request("DELETE", f"/nodes/{id}"))
    assert "1 volumes lie on node cell-2, such as kept" in error.message
    client.wait(client.request("DELETE", f"/volumes/{volume}"))
    client.request("DELETE", f"/nodes/{id}")
    assert find_node(kernel, "cell-2")["state"] is None


def test_a_core_that_restarts_remembers_what_an_absent_cell_has(kernel: KernelProcess, cell: KernelProcess) -> None:
    cores = find_node(kernel, "cell-2")["usage"]["cores"] + find_node(kernel, "core-1")["usage"]["cores"]
    cell.kill()
    kernel.stop()
    kernel.start()
    kernel.wait_ready()
    overview = kernel.client.get("/system")
    assert overview["usage"]["cores"] == cores
    assert overview["nodes_online"] == 1
    assert find_node(kernel, "cell-2")["usage"]["memory_bytes"] > 0


class Sampler(threading.Thread):
    """Asks for the zone's sums all the time, on a connection of its own."""

    def __init__(self, client: Client) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._is_over = threading.Event()
        self.samples: list[dict[str, Any]] = []

    def run(self) -> None:
        while not self._is_over.is_set():
            self.samples.append(self._client.get("/system") | {"pool": self._client.get("/compute-pools")["items"][0]})

    def end(self) -> None:
        self._is_over.set()
        self.join(20)
        self._client.close()


def test_totals_do_not_flicker_while_a_node_dies_and_comes_back(
    kernel: KernelProcess, cell: KernelProcess, small_image: Path
) -> None:
    client = kernel.client
    id = find_node(kernel, "cell-2")["id"]
    image = upload(kernel, small_image)
    here = client.wait(create(kernel, "here-1", image, node_id=find_node(kernel, "core-1")["id"]))
    away = client.wait(create(kernel, "away-1", image, node_id=id))["result"]["instance_id"]
    wait_for_state(kernel, away, "running")
    wait_for_state(kernel, here["result"]["instance_id"], "running")
    wait_until(lambda: client.get("/system")["instances_running"] == 2, what="both in the sums")
    sampler = Sampler(Client(client.endpoint))
    sampler.start()
    try:
        cell.kill()
        killed_at = time.monotonic()
        wait_until(lambda: client.get("/system")["instances_unknown"] == 1, what="the loss in the sums")
        noticed = time.monotonic() - killed_at
        print(f"a dead node is shown after {noticed:.2f} s")
        wait_for_state(kernel, away, "unknown")
        cell.start()
        wait_until(lambda: client.get("/system")["instances_running"] == 2, what="the return in the sums")
    finally:
        sampler.end()
    assert len(sampler.samples) > 20
    capacities = {(one["usage"]["cores"], one["usage"]["memory_bytes"]) for one in sampler.samples}
    assert len(capacities) == 1
    assert {one["instances"] for one in sampler.samples} == {2}
    for one in (*sampler.samples, *(sample["pool"] for sample in sampler.samples)):
        assert one["instances_running"] + one["instances_unknown"] == 2, one
    changes = [one["instances_running"] for one in sampler.samples]
    steps = [after for before, after in itertools.pairwise(changes) if before != after]
    assert steps == [1, 2]
    # Simulated guests end with their kernel's process; what was told of it in between is "unknown", never "stopped".
    assert {one["usage"]["vcpus_allocated"] for one in sampler.samples} == {2}


def test_overcommit_of_a_pool_is_enforced_and_named(kernel: KernelProcess, small_image: Path) -> None:
    client = kernel.client
    pool = client.get("/compute-pools")["items"][0]
    cores = find_node(kernel, "core-1")["usage"]["cores"]
    image = upload(kernel, small_image)
    changed = client.request("PATCH", f"/compute-pools/{pool['id']}", json={"cpu_overcommit": 1.0})
    assert changed["cpu_overcommit"] == 1.0
    full = client.wait(create(kernel, "full", image, vcpus=cores))["result"]["instance_id"]
    error = refusal(lambda: client.request("PATCH", f"/instances/{full}", json={"vcpus": cores + 1}))
    assert error.code is ErrorCode.NO_CAPACITY
    assert "full can't grow on core-1" in error.message
    assert client.get(f"/instances/{full}")["vcpus"] == cores
    error = refusal(lambda: client.wait(create(kernel, "over", image)))
    assert error.code is ErrorCode.NO_CAPACITY
    assert f"{cores + 1} vCPUs would be promised, the limit is {cores}" in error.message
    assert "the compute pool's overcommit 1" in error.message
    client.request("PATCH", f"/compute-pools/{pool['id']}", json={"cpu_overcommit": 0, "memory_overcommit": 0.1})
    error = refusal(lambda: client.wait(create(kernel, "over", image, memory_bytes=64 * 1024**3)))
    assert "MiB of memory would be promised" in error.message
    assert "the compute pool's overcommit 0.1" in error.message
    client.request("PATCH", f"/compute-pools/{pool['id']}", json={"memory_overcommit": 0})
    assert client.get(f"/compute-pools/{pool['id']}")["memory_overcommit"] is None
    client.wait(create(kernel, "over", image))


def test_a_pool_is_made_renamed_closed_and_deleted_with_what_is_attached(kernel: KernelProcess) -> None:
    client = kernel.client
    network = client.get("/networks")["items"][0]
    addresses = client.request(
        "POST",
        "/address-pools",
        json={"name": "some", "network_id": network["id"], "ranges": [{"first": "10.127.3.1", "last": "10.127.3.9"}]},
    )
    body = {"name": "batch", "address_pool_ids": [addresses["id"]], "cpu_overcommit": 4}
    pool = client.request("POST", "/compute-pools", json=body)
    assert pool["address_pool_ids"] == [addresses["id"]]
    path = f"/compute-pools/{pool['id']}"
    error = refusal(lambda: client.request("PATCH", path, json={"address_pool_ids": [UNKNOWN]}))
    assert error.code is ErrorCode.NOT_FOUND
    assert error.details["field"] == "address_pool_ids"
    changed = client.request("PATCH", path, json={"name": "night", "is_enabled": False, "address_pool_ids": []})
    assert (changed["name"], changed["is_enabled"], changed["address_pool_ids"]) == ("night", False, [])
    error = refusal(lambda: client.request("POST", "/compute-pools", json={"name": "night"}))
    assert error.code is ErrorCode.ALREADY_EXISTS
    client.request("DELETE", path)
    assert refusal(lambda: client.get(path)).code is ErrorCode.NOT_FOUND


def test_use_has_a_history_that_a_restart_keeps(kernel: KernelProcess) -> None:
    client = kernel.client
    pool, node = client.get("/compute-pools")["items"][0], find_node(kernel, "core-1")
    paths = ("/system/metrics", f"/compute-pools/{pool['id']}/metrics", f"/nodes/{node['id']}/metrics")

    def samples(path: str) -> list[float]:
        values = kernel.client.get(path)["series"].get("memory_bytes", [])
        return [value for value in values if value]

    for path in paths:
        wait_until(lambda path=path: samples(path), what=f"samples of {path}")
        assert samples(path)[-1] == pytest.approx(find_node(kernel, "core-1")["usage"]["memory_bytes"], rel=1e-6)
    before = {path: client.get(path)["times"][0] for path in paths}
    kernel.stop()
    kernel.start()
    kernel.wait_ready()
    for path in paths:
        wait_until(lambda path=path: samples(path), what=f"samples of {path} after the restart")
        assert kernel.client.get(path)["times"][0] == before[path]
    assert refusal(lambda: kernel.client.get(f"/compute-pools/{UNKNOWN}/metrics")).code is ErrorCode.NOT_FOUND


def test_search_finds_everything_and_the_best_first(kernel: KernelProcess, small_image: Path) -> None:
    client = kernel.client
    image = upload(kernel, small_image)
    for name in ("web-1", "my-web", "web"):
        client.wait(create(kernel, name, image, is_started=False))
    found = client.get("/search", q="web")
    assert [hit["name"] for hit in found["items"] if hit["kind"] == "instance"] == ["web", "web-1", "my-web"]
    assert found["items"][0]["name"] == "web"
    instance = client.get("/instances", name="web")["items"][0]
    by_id = client.get("/search", q=instance["id"])["items"]
    assert (by_id[0]["kind"], by_id[0]["id"], by_id[0]["path"]) == (
        "instance",
        instance["id"],
        f"/instances/{instance['id']}",
    )
    address = instance["nics"][0]["addresses"][0]
    hit = client.get("/search", q=address, kind="instance")["items"][0]
    assert hit["name"] == "web"
    assert address in hit["text"]
    kinds = {hit["kind"] for hit in client.get("/search", q="default")["items"]}
    assert {"network", "compute-pool"} <= kinds
    assert {hit["kind"] for hit in client.get("/search", q="core-1")["items"]} >= {"node"}
    assert "plugin" in {hit["kind"] for hit in client.get("/search", q="placement")["items"]}
    assert len(client.get("/search", q="e", limit=3)["items"]) == 3
    assert client.get("/search", q="nothing-has-this-name")["items"] == []
    assert refusal(lambda: client.get("/search", q="x", kind="spaceship")).details["field"] == "kind"
