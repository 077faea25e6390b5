"""``kill -9`` at every fail point of changes that networks and security policies take to the cells."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nanocore.testing.kernel_process import KernelProcess, wait_until
from nanocore.testing.kill_points import killed_at, record_points
from tests.system.acts import create, upload, wait_for_state

pytestmark = [
    pytest.mark.full,
    pytest.mark.process,
    pytest.mark.timeout(900),
]
WEB = {"direction": "inbound", "action": "accept", "protocol": "tcp", "ports": "80"}
SSH = WEB | {"ports": "22"}


@pytest.fixture
def stopped_kernel(tmp_path: Path, small_image: Path) -> Iterator[KernelProcess]:
    """A node with the running instance web-1, which has security policy ``web``; stopped."""
    process = KernelProcess(tmp_path)
    process.start()
    process.wait_ready()
    policy = process.client.request("POST", "/security-policies", json={"name": "web", "rules": [WEB]})
    nics = [{"security_policy_id": policy["id"]}]
    process.client.wait(create(process, "web-1", upload(process, small_image), nics=nics))
    process.stop()
    try:
        yield process
    finally:
        process.stop()


def port(kernel: KernelProcess) -> dict[str, Any]:
    """Return what the simulated cell has for the one network card."""
    (file,) = (kernel.root / "var" / "lib" / "nano" / "sim" / "ports").glob("*.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def the(kernel: KernelProcess, noun: str) -> dict[str, Any]:
    (found,) = kernel.client.get(f"/{noun}")["items"]
    return dict(found)


def set_rules(kernel: KernelProcess, rules: list[dict[str, str]]) -> None:
    kernel.client.request(
        "PATCH", f"/security-policies/{the(kernel, 'security-policies')['id']}", json={"rules": rules}
    )


def set_domain(kernel: KernelProcess, domain: str) -> None:
    kernel.client.request("PATCH", f"/networks/{the(kernel, 'networks')['id']}", json={"domain": domain})


def assign(kernel: KernelProcess, policy_id: str | None) -> None:
    instance = the(kernel, "instances")
    wait_for_state(kernel, instance["id"], "running")
    path = f"/instances/{instance['id']}/nics/{instance['nics'][0]['id']}"
    changed = kernel.client.request("PATCH", path, json={"security_policy_id": policy_id})
    kernel.client.wait(changed, timeout_seconds=30)


def has_what_is_wanted(kernel: KernelProcess) -> bool:
    """Return whether the cell's port is as the core's records say, and nothing is under way."""
    operations = {operation["state"] for operation in kernel.client.items("/operations")}
    nic = the(kernel, "instances")["nics"][0]
    policy, seen = the(kernel, "security-policies"), port(kernel)
    ports = [rule["ports"] for rule in (seen["port"]["policy"] or {"rules": []})["rules"]]
    wanted = [rule["ports"] for rule in policy["rules"]] if nic["security_policy_id"] else []
    is_counted = policy["nics_attached"] == (1 if nic["security_policy_id"] else 0)
    is_named = seen["network"]["domain"] == the(kernel, "networks")["domain"]
    return operations <= {"succeeded", "failed", "cancelled"} and ports == wanted and is_counted and is_named


CHANGES: list[tuple[str, Callable[[KernelProcess], None], Callable[[KernelProcess], None]]] = [
    ("a policy's rules", lambda kernel: set_rules(kernel, [SSH]), lambda kernel: set_rules(kernel, [WEB])),
    (
        "a network's domain",
        lambda kernel: set_domain(kernel, "a.example"),
        lambda kernel: set_domain(kernel, "b.example"),
    ),
    (
        "a card's policy",
        lambda kernel: assign(kernel, None),
        lambda kernel: assign(kernel, the(kernel, "security-policies")["id"]),
    ),
]
"""Name, the change, and the way back."""


@pytest.mark.parametrize(("name", "change", "back"), CHANGES)
def test_killed_at_every_point(
    stopped_kernel: KernelProcess,
    name: str,
    change: Callable[[KernelProcess], None],
    back: Callable[[KernelProcess], None],
) -> None:
    kernel = stopped_kernel
    points = record_points(kernel, change)
    assert len(points) >= 2, points
    for point in points:
        settle(kernel, f"before {point}", then=back)
        assert killed_at(kernel, point, change), f"{point} was not reached"
        settle(kernel, f"after {point}")
    print(f"{name}, simulated: killed at {len(points)} fail points, the cell has what is wanted after each")


def settle(kernel: KernelProcess, when: str, *, then: Callable[[KernelProcess], None] | None = None) -> None:
    """Start the node, wait until the cell has what is wanted, and stop it."""
    kernel.start()
    kernel.wait_ready()
    wait_until(lambda: has_what_is_wanted(kernel), what=f"the cell to have what is wanted {when}")
    if then is not None:
        then(kernel)
    kernel.stop()
