"""``nano-kernel``: one node as a process. Also ``python -m nanocore``.

Exit codes: 0 stopped when asked to, 75 to be started again, 1 failed, 2 wrong usage or configuration, 5 the root is in
use by another kernel, or the name in the zone by another node; a join that fails: 4 not allowed, 6 the core can't be
reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import click
import structlog

from nanocore import __version__
from nanocore.cli.process import Backstop, LoopWatch, loop_factory, notify, raise_limits
from nanocore.clock import SystemClock
from nanocore.config import KernelConfig, read_files, render_toml
from nanocore.contracts.plugin import PluginState
from nanocore.errors import ErrorCode, NanoError
from nanocore.kernel.enrolment import join
from nanocore.kernel.node import Blueprint, Node, node_name
from nanocore.kernel.root import NodeRoot
from nanocore.kernel.trust import Identity, JoinToken
from nanocore.loader.discover import discover
from nanocore.loader.plugins import Plugins
from nanocore.logs import ForeignHandler, make_logger

EXIT_CODES = {
    ErrorCode.INVALID_ARGUMENT: 2,
    ErrorCode.NOT_FOUND: 3,
    ErrorCode.PERMISSION_DENIED: 4,
    ErrorCode.UNAUTHENTICATED: 4,
    ErrorCode.CONFLICT: 5,
    ErrorCode.ALREADY_EXISTS: 5,
    ErrorCode.UNAVAILABLE: 6,
    ErrorCode.DEADLINE_EXCEEDED: 7,
}
RESTART_CODE = 75
"""Asks whatever keeps the kernel running to start it again: systemd's ``Restart=on-failure``, the keeper's loop."""
GC_THRESHOLDS = (50_000, 20, 100)
"""Measured: halves what many operations in flight cost."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--root", type=click.Path(path_type=Path), default=Path("/"), help="Folder that holds etc, var and run.")
@click.option("--check", is_flag=True, help="Check configuration and plugins, start nothing.")
@click.option("--join", "token", metavar="TOKEN", help="Join a zone with a one-time invite, then run.")
@click.option("--print-default-config", is_flag=True, help="Print every setting at its default.")
@click.version_option(__version__, prog_name="nano-kernel")
def main(*, root: Path, check: bool, token: str | None, print_default_config: bool) -> None:
    """Run a Nano node."""
    os.umask(0o077)
    try:
        if print_default_config:
            click.echo(default_config(), nl=False)
        elif check:
            sys.exit(_check(root))
        else:
            _run(root, token)
    except NanoError as error:
        click.echo(f"nano-kernel: {error.message}", err=True)
        sys.exit(EXIT_CODES.get(error.code, 1))


def default_config() -> str:
    """Return ``etc/nano.toml``: the kernel's settings and those of all first-party plugins."""
    return render_toml(all_sections())


def all_sections() -> list[tuple[str, type[Any]]]:
    """Return every configuration section of this distribution, the kernel's first, then by name.

    Raises ``internal`` if a first-party plugin can't be loaded.
    """
    plugins = Plugins(roles=frozenset(), log=make_logger(sys.stderr, "warning"), strict=True)
    plugins.load([source for source in discover() if source.is_first_party], ["*"])
    return [("kernel", KernelConfig), *sorted(plugins.sections().items())]


def _check(root: Path) -> int:
    """Print every plugin with its state; return the exit code."""
    blueprint = Blueprint.read(NodeRoot.at(root), make_logger(sys.stderr, "error"))
    statuses = blueprint.plugins.statuses()
    for status in statuses:
        click.echo(f"{status.name:20} {status.state.value:10} {status.reason or ''}".rstrip())
    return 1 if any(status.state is PluginState.FAILED for status in statuses) else 0


# -- running


