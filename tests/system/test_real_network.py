"""Networks and security policies with real guests under QEMU."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from nanocore.errors import ErrorCode, NanoError
from nanocore.testing.kernel_process import KernelProcess, wait_until
from tests.system import real
from tests.system.acts import create, remove_instances, upload, wait_for_state

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs("libvirt", "qemu", "namespaces"),
    pytest.mark.timeout(600),
]
MIB = 1024**2
PING = {"direction": "inbound", "action": "accept", "protocol": "icmp"}
WEB = {"direction": "inbound", "action": "accept", "protocol": "tcp", "ports": "80"}


class Guests:
    """``alpha`` without and ``beta`` with a security policy, in a network of their own."""

    def __init__(self, kernel: KernelProcess, image: Path) -> None:
        self.kernel = kernel
        self._numbers = itertools.count()
        post = kernel.client.request
        self.network = post("POST", "/networks", json={"name": "lab", "ipv6_cidr": "auto"})
        self.policy = post("POST", "/security-policies", json={"name": "web", "rules": [PING]})
        image_id = upload(kernel, image, "demo")
        self.ids, self.addresses = {}, {}
        for name, policy in (("alpha", None), ("beta", self.policy["id"])):
            nic = {"network_id": self.network["id"]} | ({} if policy is None else {"security_policy_id": policy})
            made = kernel.client.wait(create(kernel, name, image_id, memory_bytes=128 * MIB, nics=[nic]))
            self.ids[name] = made["result"]["instance_id"]
            self.addresses[name] = made["result"]["addresses"][0]

    def says(self, name: str, command: str) -> bool:
        """Run ``command`` at a guest's serial console; return whether it succeeded."""
        # The console may repeat a slow command: each has an answer of its own. Sums, as what is typed is echoed.
        number = next(self._numbers)
        yes, no = (f"echo {word}=$(({number}+1000))=" for word in ("yes", "no"))
        line = f"if {command} >/dev/null 2>&1; then {yes}; else {no}; fi"
        told = real.serial_dialogue(self.kernel, self.ids[name], line, f"={number + 1000}=")
        return f"yes={number + 1000}=" in told

    def set_rules(self, *rules: dict[str, Any]) -> None:
        path = f"/security-policies/{self.policy['id']}"
        self.kernel.client.request("PATCH", path, json={"rules": list(rules)})


def test_two_guests_under_a_policy_that_changes(real_kernel: KernelProcess, demo_image: Path) -> None:
    kernel = real_kernel
    guests = Guests(kernel, demo_image)
    beta, gateway = guests.addresses["beta"], guests.network["gateway"]
    ping, fetch = f"ping -c 1 -W 2 {beta}", f"timeout 2 wget -qO- http://{beta}/"
    real.wait_for_page(guests.addresses["alpha"], "alpha")
    wait_until(lambda: guests.says("alpha", ping), seconds=real.READY_SECONDS, what="beta to boot")
    assert not guests.says("alpha", fetch)
    assert guests.says("beta", f"timeout 2 wget -qO- http://{guests.addresses['alpha']}/")

    guests.set_rules(PING, WEB)
    real.wait_for_page(beta, "beta")
    assert guests.says("alpha", fetch)
    kernel.kill()
    assert real.fetch_page(beta) is not None
    kernel.start()
    kernel.wait_ready()
    guests.set_rules(WEB)
    for id in guests.ids.values():
        wait_for_state(kernel, id, "running")
    assert guests.says("alpha", fetch)
    assert not guests.says("alpha", ping)

    # Another's address, another's MAC: neither gets anywhere, and the owner does not notice.
    assert guests.says("alpha", f"ip addr add {beta}/32 dev eth0")
    assert not guests.says("alpha", f"ping -c 1 -W 2 -I {beta} {gateway}")
    assert guests.says("alpha", f"ip addr del {beta}/32 dev eth0 && ping -c 1 -W 2 {gateway}")
    mac = kernel.client.get(f"/instances/{guests.ids['beta']}")["nics"][0]["mac"]
    assert guests.says("alpha", f"ip link set eth0 down && ip link set eth0 address {mac} && ip link set eth0 up")
    assert not guests.says("alpha", f"ping -c 1 -W 2 {gateway}")
    assert real.fetch_page(beta) is not None

    for path in (f"/security-policies/{guests.policy['id']}", f"/networks/{guests.network['id']}"):
        with pytest.raises(NanoError) as caught:
            kernel.client.request("DELETE", path)
        assert caught.value.code is ErrorCode.WRONG_STATE
    remove_instances(kernel)
    for path in (f"/security-policies/{guests.policy['id']}", f"/networks/{guests.network['id']}"):
        kernel.client.request("DELETE", path)
    assert real.links_with(gateway) == []
