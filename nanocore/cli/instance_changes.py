"""Verbs of ``nano instance`` beyond power: rebuild, clone, network cards, media, batches."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from nanocore.cli.instance_options import NIC, check_boot_disk, nic_body, pop_values, value_options
from nanocore.cli.network import POLICY
from nanocore.cli.nouns import NOUNS, follow, resolve
from nanocore.cli.output import Column, field, print_item, print_items
from nanocore.cli.session import Session
from nanocore.cli.templates import TEMPLATE
from nanocore.errors import ErrorCode, NanoError

INSTANCE = NOUNS["instance"]
ACTIONS = ("start", "stop", "power-off", "reboot", "reset", "pause", "resume", "suspend", "restore", "delete")
ITEMS = (
    Column("NAME", field("name")),
    Column("STATE", field("state")),
    Column("REASON", field("error.message")),
    Column("ID", field("id")),
)


def change_commands() -> list[click.Command]:
    """Return the verbs and groups of this module."""
    nic = click.Group("nic", help="Its network cards.", commands=[_add_nic, _update_nic, _remove_nic])
    media = click.Group("media", help="What is in its CD drives.", commands=[_insert, _eject])
    batch = click.Group("batch", help="Many instances at once.", commands=[_batch_create, _batch_act])
    return [_rebuild, _clone, nic, media, batch]


@click.command(
    "rebuild", help="Give it a fresh boot disk; its other disks, addresses and settings stay. It must be off."
)
@click.argument("reference")
@click.option("--image", help="Disk image, by name or id [default: the one it was made from].")
@click.option("--no-start", is_flag=True, help="Leave it off.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def _rebuild(session: Session, *, reference: str, image: str | None, no_start: bool, yes: bool) -> None:
    id = resolve(session, INSTANCE, reference)
    body: dict[str, Any] = {"is_started": not no_start}
    if image is not None:
        body["image_id"] = resolve(session, NOUNS["disk-image"], image)
    if not yes:
        click.confirm(f"Everything on the boot disk of {reference} is lost. Rebuild it?", abort=True, err=True)
    if follow(session, session.client.request("POST", f"/instances/{id}/actions/rebuild", json=body)) is not None:
        print_item(session.client.get(f"/instances/{id}"), session.output)


@click.command("clone", help="Make NAME with copies of all its disks; it may run meanwhile.")
@click.argument("reference")
@click.argument("name")
@click.option("--no-start", is_flag=True, help="Only make it.")
@click.pass_obj
def _clone(session: Session, *, reference: str, name: str, no_start: bool) -> None:
    id = resolve(session, INSTANCE, reference)
    body = {"name": name, "is_started": not no_start}
    ended = follow(session, session.client.request("POST", f"/instances/{id}/actions/clone", json=body))
    if ended is not None:
        print_item(session.client.get(f"/instances/{ended['result']['instance_id']}"), session.output)


@click.command("add", help="Give it another network card, running or not.")
@click.argument("reference")
@click.argument("nic", type=NIC, metavar="[NETWORK[,address=A][,mac=M][,policy=NAME]]", default={})
@click.pass_obj
def _add_nic(session: Session, *, reference: str, nic: dict[str, str]) -> None:
    id = resolve(session, INSTANCE, reference)
    body = nic_body(session, nic)
    ended = follow(session, session.client.request("POST", f"/instances/{id}/nics", json=body))
    if ended is not None:
        print_item(ended["result"], session.output)


@click.command("update", help="Put a security policy on NIC (its id, MAC or an address of it), or take it off.")
@click.argument("reference")
@click.argument("nic")
@click.option("--policy", help="Security policy, by name or id.")
@click.option("--no-policy", is_flag=True, help="Let everything pass.")
@click.pass_obj
def _update_nic(session: Session, *, reference: str, nic: str, policy: str | None, no_policy: bool) -> None:
    if (policy is None) != no_policy:
        raise NanoError(ErrorCode.INVALID_ARGUMENT, "say either --policy NAME or --no-policy")
    id = resolve(session, INSTANCE, reference)
    body = {"security_policy_id": None if policy is None else resolve(session, POLICY, policy)}
    path = f"/instances/{id}/nics/{_find_nic(session, id, nic)}"
    if follow(session, session.client.request("PATCH", path, json=body)) is not None:
        click.echo(f"instance {reference}: network card {nic} changed", err=True)


@click.command("remove", help="Take NIC (its id, MAC or an address of it) away, running or not.")
@click.argument("reference")
@click.argument("nic")
@click.pass_obj
def _remove_nic(session: Session, *, reference: str, nic: str) -> None:
    id = resolve(session, INSTANCE, reference)
    path = f"/instances/{id}/nics/{_find_nic(session, id, nic)}"
    if follow(session, session.client.request("DELETE", path)) is not None:
        click.echo(f"instance {reference}: network card {nic} removed", err=True)


def _find_nic(session: Session, id: str, reference: str) -> str:
    nics = session.client.get(f"/instances/{id}")["nics"]
    found = [nic["id"] for nic in nics if reference in (nic["id"], nic["mac"], *nic["addresses"])]
    if not found:
        raise NanoError(ErrorCode.NOT_FOUND, f"it has no network card {reference}; it has {_known(nics)}")
    return str(found[0])


def _known(nics: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{nic['mac']} ({', '.join(nic['addresses']) or 'no address'})" for nic in nics) or "none"


@click.command("insert", help="Insert MEDIA, a media image by name or id, into a CD drive.")
@click.argument("reference")
@click.argument("media")
@click.option("--slot", type=int, default=0, help="Number of the drive [default: 0].")
@click.option("--force", "is_forced", is_flag=True, help="Also when the guest has locked the drive.")
@click.pass_obj
def _insert(session: Session, *, reference: str, media: str, slot: int, is_forced: bool) -> None:
    id = resolve(session, INSTANCE, reference)
    body = {"media_image_id": resolve(session, NOUNS["media-image"], media), "is_forced": is_forced}
    if follow(session, session.client.request("PUT", f"/instances/{id}/media/{slot}", json=body)) is not None:
        click.echo(f"instance {reference}: {media} is in drive {slot}", err=True)


@click.command("eject", help="Empty a CD drive.")
@click.argument("reference")
@click.option("--slot", type=int, default=0, help="Number of the drive [default: 0].")
@click.option("--force", "is_forced", is_flag=True, help="Also when the guest has locked the drive.")
@click.pass_obj
def _eject(session: Session, *, reference: str, slot: int, is_forced: bool) -> None:
    id = resolve(session, INSTANCE, reference)
    path = f"/instances/{id}/media/{slot}" + ("?is_forced=true" if is_forced else "")
    if follow(session, session.client.request("DELETE", path)) is not None:
        click.echo(f"instance {reference}: drive {slot} is empty", err=True)


@click.command("create", help="Make COUNT instances, called as PATTERN says: web-{n}, or web-{n:03} for web-001.")
@click.argument("pattern")
@click.argument("count", type=int)
@click.option("--first", type=int, default=1, help="Number of the first [default: 1].")
@click.option("--template", help="Template to take from what is not said here, by name or id.")
@value_options
@click.pass_obj
def _batch_create(session: Session, /, pattern: str, count: int, **options: Any) -> None:  # noqa: ANN401
    options.pop("wait_ready")
    body: dict[str, Any] = {"name_pattern": pattern, "count": count, "first": options.pop("first")}
    template = options.pop("template")
    if template is not None:
        body["template_id"] = resolve(session, TEMPLATE, template)
    body |= pop_values(session, options)
    check_boot_disk(body)
    _run_batch(session, {"create": body})


@click.command("act", help=f"Do ACTION to many: {', '.join(ACTIONS)}.")
@click.argument("action", type=click.Choice(ACTIONS), metavar="ACTION")
@click.argument("references", nargs=-1)
@click.option("-q", "--query", help="Also every instance that this free text finds.")
@click.option("--tag", help="Also every instance with this label.")
@click.option("--grace", type=float, help="For stop: seconds that a guest may take [default: 60].")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before deleting.")
@click.pass_obj
def _batch_act(session: Session, /, action: str, references: tuple[str, ...], **options: Any) -> None:  # noqa: ANN401
    if not (references or options["query"] or options["tag"]):
        raise NanoError(ErrorCode.INVALID_ARGUMENT, "say which instances: by name or id, by --query or by --tag")
    ids = [resolve(session, INSTANCE, reference) for reference in references]
    for params in ({"q": options["query"]}, {"tags": options["tag"]}):
        # An option that was not given selects nothing, never everything.
        if all(params.values()):
            ids += [item["id"] for item in session.client.items("/instances", **params)]
    if action == "delete" and ids and not options["yes"]:
        click.confirm(f"Delete {len(set(ids))} instances?", abort=True, err=True)
    body: dict[str, Any] = {"action": action.replace("-", "_"), "instance_ids": list(dict.fromkeys(ids))}
    if options["grace"] is not None:
        body["grace_seconds"] = options["grace"]
    _run_batch(session, body)


def _run_batch(session: Session, body: dict[str, Any]) -> None:
    ended = follow(session, session.client.request("POST", "/instance-batches", json=body))
    if ended is None:
        return
    print_items(ended["result"]["items"], ITEMS, session.output)
    if ended["result"]["failed"]:
        click.echo(f"{ended['result']['failed']} of {len(ended['result']['items'])} failed", err=True)
        sys.exit(1)