def _run(root: Path, token: str | None) -> None:
    config = read_files(root).section("kernel", KernelConfig)
    log = make_logger(sys.stdout, config.log_level)
    logging.basicConfig(level=logging.WARNING, handlers=[ForeignHandler(log)], force=True)
    raise_limits()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        if token is not None:
            runner.run(_join(root, token, log))
        is_restart = runner.run(_serve(root, log, config.loop_limit_seconds))
    if is_restart:
        _start_again()


def _start_again() -> None:
    """Leave it to what keeps us running; where nothing does, become the next kernel ourselves."""
    if "INVOCATION_ID" in os.environ or "NANO_KEEPER" in os.environ:
        sys.exit(RESTART_CODE)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "nanocore", *sys.argv[1:]])  # noqa: S606  our own command line


async def _serve(root: Path, log: structlog.stdlib.BoundLogger, limit_seconds: float) -> bool:
    """Run until the end; return whether the kernel shall come back."""
    stopping = asyncio.Event()
    backstop = Backstop(log)
    loop = asyncio.get_running_loop()

    def stop(*_: object) -> None:
        backstop.begin()
        loop.call_soon_threadsafe(stopping.set)

    # Not by the loop's own signal handlers: they never run while a plugin blocks the loop.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    is_restart = False

    def end(wants_restart: bool) -> None:  # noqa: FBT001  as ``Ending``
        nonlocal is_restart
        is_restart = wants_restart
        stop()

    node = Node(root, log=log, on_end=end)
    watch = LoopWatch(log, limit_seconds=limit_seconds)
    starting = asyncio.create_task(node.start(), name="start")
    stopped = asyncio.create_task(stopping.wait(), name="wait for a signal")
    await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if not starting.done():
            starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
            watch.start()
            _ready(node, log)
            await stopped
    finally:
        stopped.cancel()
        backstop.begin()
        log.info("node stopping")
        notify("STOPPING=1")
        (node.root.run / "ready").unlink(missing_ok=True)
        await node.stop()
        watch.stop()
        log.info("node stopped")
        failed = sys.exc_info()[0] is not None
        backstop.end(1 if failed else RESTART_CODE if is_restart else 0)
    return is_restart


def _ready(node: Node, log: structlog.stdlib.BoundLogger) -> None:
    """Tell systemd and everybody else, and put what the start made out of the garbage collector's way."""
    facts = {
        "pid": os.getpid(),
        "node_id": node.info.id,
        "name": node.info.name,
        "roles": [role.value for role in node.info.roles],
        "version": __version__,
        "message_port": node.message_port,
        "stream_port": node.stream_port,
    }
    draft = node.root.run / ".ready.draft"
    draft.write_text(json.dumps(facts) + "\n", encoding="utf-8")
    draft.replace(node.root.run / "ready")
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    log.info("node ready", **facts)
    notify("READY=1")


# -- joining


async def _join(root: Path, text: str, log: structlog.stdlib.BoundLogger) -> None:
    """Join a zone and write what the invite says of this node into ``conf.d``; a second time is fine."""
    place = NodeRoot.at(root)
    place.prepare()
    with place.lock():
        token = JoinToken.parse(text)
        identity = Identity.load(place.keys)
        if identity.core is not None and identity.core.id == token.core_id:
            log.info("already joined", core=identity.core.name)
            return
        name = token.name or node_name(read_files(root).section("kernel", KernelConfig))
        accepted, core = await join(text, identity, name=name, clock=SystemClock(), log=log)
        identity.joined(place.keys, core)
        roles = ", ".join(f'"{role.value}"' for role in token.roles)
        lines = ["# Written by joining.", "[kernel]", f'name = "{name}"', f"roles = [{roles}]"]
        lines.append(f"zone = {json.dumps(accepted.zone)}")
        folder = place.config / "conf.d"
        folder.mkdir(exist_ok=True)
        (folder / "90-joined.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        log.info("joined", core=accepted.core.name, zone=accepted.zone, roles=[role.value for role in token.roles])
