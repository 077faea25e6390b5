"""A real guest under QEMU: booted, reached over the network, seen on both consoles, undisturbed by restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanocore.testing.kernel_process import KernelProcess, wait_until
from nanocore.testing.libvirtd import PrivateLibvirtd
from tests.system import real
from tests.system.acts import create, upload, wait_for_state

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs("libvirt", "qemu", "namespaces"),
    pytest.mark.timeout(600),
]
MIB = 1024**2


def test_boot_reach_restart_and_remove(real_kernel: KernelProcess, libvirtd: PrivateLibvirtd, demo_image: Path) -> None:
    kernel = real_kernel
    ended = kernel.client.wait(
        create(kernel, "hello", upload(kernel, demo_image, "demo"), memory_bytes=128 * MIB), timeout_seconds=120
    )
    id, address = ended["result"]["instance_id"], ended["result"]["addresses"][0]
    wait_for_state(kernel, id, "running")
    real.wait_for_page(address, "hello")
    assert real.screen_greeting(kernel, id).startswith(b"RFB 003.")
    assert "nano-42-serial" in real.serial_dialogue(kernel, id, "echo nano-$((40+2))-serial", "nano-42-serial")
    usage = wait_until(lambda: kernel.client.get(f"/instances/{id}")["usage"], what="the first use")
    assert usage["memory_bytes"] > 0

    guests = libvirtd.guest_pids()
    libvirtd.restart()
    assert real.fetch_page(address) is not None
    wait_for_state(kernel, id, "running")
    kernel.kill()
    assert real.fetch_page(address) is not None
    kernel.start()
    kernel.wait_ready()
    wait_for_state(kernel, id, "running")
    assert libvirtd.guest_pids() == guests
    assert real.fetch_page(address) is not None

    stop = kernel.client.request("POST", f"/instances/{id}/actions/stop", json={"grace_seconds": 60})
    kernel.client.wait(stop)
    assert list(real.domains(libvirtd.uri).values()) == ["shut off"]
    kernel.client.request("PATCH", f"/instances/{id}", json={"vcpus": 2})
    kernel.client.wait(kernel.client.request("POST", f"/instances/{id}/actions/start", json={}))
    real.wait_for_page(address, "hello")
    assert real.serial_dialogue(kernel, id, "echo cores=$(grep -c ^processor /proc/cpuinfo)", "cores=2")


def test_a_guest_that_powers_itself_off_counts_as_stopped(real_kernel: KernelProcess, demo_image: Path) -> None:
    kernel = real_kernel
    ended = kernel.client.wait(create(kernel, "hello", upload(kernel, demo_image, "demo"), memory_bytes=128 * MIB))
    id = ended["result"]["instance_id"]
    real.wait_for_page(ended["result"]["addresses"][0], "hello")
    with pytest.raises(Exception, match=r"(?i)closed|sent|received|going away"):
        real.serial_dialogue(kernel, id, "poweroff -f", "this never comes")
    instance = wait_for_state(kernel, id, "stopped")
    wait_until(
        lambda: kernel.client.get(f"/instances/{id}")["state"]["desired"] == "stopped", what="the record to follow"
    )
    assert instance["name"] == "hello"


def test_two_guests_reach_each_other_and_resolve_names(real_kernel: KernelProcess, demo_image: Path) -> None:
    kernel = real_kernel
    image_id = upload(kernel, demo_image, "demo")
    first, second = (
        kernel.client.wait(create(kernel, name, image_id, memory_bytes=128 * MIB)) for name in ("alpha", "beta")
    )
    for ended, name in ((first, "alpha"), (second, "beta")):
        real.wait_for_page(ended["result"]["addresses"][0], name)
    told = real.serial_dialogue(
        kernel,
        first["result"]["instance_id"],
        "wget -qO- http://beta/ | grep -c beta && echo reach-$((20+3))",
        "reach-23",
    )
    assert "reach-23" in told
