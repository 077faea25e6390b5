"""``nano instance``: making, switching and changing instances."""

from __future__ import annotations

from typing import Any

import click

from nanocore.cli.guest import READY_SECONDS, wait_ready
from nanocore.cli.instance_changes import change_commands
from nanocore.cli.instance_options import check_boot_disk, pop_qos, pop_values, qos_options, value_options
from nanocore.cli.nouns import NOUNS, follow, noun_group, resolve
from nanocore.cli.output import print_item
from nanocore.cli.session import Session
from nanocore.cli.sizes import Size
from nanocore.cli.storage import disk_commands
from nanocore.cli.templates import TEMPLATE
from nanocore.errors import ErrorCode, NanoError

INSTANCE = NOUNS["instance"]
NO_LIMIT = 0
"""What a limit is set to, to take it off."""


def group() -> click.Group:
    """Return the group with all its verbs."""
    made = noun_group("instance")
    for command in (*disk_commands(), *change_commands()):
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
    "suspend": "Write its memory to disk and stop it.",
    "restore": "Let a suspended one go on where it was.",
}


CREATE_HELP = """Make an instance and start it.

Cloned from a disk image, with a data disk and two network cards:

  nano instance create web-1 --image debian --memory 2G --disk 10G,name=data --nic default --nic lan

Blank, to install a system from a media image:

  nano instance create web-2 --boot-disk 20G --media debian-12-netinst
"""


@click.command("create", help=CREATE_HELP.replace("\n\n  nano", "\n\n\b\n  nano"))
@click.argument("name")
@click.option("--template", help="Template to take from what is not said here, by name or id.")
@value_options
@click.pass_obj
def _create(session: Session, /, name: str, **options: Any) -> None:  # noqa: ANN401
    is_awaited = options.pop("wait_ready") and not options["no_start"]
    template = options.pop("template")
    body: dict[str, Any] = {"name": name} | pop_values(session, options)
    if template is not None:
        body["template_id"] = resolve(session, TEMPLATE, template)
    check_boot_disk(body)
    ended = follow(session, session.client.request("POST", "/instances", json=body))
    if ended is None:
        return
    id = str(ended["resources"][0]["id"])
    if is_awaited:
        wait_ready(session, id, name, READY_SECONDS)
    print_item(session.client.get(f"/instances/{id}"), session.output)


@click.command("update", help="Change it: at once where the guest allows it, else at its next start.")
@click.argument("reference")
@click.option("--name", help="New name.")
@click.option("--description", help="Free text.")
@click.option("--vcpus", type=int, help="Virtual processors.")
@click.option("--memory", "memory_bytes", type=Size(), help="Memory, such as 512M or 2G.")
@click.option("--tag", "tags", multiple=True, help="Label; all of them, may be given more than once.")
@click.option("--no-tags", is_flag=True, help="Take all labels off.")
@click.option("--firmware", type=click.Choice(["bios", "uefi"]), help="What it boots with from its next start on.")
@click.option("--autostart/--no-autostart", default=None, help="Start it whenever its cell starts.")
@click.option("--protected/--not-protected", default=None, help="Refuse to delete it.")
@qos_options
@click.option("--no-limits", is_flag=True, help="Take all limits off.")
@click.pass_obj
def _update(session: Session, /, reference: str, **options: Any) -> None:  # noqa: ANN401
    qos = {} if options.pop("no_limits") else pop_qos(options)
    no_tags, tags = options.pop("no_tags"), list(options.pop("tags"))
    body = {key: value for key, value in options.items() if value is not None}
    if tags or no_tags:
        body["tags"] = tags
    if not body and qos is None:
        raise NanoError(ErrorCode.INVALID_ARGUMENT, "say what to change; see: nano instance update --help")
    id = resolve(session, INSTANCE, reference)
    if qos:
        # The API replaces all limits: those that were not said here stay.
        merged = session.client.get(f"/instances/{id}")["qos"] | qos
        qos = {name: value for name, value in merged.items() if value not in {None, NO_LIMIT}}
    if qos is not None:
        body["qos"] = qos
    changed = session.client.request("PATCH", f"/instances/{id}", json=body)
    print_item(changed, session.output)
    if changed["changes_at_next_start"]:
        click.echo(f"at the next start: {', '.join(changed['changes_at_next_start'])}", err=True)


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
