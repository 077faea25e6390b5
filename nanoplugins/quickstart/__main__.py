"""``python -m nanoplugins.quickstart``: what the script ``quickstart`` runs once everything is installed.

Exit codes: 0 done, 1 failed (the reason is on standard error), 2 wrong usage, 3 ``--status``: not running.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from nanocore.client import Client, Endpoint
from nanocore.errors import ErrorCode, NanoError
from nanoplugins.quickstart import first_instance, readiness, removal, report, virtualization
from nanoplugins.quickstart.layout import Layout
from nanoplugins.quickstart.progress import Progress
from nanoplugins.quickstart.supervision import supervision

DEFAULT_ROLES = "core,cell,frontend"
NOT_RUNNING = 3


def main(arguments: list[str] | None = None) -> int:
    """Run one command line; return the exit code."""
    os.umask(0o077)
    chosen = _parser().parse_args(arguments)
    layout, progress = Layout(chosen.root.resolve()), Progress()
    try:
        if chosen.status:
            return _status(layout, as_json=chosen.json)
        _require_root()
        if chosen.stop:
            removal.stop(layout, progress)
        elif chosen.uninstall:
            removal.uninstall(layout, progress)
        else:
            _start(layout, progress, chosen)
    except NanoError as error:
        sys.stderr.write(f"\nquickstart: {error.message}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nquickstart: interrupted; run it again to go on from here\n")
        return 1
    return 0


def _require_root() -> None:
    if os.geteuid() != 0:
        raise NanoError(ErrorCode.PERMISSION_DENIED, "this needs root; run ./quickstart, which asks sudo")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./quickstart", description="Starts Nano on this machine.")
    parser.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="folder for all files")
    parser.add_argument("--role", default=DEFAULT_ROLES, metavar="ROLE", help="node roles, with commas between")
    parser.add_argument("--join", metavar="TOKEN", help="join the zone of another node")
    parser.add_argument("--no-demo", action="store_true", help="make no image and no instance")
    parser.add_argument("--json", action="store_true", help="with --status: for scripts")
    verbs = parser.add_mutually_exclusive_group()
    verbs.add_argument("--status", action="store_true", help="say what runs")
    verbs.add_argument("--stop", action="store_true", help="stop Nano and its instances")
    verbs.add_argument("--uninstall", action="store_true", help="remove it all")
    return parser


def _start(layout: Layout, progress: Progress, chosen: argparse.Namespace) -> None:
    roles = chosen.role.split(",")
    if "core" in roles and chosen.join:
        raise NanoError(
            ErrorCode.INVALID_ARGUMENT, "a core has a zone of its own; --join needs --role cell or frontend"
        )
    layout.make_passable()
    _write_roles(layout, roles, is_joining=chosen.join is not None)
    if "cell" in roles:
        progress.say(virtualization.start_libvirt(layout))
    keeper = supervision(layout)
    extra = ("--join", chosen.join) if chosen.join else ()
    is_new = keeper.start(*extra)
    progress.say("starting nano-kernel" if is_new else "nano-kernel runs already")
    readiness.wait_until_ready(layout, keeper)
    if "core" not in roles:
        progress.say(f"this node is ready as {', '.join(roles)}; look at it from the core: nano node list")
        return
    with Client(Endpoint(socket=layout.socket)) as client:
        readiness.wait_for_answer(client)
        address = None
        removal.resume(client, layout, progress)
        if "cell" in roles and not chosen.no_demo:
            first_instance.wait_for_cell(client, progress)
            instance = first_instance.ensure_instance(client, layout, progress)
            address = first_instance.wait_for_page(client, instance, progress)
        sys.stdout.write(report.for_people(report.gather(client, layout), layout, address))


def _write_roles(layout: Layout, roles: list[str], *, is_joining: bool) -> None:
    file = layout.config / "conf.d/10-quickstart.toml"
    if is_joining or (",".join(roles) == DEFAULT_ROLES and not file.exists()):
        return
    text = f"# Written by quickstart --role.\n[kernel]\nroles = {json.dumps(roles)}\n"
    file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _status(layout: Layout, *, as_json: bool) -> int:
    if not layout.socket.exists():
        is_ready = readiness.is_ready(layout)
        text = (
            "Nano runs here, without an API of its own" if is_ready else "Nano is not running; ./quickstart starts it"
        )
        sys.stdout.write(json.dumps({"running": is_ready}) + "\n" if as_json else f"{text}\n")
        return 0 if is_ready else NOT_RUNNING
    try:
        with Client(Endpoint(socket=layout.socket)) as client:
            status = report.gather(client, layout)
    except NanoError as error:
        sys.stderr.write(f"Nano does not answer: {error.message}\n")
        if as_json:
            sys.stdout.write(json.dumps({"running": False}) + "\n")
        return NOT_RUNNING
    sys.stdout.write((json.dumps(status, indent=2) if as_json else report.status_lines(status)) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
