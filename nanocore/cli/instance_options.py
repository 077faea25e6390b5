"""The options of ``nano instance create``, ``nano instance batch create`` and ``nano template create``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from nanocore.cli.guest import first_boot_options, pop_cloud_init
from nanocore.cli.network import POLICY
from nanocore.cli.nouns import NOUNS, resolve
from nanocore.cli.session import Session
from nanocore.cli.sizes import Size
from nanocore.cli.storage import STORAGE_POOL, VOLUME
from nanocore.errors import ErrorCode, NanoError

F = TypeVar("F", bound=Callable[..., Any])


class Details(click.ParamType[dict[str, str]]):
    """A first word and more with names: ``10G,name=data,keep``."""

    def __init__(self, name: str, first: str, more: tuple[str, ...]) -> None:
        self.name = name
        self._first = first
        self._more = more

    def convert(
        self,
        value: Any,  # noqa: ANN401
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> dict[str, str]:
        """Return the parts by their names."""
        if isinstance(value, dict):
            return value
        found: dict[str, str] = {}
        for index, part in enumerate(str(value).split(",")):
            key, equals, text = part.partition("=")
            if not equals and index == 0 and key not in self._more:
                key, text = self._first, part
            elif key != self._first and key not in self._more:
                known = ", ".join((self._first, *self._more))
                self.fail(f"{key!r} is none of what it takes: {known}", param, ctx)
            found[key] = text
        return found


DISK = Details("disk", "size", ("name", "keep", "storage-pool", "volume"))
NIC = Details("nic", "network", ("address", "mac", "policy"))


def qos_options(command: F) -> F:
    """Add the options that limit an instance; 0 takes a limit off."""
    for option in (
        click.option("--network-rate", type=Size(), help="Most bytes a second of each network card, such as 10M."),
        click.option("--disk-rate", type=Size(), help="Most bytes a second of each disk, such as 50M."),
        click.option("--disk-iops", type=click.IntRange(0), help="Most reads and writes a second of each disk."),
        click.option("--cpu-weight", type=click.IntRange(0), help="Share of contended processors, beside others' 100."),
    ):
        command = option(command)
    return command


def pop_qos(options: dict[str, Any]) -> dict[str, Any] | None:
    """Take the limits out of ``options``; return what the API wants, ``None`` if nothing was said."""
    names = {
        "cpu_weight": "cpu_weight",
        "disk_iops": "disk_iops",
        "disk_bytes_per_second": "disk_rate",
        "network_bytes_per_second": "network_rate",
    }
    said = {name: options.pop(option) for name, option in names.items()}
    return {name: value for name, value in said.items() if value is not None} or None


def value_options(command: F) -> F:
    """Add every option that says what a new instance is to be."""
    for option in reversed(
        [
            click.option("--image", help="Disk image for the boot disk, by name or id [default: a blank disk]."),
            click.option("--vcpus", type=int, help="Virtual processors [default: 1]."),
            click.option("--memory", "memory_bytes", type=Size(), help="Memory, such as 512M or 2G [default: 1G]."),
            click.option(
                "--boot-disk",
                "disk_size_bytes",
                type=Size(),
                help="Size of the boot disk [default: the image's size; needed without --image].",
            ),
            click.option(
                "--disk",
                "disks",
                type=DISK,
                multiple=True,
                metavar="SIZE[,name=TEXT][,keep][,storage-pool=NAME] | volume=NAME",
                help="Another disk, new or a free volume; may be given more than once.",
            ),
            click.option(
                "--nic",
                "nics",
                type=NIC,
                multiple=True,
                metavar="NETWORK[,address=A][,mac=M][,policy=NAME]",
                help="Network card; may be given more than once [default: one in the default network].",
            ),
            click.option("--no-nic", is_flag=True, help="No network card at all."),
            click.option("--media", "media", multiple=True, help="Media image to insert; may be given more than once."),
            click.option("--firmware", type=click.Choice(["bios", "uefi"]), help="What it boots with [default: bios]."),
            click.option("--tpm", "has_tpm", is_flag=True, default=None, help="Give it a TPM 2.0."),
            click.option("--compute-pool", help="Compute pool, by name or id [default: default]."),
            click.option("--node", help="Cell to run on, by name or id [default: placement chooses]."),
            click.option("--storage-pool", help="Storage pool of its disks [default: the compute pool's]."),
            click.option("--network", help="Network of its one card, by name or id [default: the default network]."),
            click.option("--description", help="Free text."),
            click.option("--tag", "tags", multiple=True, help="Label; may be given more than once."),
            click.option("--autostart", is_flag=True, default=None, help="Start it whenever its cell starts."),
            click.option("--protected", is_flag=True, default=None, help="Refuse to delete it."),
            click.option("--no-start", is_flag=True, help="Only make it."),
            qos_options,
            first_boot_options,
        ]
    ):
        command = option(command)
    return command


def pop_values(session: Session, options: dict[str, Any]) -> dict[str, Any]:
    """Take the options of ``value_options`` but ``--wait-ready``; return what the API wants."""
    body: dict[str, Any] = {}
    for field, option, noun in (
        ("image_id", "image", NOUNS["disk-image"]),
        ("compute_pool_id", "compute_pool", NOUNS["compute-pool"]),
        ("node_id", "node", NOUNS["node"]),
        ("storage_pool_id", "storage_pool", STORAGE_POOL),
        ("network_id", "network", NOUNS["network"]),
    ):
        reference = options.pop(option)
        if reference is not None:
            body[field] = resolve(session, noun, reference)
    disks = [_disk(session, details) for details in options.pop("disks")]
    nics = [nic_body(session, details) for details in options.pop("nics")]
    media = [resolve(session, NOUNS["media-image"], name) for name in options.pop("media")]
    body |= {key: value for key, value in (("disks", disks), ("nics", nics), ("media_image_ids", media)) if value}
    if options.pop("no_nic"):
        body["nics"] = []
    if options.pop("no_start"):
        body["is_started"] = False
    for key, value in (("cloud_init", pop_cloud_init(options)), ("qos", pop_qos(options))):
        if value is not None:
            body[key] = value
    plain = ("vcpus", "memory_bytes", "disk_size_bytes", "firmware", "has_tpm", "description", "tags")
    for name in (*plain, "autostart", "protected"):
        value = options.pop(name)
        if value is not None and value != ():
            body[name] = value
    return body


def check_boot_disk(body: Mapping[str, Any]) -> None:
    """Raise ``invalid_argument`` when nothing says what to boot from; a template may."""
    if not body.keys() & {"image_id", "disk_size_bytes", "template_id"}:
        raise NanoError(
            ErrorCode.INVALID_ARGUMENT,
            "say --image NAME to clone a disk image (see: nano disk-image list), or --boot-disk SIZE for a blank disk",
        )


def nic_body(session: Session, details: dict[str, str]) -> dict[str, Any]:
    """Return what the API wants of a network card."""
    body: dict[str, Any] = {}
    for field, key, noun in (("network_id", "network", NOUNS["network"]), ("security_policy_id", "policy", POLICY)):
        if details.get(key):
            body[field] = resolve(session, noun, details[key])
    return body | {key: details[key] for key in ("address", "mac") if details.get(key)}


def _disk(session: Session, details: dict[str, str]) -> dict[str, Any]:
    body: dict[str, Any] = {"is_kept": True} if "keep" in details else {}
    if details.get("name"):
        body["name"] = details["name"]
    if details.get("storage-pool"):
        body["storage_pool_id"] = resolve(session, STORAGE_POOL, details["storage-pool"])
    if details.get("volume"):
        body["volume_id"] = resolve(session, VOLUME, details["volume"])
    if details.get("size"):
        body["size_bytes"] = Size().convert(details["size"], None, None)
    if "size_bytes" not in body and "volume_id" not in body:
        raise NanoError(ErrorCode.INVALID_ARGUMENT, "--disk takes a size, such as 10G, or volume=NAME")
    return body
