"""The demo image and the instance ``hello``, made through the public API as any client would."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import httpx2

from nanocore.client import Client
from nanocore.errors import ErrorCode, NanoError
from nanoplugins.quickstart import demo_image
from nanoplugins.quickstart.layout import Layout
from nanoplugins.quickstart.progress import Progress

IMAGE_NAME = "demo"
INSTANCE_NAME = "hello"
VCPUS = 1
MEMORY_BYTES = 192 * 1024**2
CELL_TIMEOUT_SECONDS = 90.0
CREATE_TIMEOUT_SECONDS = 300.0
SETTLE_SECONDS = 15.0
OFF = ("stopped", "crashed")
PAGE_TIMEOUT_SECONDS = 120.0
"""Emulated guests on a busy machine are slow: 4 s when idle, half a minute beside a running test suite."""

Json = dict[str, Any]


def wait_for_cell(client: Client, progress: Progress) -> None:
    """Return when a cell can take instances; raise ``deadline_exceeded`` with what it says of itself."""
    with progress.waiting("waiting until this machine is ready to run guests"):
        deadline = time.monotonic() + CELL_TIMEOUT_SECONDS
        while True:
            cells = [node for node in client.items("/nodes") if "cell" in node["roles"]]
            for cell in cells:
                if cell["state"] == "online" and cell["accelerator"]:
                    reason = f": {cell['accelerator_reason']}" if cell["accelerator_reason"] else ""
                    progress.detail(f"guests run with {cell['accelerator']}{reason}")
                    return
            if time.monotonic() > deadline:
                said = "; ".join(f"{cell['name']} is {cell['state']} ({cell['reason']})" for cell in cells)
                raise NanoError(
                    ErrorCode.DEADLINE_EXCEEDED,
                    f"no cell became ready within {CELL_TIMEOUT_SECONDS:g} s: {said or 'there is none'}",
                )
            time.sleep(0.5)


def ensure_image(client: Client, layout: Layout, progress: Progress) -> Json:
    """Return the ready demo image, built and uploaded if need be."""
    for image in client.items("/disk-images"):
        if image["name"] != IMAGE_NAME:
            continue
        if image["state"] == "ready":
            return image
        progress.say(f"removing a demo image that is {image['state']}")
        client.request("DELETE", f"/disk-images/{image['id']}")
    file = layout.own / "demo.qcow2"
    if not file.exists():
        with progress.waiting("building the demo disk image from the distribution's kernel"):
            demo_image.build(file, progress.detail)
    with progress.waiting("uploading the demo disk image"):
        return client.upload_disk_image(file, IMAGE_NAME)


def ensure_instance(client: Client, layout: Layout, progress: Progress) -> Json:
    """Return the instance ``hello``, running; it is made, or started, if need be."""
    found = _find(client)
    if found is None:
        image = ensure_image(client, layout, progress)
        with progress.waiting(f"creating the instance {INSTANCE_NAME}"):
            body = {"name": INSTANCE_NAME, "image_id": image["id"], "vcpus": VCPUS, "memory_bytes": MEMORY_BYTES}
            operation = client.request("POST", "/instances", json=body)
            client.wait(operation, timeout_seconds=CREATE_TIMEOUT_SECONDS, on_progress=_Steps(progress))
    elif settled(client, found)["state"]["observed"] in OFF:
        with progress.waiting(f"starting the instance {INSTANCE_NAME}"):
            start(client, found)
    made = _find(client)
    if made is None:
        raise NanoError(ErrorCode.INTERNAL, f"instance {INSTANCE_NAME} was made and is not listed")
    return made


def settled(client: Client, instance: Json) -> Json:
    """Return the instance once its cell has said how it is; after a start of the kernel that takes a moment."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while instance["state"]["observed"] == "unknown" and time.monotonic() < deadline:
        time.sleep(0.2)
        instance = client.get(f"/instances/{instance['id']}")
    return instance


def start(client: Client, instance: Json) -> None:
    """Start an instance; one that is being started already is fine."""
    try:
        operation = client.request("POST", f"/instances/{instance['id']}/actions/start", json={})
    except NanoError as error:
        if error.code is not ErrorCode.BUSY:
            raise
    else:
        client.wait(operation, timeout_seconds=CREATE_TIMEOUT_SECONDS)


def wait_for_page(client: Client, instance: Json, progress: Progress) -> str:
    """Return the address at which the guest's page answers; raise ``deadline_exceeded`` with what to look at."""
    id = instance["id"]
    with progress.waiting("waiting until the guest has booted and its page answers"):
        deadline = time.monotonic() + PAGE_TIMEOUT_SECONDS
        said = "it has no address"
        with httpx2.Client(timeout=2.0, trust_env=False) as http:
            while time.monotonic() < deadline:
                for address in addresses(client.get(f"/instances/{id}")):
                    try:
                        if http.get(f"http://{address}/").status_code == httpx2.codes.OK:
                            return address
                    except httpx2.TransportError as error:
                        said = f"http://{address}/: {error}"
                time.sleep(0.3)
    state = client.get(f"/instances/{id}")["state"]
    raise NanoError(
        ErrorCode.DEADLINE_EXCEEDED,
        f"instance {INSTANCE_NAME} is {state['observed']}, but its page did not answer within "
        f"{PAGE_TIMEOUT_SECONDS:g} s ({said}); look at its console: {layout_hint(client)}",
    )


def layout_hint(client: Client) -> str:
    """Return how to open the serial console of ``hello`` for the API that ``client`` speaks to."""
    return f"nano console {INSTANCE_NAME}" if client.endpoint.socket else "the portal"


def addresses(instance: Mapping[str, Any]) -> list[str]:
    """Return the addresses of an instance's network cards; pure."""
    return [address for nic in instance["nics"] for address in nic["addresses"]]


def _find(client: Client) -> Json | None:
    return next((each for each in client.items("/instances") if each["name"] == INSTANCE_NAME), None)


class _Steps:
    """Tells each step of an operation once."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._last = ""

    def __call__(self, operation: Mapping[str, Any]) -> None:
        step = operation["progress"]["step"]
        if step and step != self._last:
            self._last = step
            self._progress.detail(step.replace("_", " "))
