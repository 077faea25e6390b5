"""Stops Nano, and removes it from the machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nanocore.client import Client, Endpoint
from nanocore.errors import ErrorCode, NanoError
from nanoplugins.quickstart import first_instance, readiness, virtualization
from nanoplugins.quickstart.layout import Layout
from nanoplugins.quickstart.progress import Progress
from nanoplugins.quickstart.supervision import supervision

GRACE_SECONDS = 20
OPERATION_SECONDS = 120.0
NETWORK_SECONDS = 60
NOTE = "resume.json"
"""The ids of the instances that ran when Nano was stopped."""


def stop(layout: Layout, progress: Progress) -> None:
    """Shut the instances down and end every process of Nano; a later start brings back those that ran."""
    _with_api(layout, progress, _stop_instances)
    if supervision(layout).is_running():
        progress.say("stopping nano-kernel")
    supervision(layout).stop()
    cut = virtualization.cut_power(layout)
    if cut:
        progress.detail(f"cut the power of guests that still ran: {', '.join(cut)}")
        _note(layout, {virtualization.instance_of(name) for name in cut})
    _networks(layout, "down")
    still_used = virtualization.stop_libvirt(layout)
    if still_used:
        progress.detail(f"libvirt goes on: {still_used}")
    progress.say("Nano is stopped; ./quickstart starts it again")


def resume(client: Client, layout: Layout, progress: Progress) -> None:
    """Start the instances that ``stop`` shut down."""
    wanted = _noted(layout)
    for each in client.items("/instances") if wanted else ():
        if each["id"] in wanted and first_instance.settled(client, each)["state"]["observed"] == "stopped":
            progress.say(f"starting {each['name']} again")
            first_instance.start(client, each)
    (layout.own / NOTE).unlink(missing_ok=True)


def uninstall(layout: Layout, progress: Progress) -> None:
    """Remove instances, processes, networks and files; packages and the checkout stay."""
    _with_api(layout, progress, _delete_instances)
    keeper = supervision(layout)
    if keeper.is_running():
        progress.say("stopping nano-kernel")
    keeper.stop()
    keeper.remove()
    deleted = virtualization.delete_domains(layout)
    if deleted:
        progress.say(f"deleted guests that were left: {', '.join(deleted)}")
    virtualization.delete_logs(layout)
    progress.say("removing networks and files")
    _networks(layout, "remove")
    still_used = virtualization.stop_libvirt(layout)
    if still_used:
        raise NanoError(
            ErrorCode.WRONG_STATE,
            f"Nano's own guests and networks are gone, but {still_used}; then run ./quickstart --uninstall again",
        )
    virtualization.delete_run_folders()
    _delete_files(layout)
    progress.say("Nano is removed from this machine; packages and this folder are left")


def _note(layout: Layout, ids: set[str]) -> None:
    (layout.own / NOTE).write_text(json.dumps(sorted(_noted(layout) | ids)), encoding="utf-8")


def _noted(layout: Layout) -> set[str]:
    with suppress(OSError, ValueError):
        return set(json.loads((layout.own / NOTE).read_text(encoding="utf-8")))
    return set()


def _with_api(layout: Layout, progress: Progress, act: Callable[[Client, Layout, Progress], None]) -> None:
    if not readiness.will_answer(layout, supervision(layout)):
        return
    try:
        with Client(Endpoint(socket=layout.socket)) as client:
            readiness.wait_for_answer(client)
            act(client, layout, progress)
    except NanoError as error:
        progress.detail(f"nano-kernel did not do it ({error.message}); going on without it")


def _stop_instances(client: Client, layout: Layout, progress: Progress) -> None:
    every = [first_instance.settled(client, each) for each in client.items("/instances")]
    running = [each for each in every if each["state"]["observed"] == "running"]
    if not running:
        return
    progress.say(f"shutting down {len(running)} instances: {', '.join(each['name'] for each in running)}")
    _note(layout, {each["id"] for each in running})
    body = {"grace_seconds": GRACE_SECONDS}
    started = [client.request("POST", f"/instances/{each['id']}/actions/stop", json=body) for each in running]
    for operation in started:
        client.wait(operation, timeout_seconds=OPERATION_SECONDS)


def _delete_instances(client: Client, _layout: Layout, progress: Progress) -> None:
    instances = list(client.items("/instances"))
    if not instances:
        return
    progress.say(f"deleting {len(instances)} instances: {', '.join(each['name'] for each in instances)}")
    started = []
    for each in instances:
        if each["protected"]:
            client.request("PATCH", f"/instances/{each['id']}", json={"protected": False})
        try:
            started.append(client.request("DELETE", f"/instances/{each['id']}"))
        except NanoError as error:
            progress.detail(f"{each['name']}: {error.message}")
    for operation in started:
        client.wait(operation, timeout_seconds=OPERATION_SECONDS)


def _networks(layout: Layout, command: str) -> None:
    folder = layout.state / "network_bridge"
    if not folder.exists():
        return
    arguments = [sys.executable, "-m", "nanoplugins.network_bridge", command, "--state-dir", str(folder)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=NETWORK_SECONDS, check=False)
    if done.returncode:
        raise NanoError(ErrorCode.UNAVAILABLE, f"networks can't be taken down: {done.stderr.strip()}")


def _delete_files(layout: Layout) -> None:
    short_run = layout.run  # behind the link, where there is one
    for folder in (layout.config, layout.state, layout.logs, short_run):
        shutil.rmtree(folder, ignore_errors=True)
    link = layout.root / "run/nano"
    if link.is_symlink():
        link.unlink()
    if layout.root != Path("/"):
        for name in ("etc", "var/lib", "var/log", "var", "run", ""):
            with suppress(OSError):  # something of somebody else is in it, or it was never there
                (layout.root / name).rmdir()
