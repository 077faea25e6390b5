"""What an instance is made of: options of ``nano instance create`` and ``update``, and the verbs about its devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from nanocore.cli.nouns import NOUNS, follow, resolve
from nanocore.cli.output import print_item
from nanocore.cli.session import Session
from nanocore.cli.sizes import Size
from nanocore.errors import ErrorCode, NanoError

F = TypeVar("F", bound=Callable[..., Any])

INSTANCE, DISK_IMAGE, MEDIA_IMAGE = NOUNS["instance"], NOUNS["disk-image"], NOUNS["media-image"]
NETWORK = NOUNS["network"]
LIMITS = ("cpu_weight", "disk_iops", "disk_bytes_per_second", "network_bytes_per_second")
NO_LIMIT = 0

_firmware = click.option("--firmware", type=click.Choice(["bios", "uefi"]), help="What it boots with [default: bios].")


def limit_options(command: F) -> F:
    """Add the options for limits; 0 is none."""
    for option in (
        click.option("--network-rate", "network_bytes_per_second", type=Size(), help="Bytes a second of each card."),
        click.option("--disk-rate", "disk_bytes_per_second", type=Size(), help="Bytes a second of each disk."),
        click.option("--disk-iops", type=click.IntRange(0), help="Reads and writes a second of each disk."),
        click.option("--cpu-weight", type=click.IntRange(0), help="Share of contended processors, beside others' 100."),
    ):
        command = option(command)
    return command


def new_hardware_options(command: F) -> F:
    """Add the options of ``create``."""
    for option in (
        limit_options,
        click.option("--media", multiple=True, help="Media image to insert; may be given more than once."),
        click.option("--data-disk", "data_disks", type=Size(), multiple=True, help="Size of a disk beside the first."),
        click.option("--tpm", "has_tpm", is_flag=True, default=None, help="Give it a TPM 2.0."),
        _firmware,
    ):
        command = option(command)
    return command


def changed_hardware_options(command: F) -> F:
    """Add the options of ``update``."""
    return limit_options(_firmware(command))


def pop_new_hardware(session: Session, options: dict[str, Any]) -> dict[str, Any]:
    """Take what ``new_hardware_options`` added out of ``options`` and return the request's part."""
    body: dict[str, Any] = {}
    media, sizes = options.pop("media"), options.pop("data_disks")
    if media:
        body["media_image_ids"] = [resolve(session, MEDIA_IMAGE, reference) for reference in media]
    if sizes:
        body["disks"] = [{"size_bytes": size} for size in sizes]
    limits = _pop_limits(options)
    if limits:
        body["qos"] = {name: value for name, value in limits.items() if value != NO_LIMIT}
    return body


def pop_changed_hardware(session: Session, id: str, options: dict[str, Any]) -> dict[str, Any]:
    """Take the limits out of ``options``; those not named stay as they are."""
    limits = _pop_limits(options)
    if not limits:
        return {}
    present = session.client.get(f"/instances/{id}")["qos"]
    merged = {name: present.get(name) for name in LIMITS} | limits
    return {"qos": {name: value for name, value in merged.items() if value not in {None, NO_LIMIT}}}


def _pop_limits(options: dict[str, Any]) -> dict[str, int]:
    found = {name: options.pop(name) for name in LIMITS}
    return {name: value for name, value in found.items() if value is not None}


def device_commands() -> list[click.Command]:
    """Return the verbs of ``nano instance`` about media, network cards, and the whole."""
    return [_insert, _eject, _add_nic, _remove_nic, _rebuild, _clone]


@click.command("insert", help="Insert a media image into a CD drive, running or not.")
@click.argument("reference")
@click.argument("media")
@click.option("--slot", type=click.IntRange(0), default=0, help="Number of the drive [default: 0].")
@click.option("--force", "is_forced", is_flag=True, help="Also when the guest has locked the drive.")
@click.pass_obj
def _insert(session: Session, reference: str, media: str, slot: int, is_forced: bool) -> None:  # noqa: FBT001
    id = resolve(session, INSTANCE, reference)
    body = {"media_image_id": resolve(session, MEDIA_IMAGE, media), "is_forced": is_forced}
    if follow(session, session.client.request("PUT", f"/instances/{id}/media/{slot}", json=body)) is not None:
        click.echo(f"instance {reference}: {media} is in drive {slot}", err=True)


