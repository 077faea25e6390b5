"""``nano guest``: the inside of instances; also the first-boot options of ``nano instance create``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from nanocore.cli.nouns import NOUNS, follow, resolve
from nanocore.cli.output import Column, field, print_item, print_items
from nanocore.cli.session import Session
from nanocore.errors import ErrorCode, NanoError

F = TypeVar("F", bound=Callable[..., Any])
INSTANCE = NOUNS["instance"]
POLL_SECONDS = 1.0
READY_SECONDS = 900.0
STAGES = (
    Column("STAGE", field("name")),
    Column("STATE", field("state")),
    Column("SECONDS", field("seconds")),
    Column("ERRORS", lambda stage: "; ".join(stage["errors"])),
)


def group() -> click.Group:
    """Return the group with all its verbs."""
    made = click.Group("guest", help="What is inside instances.")
    for command in (_get, _wait_ready, _set_password, _set_hostname, _freeze, _thaw):
        made.add_command(command)
    return made


@click.command("get", help="Show whether it is ready, the stages of its first boot, and what its agent tells.")
@click.argument("reference")
@click.pass_obj
def _get(session: Session, reference: str) -> None:
    guest = session.client.get(f"/instances/{resolve(session, INSTANCE, reference)}/guest")
    if session.output != "table":
        print_item(guest, session.output)
        return
    print_item({"ready": guest["ready"], "source": guest["source"], **guest["facts"]}, "table")
    if guest["stages"]:
        click.echo()
        print_items(guest["stages"], STAGES, "table")
    for warning in guest["warnings"]:
        click.echo(f"warning: {warning}")


@click.command("wait-ready", help="Wait until it is ready; fail as soon as its first boot has failed.")
@click.argument("reference")
@click.option("--timeout", type=float, default=READY_SECONDS, metavar="SECONDS", help="Longest wait [default: 900].")
@click.pass_obj
def _wait_ready(session: Session, reference: str, timeout: float) -> None:
    wait_ready(session, resolve(session, INSTANCE, reference), reference, timeout)
    click.echo(f"instance {reference}: ready", err=True)


@click.command("set-password", help="Set a user's password: asked for on a terminal, else read from standard input.")
@click.argument("reference")
@click.option("--user", "username", default="root", help="User in the guest [default: root].")
@click.pass_obj
def _set_password(session: Session, reference: str, username: str) -> None:
    _act(session, reference, "set_password", username=username, password=read_password(None))


@click.command("set-hostname", help="Set the host name.")
@click.argument("reference")
@click.argument("hostname")
@click.pass_obj
def _set_hostname(session: Session, reference: str, hostname: str) -> None:
    _act(session, reference, "set_hostname", hostname=hostname)


@click.command("freeze", help="Hold all writing to its file systems for a while.")
@click.argument("reference")
@click.option("--seconds", type=float, default=60, help="Thaw by itself after this time [default: 60].")
@click.pass_obj
def _freeze(session: Session, reference: str, seconds: float) -> None:
    _act(session, reference, "freeze", seconds=seconds)


@click.command("thaw", help="Let it write to its file systems again.")
@click.argument("reference")
@click.pass_obj
def _thaw(session: Session, reference: str) -> None:
    _act(session, reference, "thaw")


def _act(session: Session, reference: str, action: str, **body: object) -> None:
    path = f"/instances/{resolve(session, INSTANCE, reference)}/guest/actions/{action}"
    if follow(session, session.client.request("POST", path, json=body)) is not None:
        click.echo(f"instance {reference}: {action.replace('_', ' ')} done", err=True)


def wait_ready(session: Session, id: str, name: str, timeout_seconds: float) -> None:
    """Return once the guest is ready; raise when its first boot has failed, or after ``timeout_seconds``."""
    ends = time.monotonic() + timeout_seconds
    while True:
        guest = session.client.get(f"/instances/{id}/guest")
        ready = guest["ready"]
        if ready["is_ready"]:
            return
        states = {stage["state"] for stage in guest["stages"]}
        if "failed" in states and not states & {"running", "waiting"}:
            raise click.ClickException(f"instance {name} is not ready: {ready['reason']}; see: nano guest get {name}")
        if time.monotonic() > ends:
            text = f"instance {name} is not ready after {timeout_seconds:g} s: {ready['reason']}"
            raise NanoError(ErrorCode.DEADLINE_EXCEEDED, text)
        time.sleep(POLL_SECONDS)


def read_password(file: Path | None) -> str:
    """Return the first line of ``file``, of standard input, or what is typed twice on a terminal."""
    if file is not None and str(file) != "-":
        return file.read_text(encoding="utf-8").split("\n", 1)[0]
    if file is None and sys.stdin.isatty():
        typed: str = click.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
        return typed
    return sys.stdin.readline().rstrip("\n")


def first_boot_options(command: F) -> F:
    """Add the options that say what a first boot is told."""
    for option in reversed(
        [
            click.option("--hostname", help="First boot: host name [default: NAME]."),
            click.option("--username", help="First boot: make this user, who may become root."),
            click.option(
                "--ssh-key",
                "ssh_keys",
                type=click.Path(path_type=Path, exists=True, dir_okay=False),
                multiple=True,
                help="First boot: file with public keys that may log in; may be given more than once.",
            ),
            click.option(
                "--password-file",
                type=click.Path(path_type=Path, allow_dash=True),
                help="First boot: file with the user's password; - reads standard input.",
            ),
            click.option(
                "--user-data",
                type=click.Path(path_type=Path, exists=True, dir_okay=False),
                help="First boot: file with more for cloud-init.",
            ),
            click.option("--wait-ready", is_flag=True, help="Wait until the guest is ready, not only running."),
        ]
    ):
        command = option(command)
    return command


def pop_cloud_init(options: dict[str, Any]) -> dict[str, Any] | None:
    """Take the first-boot options out of ``options``; return what the API wants, ``None`` if nothing was said."""
    said: dict[str, Any] = {name: options.pop(name) for name in ("hostname", "username")}
    said["ssh_keys"] = [line for file in options.pop("ssh_keys") for line in _keys(file)]
    password, user_data = options.pop("password_file"), options.pop("user_data")
    said["password"] = None if password is None else read_password(password)
    said["user_data"] = None if user_data is None else user_data.read_text(encoding="utf-8")
    said = {name: value for name, value in said.items() if value}
    return said or None


def _keys(file: Path) -> list[str]:
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]
