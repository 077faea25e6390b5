"""First-boot settings, readiness and the guest's agent through the API of a simulated node."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from nanocore.errors import ErrorCode, NanoError
from nanocore.testing.kernel_process import KernelProcess, wait_until
from tests.system.acts import create, upload

pytestmark = pytest.mark.process
SECRET = "correct horse battery"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH0eb8qRQPzK8O9sDzq0kYJ4rT6p2Y6v7xk9kWkF5m3Q ada@example"


def seeds(kernel: KernelProcess) -> list[Path]:
    return list((kernel.root / "var/lib/nano/guest_tools/seeds").glob("*"))


def make(kernel: KernelProcess, image: Path, **cloud_init: Any) -> str:
    ended = kernel.client.wait(create(kernel, "web-1", upload(kernel, image), cloud_init=cloud_init))
    assert ended["state"] == "succeeded", ended
    return str(ended["result"]["instance_id"])


def wait_ready(kernel: KernelProcess, id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        item: dict[str, Any] = kernel.client.get(f"/instances/{id}")
        return item if item["ready"]["is_ready"] else None

    return wait_until(look, what="the guest to be ready")


def act(kernel: KernelProcess, id: str, action: str, **body: Any) -> dict[str, Any]:
    path = f"/instances/{id}/guest/actions/{action}"
    ended: dict[str, Any] = kernel.client.wait(kernel.client.request("POST", path, json=body))
    assert ended["state"] == "succeeded", ended
    return ended


def test_a_seed_lives_as_long_as_its_instance_and_keeps_secrets(kernel: KernelProcess, small_image: Path) -> None:
    id = make(kernel, small_image, username="ada", ssh_keys=[KEY], password=SECRET)
    item = wait_ready(kernel, id)
    assert item["has_cloud_init"]
    assert item["guest"]["has_agent"]
    (seed,) = seeds(kernel)
    assert seed.stem == id
    assert seed.stat().st_mode & 0o777 == 0o600
    content = seed.read_bytes()
    assert b"cidata" in content
    assert SECRET.encode() not in content
    everything = b"".join(
        file.read_bytes() for file in kernel.root.rglob("*") if file.is_file() and os.access(file, os.R_OK)
    )
    assert SECRET.encode() not in everything, "the password is kept or logged in clear"
    assert SECRET not in str(kernel.client.get(f"/instances/{id}"))

    kernel.kill()
    kernel.start()
    kernel.wait_ready()
    wait_ready(kernel, id)
    kernel.client.wait(kernel.client.request("POST", f"/instances/{id}/actions/power_off", json={}))
    seed.unlink()
    kernel.client.wait(kernel.client.request("POST", f"/instances/{id}/actions/start", json={}))
    assert seeds(kernel) == [seed], "a seed that was lost is made again for the next start"
    kernel.client.wait(kernel.client.request("DELETE", f"/instances/{id}"))
    assert seeds(kernel) == []


def test_the_agent_is_asked_and_told(kernel: KernelProcess, small_image: Path) -> None:
    id = make(kernel, small_image)
    wait_ready(kernel, id)
    guest = kernel.client.get(f"/instances/{id}/guest")
    assert guest["source"] == "agent"
    assert [stage["state"] for stage in guest["stages"]] == ["done"] * 6
    assert guest["facts"]["memory_bytes"] == 64 * 1024**2
    act(kernel, id, "set_hostname", hostname="web-2.example")
    wait_until(
        lambda: kernel.client.get(f"/instances/{id}")["guest"]["hostname"] == "web-2.example", what="the new host name"
    )
    ended = act(kernel, id, "set_password", username="root", password=SECRET)
    assert SECRET not in str(ended)
    act(kernel, id, "freeze", seconds=600)
    act(kernel, id, "thaw")
    assert SECRET.encode() not in b"".join(file.read_bytes() for file in kernel.root.rglob("*.db*"))


def test_a_stopped_guest_is_not_asked(kernel: KernelProcess, small_image: Path) -> None:
    id = make(kernel, small_image)
    wait_ready(kernel, id)
    kernel.client.wait(kernel.client.request("POST", f"/instances/{id}/actions/power_off", json={}))
    for action, body in {"freeze": {}, "thaw": {}, "set_hostname": {"hostname": "a"}}.items():
        with pytest.raises(NanoError, match="only while it runs") as caught:
            kernel.client.request("POST", f"/instances/{id}/guest/actions/{action}", json=body)
        assert caught.value.code is ErrorCode.WRONG_STATE
    guest = kernel.client.get(f"/instances/{id}/guest")
    assert guest["ready"] == {"is_ready": None, "reason": "the instance is stopped", "stage": None}
    assert kernel.client.get(f"/instances/{id}")["ready"]["is_ready"] is None


def test_user_data_that_cloud_init_would_ignore_is_refused(kernel: KernelProcess, small_image: Path) -> None:
    image_id = upload(kernel, small_image)
    for text in ("hello", "#cloud-config\nusers: [", "#cloud-config\n- a list"):
        with pytest.raises(NanoError, match="user-data") as caught:
            create(kernel, "web-1", image_id, cloud_init={"user_data": text})
        assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert kernel.client.get("/instances")["items"] == []
    assert seeds(kernel) == []
