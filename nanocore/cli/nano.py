"""The command ``nano``: nouns and verbs over the public API. Each noun is imported only when it is used."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from nanocore.cli.output import FORMATS, print_value
from nanocore.cli.session import Session, fail
from nanocore.errors import ErrorCode, NanoError

GROUPS: dict[str, tuple[str, str]] = {
    "instance": ("nanocore.cli.instance:group", "Virtual machines that Nano manages"),
    "template": ("nanocore.cli.templates:group", "Stored answers for creating instances"),
    "guest": ("nanocore.cli.guest:group", "What is inside instances"),
    "compute-pool": ("nanocore.cli.zone:compute_pool_group", "Named sets of cells"),
    "node": ("nanocore.cli.zone:node_group", "Running kernels"),
    "disk-image": ("nanocore.cli.images:disk_image_group", "Bootable sources that disks are cloned from"),
    "media-image": ("nanocore.cli.images:media_image_group", "ISO files to insert into the drives of instances"),
    "network": ("nanocore.cli.network:network_group", "Networks that instances are attached to"),
    "address-pool": ("nanocore.cli.network:address_pool_group", "Ranges of a network's addresses"),
    "policy": ("nanocore.cli.network:policy_group", "Which connections network cards accept and make"),
    "volume": ("nanocore.cli.storage:volume_group", "Block storage with a life of its own"),
    "storage-pool": ("nanocore.cli.storage:storage_pool_group", "Named sets of paths that volumes lie in"),
    "snapshot": ("nanocore.cli.snapshots:snapshot_group", "Disks of an instance as they were at one moment"),
    "snapshot-schedule": ("nanocore.cli.snapshots:schedule_group", "Snapshots taken every so often"),
    "operation": ("nanocore.cli.others:operation_group", "Long-running work"),
    "token": ("nanocore.cli.others:token_group", "Your API tokens"),
    "plugin": ("nanocore.cli.nouns:noun_group", "What is installed, and what became of it"),
    "context": ("nanocore.cli.others:context_group", "The APIs that this user talks to"),
}
COMMANDS: dict[str, tuple[str, str]] = {
    "console": ("nanocore.cli.console:command", "Open an instance's serial console here"),
    "search": ("nanocore.cli.search:command", "Look for anything by name, address, tag or id"),
    "doctor": ("nanocore.cli.doctor:command", "Check this node and the API, and say what to do"),
}


class LazyGroup(click.Group):
    """Lists every command from a table, and imports one only to run it. Plugins' commands are looked for last."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the alphabet."""
        return sorted({*super().list_commands(ctx), *GROUPS, *COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, ``None`` for an unknown one."""
        known = super().get_command(ctx, cmd_name)
        if known is not None:
            return known
        if cmd_name in COMMANDS:
            return _load(COMMANDS[cmd_name][0])  # type: ignore[no-any-return]
        if cmd_name in GROUPS:
            target = GROUPS[cmd_name][0]
            make = _load(target)
            return make(cmd_name) if target.endswith(":noun_group") else make()  # type: ignore[no-any-return]
        return _plugin_command(cmd_name)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  click's
        """Run a command; who gives an option of ``nano`` after the noun is told where it goes."""
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            own = {name for option in self.params for name in (*option.opts, *option.secondary_opts)}
            if error.option_name not in own:
                raise
            text = f"{error.message} It goes before the noun: nano {error.option_name} … NOUN …"
            raise click.NoSuchOption(error.option_name, text, ctx=error.ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's
        """Write the list without importing anything."""
        own = {name: command.get_short_help_str(60) for name, command in self.commands.items()}
        told = {name: text for name, (_, text) in (GROUPS | COMMANDS).items()}
        with formatter.section("Commands"):
            formatter.write_dl(sorted((own | told).items()))


def _load(target: str) -> Any:  # noqa: ANN401  whatever the table names
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _plugin_command(name: str) -> click.Command | None:
    try:
        from nanocore.loader.commands import find_cli_command
    except ModuleNotFoundError:
        return None  # only the client is installed here: there are no plugins
    found = find_cli_command(name)
    return None if found is None else _load(found.target)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-o", "--output", type=click.Choice(FORMATS), default="table", help="How to print [default: table].")
@click.option("--context", metavar="NAME", help="Talk to this API (see: nano context).")
@click.option("--root", type=click.Path(path_type=Path), help="Talk to the nano-kernel with this --root.")
@click.option("--wait/--no-wait", default=None, help="Wait for long work [default: on a terminal].")
@click.version_option(package_name="nano-cloud", prog_name="nano")
@click.pass_context
def nano(ctx: click.Context, output: str, context: str | None, root: Path | None, wait: bool | None) -> None:  # noqa: FBT001
    """Manage a Nano cloud: instances, images, cells and what belongs to them."""
    ctx.obj = Session(context=context, root=root, output=output, wait=wait)


@nano.command("api")
@click.argument("method")
@click.argument("path")
@click.option("-d", "--data", help="JSON body; @FILE reads it from a file.")
@click.pass_obj
def api(session: Session, method: str, path: str, data: str | None) -> None:
    """Send one request: nano api GET /instances."""
    text = Path(data[1:]).read_text(encoding="utf-8") if data is not None and data.startswith("@") else data
    try:
        body = None if text is None else json.loads(text)
    except ValueError as error:
        raise NanoError(ErrorCode.INVALID_ARGUMENT, f"--data is no JSON: {error}") from error
    answer = session.client.request(method.upper(), f"/{path.lstrip('/')}", json=body)
    if answer is not None:
        print_value(answer, "yaml" if session.output == "yaml" else "json")


@nano.command("invite")
@click.option("--name", help="Name of the new node [default: its host name].")
@click.option("--role", "roles", multiple=True, default=["cell"], help="Node role [default: cell].")
@click.option("--expires-in", type=float, default=3600, metavar="SECONDS", help="Life of the invite [default: 3600].")
@click.pass_obj
def invite(session: Session, name: str | None, roles: tuple[str, ...], expires_in: float) -> None:
    """Print the command that lets another node join."""
    body = {"roles": list(roles), "name": name, "expires_in_seconds": expires_in}
    made = session.client.request("POST", "/node-invites", json=body)
    if session.output == "table":
        click.echo("Run this on the other host, once, in a checkout of Nano:", err=True)
        click.echo(made["command"])
    else:
        print_value(made, session.output)


@nano.command("join")
@click.argument("token")
@click.pass_obj
def join(session: Session, token: str) -> None:
    """Join this node to the core that made the invite TOKEN."""
    root = [] if session.root is None else ["--root", str(session.root)]
    program = Path(sys.argv[0]).with_name("nano-kernel")
    os.execv(program, [str(program), *root, "--join", token])  # noqa: S606  replaces this process


@nano.command("events")
@click.argument("topics", nargs=-1)
@click.pass_obj
def events(session: Session, topics: tuple[str, ...]) -> None:
    """Print changes as they happen, one JSON a line."""
    from nanocore.client.websocket import follow_events

    for event in follow_events(session.client, list(topics) or ["instances", "operations", "nodes", "disk-images"]):
        if event.get("type") != "ping":
            click.echo(json.dumps(event))


@nano.command("explain")
@click.argument("instance")
@click.pass_obj
def explain(session: Session, instance: str) -> None:
    """Say why an instance is where it is."""
    from nanocore.cli.instance import explain as show

    show(session, instance)


def main() -> None:
    """Run ``nano``; every expected failure is one readable line and an exit code."""
    try:
        nano()
    except NanoError as error:
        fail(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