@click.command("eject", help="Empty a CD drive, running or not.")
@click.argument("reference")
@click.option("--slot", type=click.IntRange(0), default=0, help="Number of the drive [default: 0].")
@click.option("--force", "is_forced", is_flag=True, help="Also when the guest has locked the drive.")
@click.pass_obj
def _eject(session: Session, reference: str, slot: int, is_forced: bool) -> None:  # noqa: FBT001  click's flag
    id = resolve(session, INSTANCE, reference)
    path = f"/instances/{id}/media/{slot}" + ("?is_forced=true" if is_forced else "")
    if follow(session, session.client.request("DELETE", path)) is not None:
        click.echo(f"instance {reference}: drive {slot} is empty", err=True)


@click.command("add-nic", help="Give it another network card, running or not.")
@click.argument("reference")
@click.option("--network", help="Network, by name or id [default: the default network].")
@click.option("--address", help="Address in it [default: the next free one].")
@click.pass_obj
def _add_nic(session: Session, reference: str, network: str | None, address: str | None) -> None:
    id = resolve(session, INSTANCE, reference)
    body: dict[str, Any] = {} if network is None else {"network_id": resolve(session, NETWORK, network)}
    if address is not None:
        body["address"] = address
    if follow(session, session.client.request("POST", f"/instances/{id}/nics", json=body)) is not None:
        print_item(session.client.get(f"/instances/{id}"), session.output)


@click.command("remove-nic", help="Take a network card from it, running or not.")
@click.argument("reference")
@click.argument("nic")
@click.pass_obj
def _remove_nic(session: Session, reference: str, nic: str) -> None:
    id = resolve(session, INSTANCE, reference)
    cards = session.client.get(f"/instances/{id}")["nics"]
    found = [card["id"] for card in cards if nic in {card["id"], card["mac"], *card["addresses"]}]
    if not found:
        known = ", ".join(card["mac"] for card in cards) or "none"
        message = f"instance {reference} has no network card {nic} (id, MAC or address); it has: {known}"
        raise NanoError(ErrorCode.NOT_FOUND, message)
    if follow(session, session.client.request("DELETE", f"/instances/{id}/nics/{found[0]}")) is not None:
        click.echo(f"instance {reference}: network card {nic} is gone", err=True)


@click.command("rebuild", help="Give it a fresh boot disk; it must be stopped. Other disks and addresses stay.")
@click.argument("reference")
@click.option("--image", help="Disk image, by name or id [default: the one it was made from].")
@click.option("--no-start", is_flag=True, help="Leave it stopped afterwards.")
@click.pass_obj
def _rebuild(session: Session, reference: str, image: str | None, no_start: bool) -> None:  # noqa: FBT001
    id = resolve(session, INSTANCE, reference)
    body: dict[str, Any] = {"is_started": not no_start}
    if image is not None:
        body["image_id"] = resolve(session, DISK_IMAGE, image)
    if follow(session, session.client.request("POST", f"/instances/{id}/actions/rebuild", json=body)) is not None:
        print_item(session.client.get(f"/instances/{id}"), session.output)


@click.command("clone", help="Make another one with copies of all disks; the original may run.")
@click.argument("reference")
@click.argument("name")
@click.option("--no-start", is_flag=True, help="Only make it.")
@click.pass_obj
def _clone(session: Session, reference: str, name: str, no_start: bool) -> None:  # noqa: FBT001  click's flag
    id = resolve(session, INSTANCE, reference)
    body = {"name": name, "is_started": not no_start}
    if follow(session, session.client.request("POST", f"/instances/{id}/actions/clone", json=body)) is not None:
        made = resolve(session, INSTANCE, name)
        print_item(session.client.get(f"/instances/{made}"), session.output)
