"""``nano instance``: making, switching and changing instances."""

from __future__ import annotations

import re
from typing import Any

import click

from nanocore.cli.guest import READY_SECONDS, first_boot_options, pop_cloud_init, wait_ready
from nanocore.cli.nouns import NOUNS, follow, noun_group, resolve
from nanocore.cli.output import print_item
from nanocore.cli.session import Session
from nanocore.errors import ErrorCode, NanoError

UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
INSTANCE = NOUNS["instance"]


class Size(click.ParamType[int]):
    """A number of bytes with an IEC unit: 512M, 2G, 1.5GiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401
        """Return bytes."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(value), re.IGNORECASE)
        if found is None:
            self.fail(f"{value!r} is no size; write it like 512M or 2G", param, ctx)
        return int(float(found[1]) * UNITS[found[2].upper()])


def group() -> click.Group:
    """Return the group with all its verbs."""
    from nanocore.cli.storage import disk_commands

    made = noun_group("instance")
    for command in disk_commands():
        made.add_command(command)
    for command in (_create, _update, _explain, *(_action(name, text) for name, text in ACTIONS.items())):
        made.add_command(command)
    return made


ACTIONS = {
    "start": "Start it.",
    "stop": "Ask the guest to shut down; cut its power after --grace seconds.",
    "power_off": "Cut its power.",
    "reboot": "Ask the guest to reboot.",
    "reset": "Press its reset button.",
    "pause": "Stop its processors.",
    "resume": "Let it go on.",
}


@click.command("create", help="Make an instance from a disk image and start it.")
@click.argument("name")
@click.option("--image", required=True, help="Disk image, by name or id.")
@click.option("--vcpus", type=int, help="Virtual processors [default: 1].")
@click.option("--memory", "memory_bytes", type=Size(), help="Memory, such as 512M or 2G [default: 1G].")
@click.option("--disk", "disk_size_bytes", type=Size(), help="Boot disk [default: the image's size].")
@click.option("--compute-pool", help="Compute pool, by name or id [default: default].")
@click.option("--node", help="Cell to run on, by name or id [default: placement chooses].")
@click.option("--network", help="Network, by name or id [default: the default network].")
@click.option("--description", help="Free text.")
@click.option("--tag", "tags", multiple=True, help="Label; may be given more than once.")
@click.option("--autostart", is_flag=True, default=None, help="Start it whenever its cell starts.")
@click.option("--protected", is_flag=True, default=None, help="Refuse to delete it.")
@click.option("--no-start", is_flag=True, help="Only make it.")
@first_boot_options
@click.pass_obj
def _create(session: Session, /, name: str, image: str, no_start: bool, **options: Any) -> None:  # noqa: ANN401, FBT001
    is_awaited = options.pop("wait_ready")
    cloud_init = pop_cloud_init(options)
    references = {
        "compute_pool_id": ("compute-pool", "compute_pool"),
        "node_id": ("node", "node"),
        "network_id": ("network", "network"),
    }
    body: dict[str, Any] = {"name": name, "image_id": resolve(session, NOUNS["disk-image"], image)}
    for field, (noun, option) in references.items():
        reference = options.pop(option)
        if reference is not None:
            body[field] = resolve(session, NOUNS[noun], reference)
    body |= {key: value for key, value in options.items() if value is not None and value != ()}
    if no_start:
        body["is_started"] = False
    if cloud_init is not None:
        body["cloud_init"] = cloud_init
    ended = follow(session, session.client.request("POST", "/instances", json=body))
    if ended is None:
        return
    id = str(ended["resources"][0]["id"])
    if is_awaited and not no_start:
        wait_ready(session, id, name, READY_SECONDS)
    print_item(session.client.get(f"/instances/{id}"), session.output)


@click.command("update", help="Change it; sizes change at the next start.")
@click.argument("reference")
@click.option("--name", help="New name.")
@click.option("--description", help="Free text.")
@click.option("--vcpus", type=int, help="Virtual processors.")
@click.option("--memory", "memory_bytes", type=Size(), help="Memory, such as 512M or 2G.")
@click.option("--autostart/--no-autostart", default=None, help="Start it whenever its cell starts.")
@click.option("--protected/--not-protected", default=None, help="Refuse to delete it.")
@click.pass_obj
def _update(session: Session, /, reference: str, **options: Any) -> None:  # noqa: ANN401
    body = {key: value for key, value in options.items() if value is not None}
    if not body:
        raise NanoError(ErrorCode.INVALID_ARGUMENT, "say what to change; see: nano instance update --help")
    id = resolve(session, INSTANCE, reference)
    print_item(session.client.request("PATCH", f"/instances/{id}", json=body), session.output)


@click.command("explain", help="Say why it is where it is.")
@click.argument("reference")
@click.pass_obj
def _explain(session: Session, reference: str) -> None:
    explain(session, reference)


def explain(session: Session, reference: str) -> None:
    """Print the placement decision of an instance."""
    decision = session.client.get(f"/instances/{resolve(session, INSTANCE, reference)}/placement")
    if session.output != "table":
        print_item(decision, session.output)
        return
    click.echo(decision["reason"])
    for score in decision["scores"]:
        parts = ", ".join(f"{name} {value:.2f}" for name, value in score["by_weigher"].items())
        click.echo(f"  {score['name']}: {score['total']:.2f} ({parts})")
    for refusal in decision["refusals"]:
        click.echo(f"  {refusal['name']}: refused by {refusal['filter']}: {refusal['reason']}")


def _action(name: str, text: str) -> click.Command:
    def act(session: Session, references: tuple[str, ...], grace: float | None = None) -> None:
        ids = [resolve(session, INSTANCE, reference) for reference in references]
        body = None if grace is None else {"grace_seconds": grace}
        started = [session.client.request("POST", f"/instances/{id}/actions/{name}", json=body) for id in ids]
        for reference, operation in zip(references, started, strict=True):
            if follow(session, operation) is not None:
                click.echo(f"instance {reference}: {name.replace('_', ' ')} done", err=True)

    command: Any = click.pass_obj(act)
    if name == "stop":
        command = click.option("--grace", type=float, help="Seconds that the guest may take [default: 60].")(command)
    command = click.argument("references", nargs=-1, required=True)(command)
    made: click.Command = click.command(name.replace("_", "-"), help=text)(command)
    return made
