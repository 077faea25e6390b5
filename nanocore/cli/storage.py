"""``nano volume`` and ``nano storage-pool``."""

from __future__ import annotations

from typing import Any

import click

from nanocore.cli.nouns import ID, NAME, NOUNS, Noun, follow, noun_group, resolve
from nanocore.cli.output import Column, field, print_item, print_items, size
from nanocore.cli.session import Session
from nanocore.cli.sizes import Size
from nanocore.errors import ErrorCode, NanoError

INSTANCE = NOUNS["instance"]
VOLUME = Noun(
    "volume",
    "/volumes",
    "Block storage with a life of its own",
    (
        NAME,
        Column("STATE", field("state")),
        Column("SIZE", size("size_bytes")),
        Column("USED", size("used_bytes")),
        Column("INSTANCE", field("instance")),
        Column("NODE", field("node")),
        Column("POOL", field("storage_pool")),
        ID,
    ),
)
STORAGE_POOL = Noun(
    "storage-pool",
    "/storage-pools",
    "Named sets of paths that volumes lie in",
    (
        NAME,
        Column("PATHS", lambda item: str(len(item["paths"]))),
        Column("VOLUMES", field("volumes")),
        Column("USED", size("used_bytes")),
        Column("TOTAL", size("total_bytes")),
        ID,
    ),
)
PATH_COLUMNS = (
    Column("NODE", field("node")),
    Column("PATH", field("path")),
    Column("STATE", field("state")),
    Column("VOLUMES", field("volumes")),
    Column("USED", size("used_bytes")),
    Column("TOTAL", size("total_bytes")),
    Column("REASON", field("reason")),
)


def volume_group() -> click.Group:
    """Return ``nano volume``."""
    made = noun_group(VOLUME)
    for command in (_create, _update, _attach, _detach):
        made.add_command(command)
    return made


@click.command("create", help="Make an empty volume.")
@click.argument("name")
@click.option("--size", "size_bytes", type=Size(), required=True, help="Size, such as 10G.")
@click.option("--storage-pool", help="Storage pool, by name or id [default: default].")
@click.option("--compute-pool", help="Compute pool whose cells it may lie on, by name or id [default: default].")
@click.option("--node", help="Cell, by name or id [default: the one with the most free space].")
@click.pass_obj
def _create(
    session: Session,
    *,
    name: str,
    size_bytes: int,
    storage_pool: str | None,
    compute_pool: str | None,
    node: str | None,
) -> None:
    body: dict[str, Any] = {"name": name, "size_bytes": size_bytes}
    references = (
        ("storage_pool_id", STORAGE_POOL, storage_pool),
        ("compute_pool_id", NOUNS["compute-pool"], compute_pool),
        ("node_id", NOUNS["node"], node),
    )
    body |= {key: resolve(session, noun, reference) for key, noun, reference in references if reference}
    ended = follow(session, session.client.request("POST", "/volumes", json=body))
    if ended is not None:
        print_item(session.client.get(f"/volumes/{ended['result']['volume_id']}"), session.output)


@click.command("update", help="Rename it, grow it (also while its instance runs), or shrink it.")
@click.argument("reference")
@click.option("--name", help="New name.")
@click.option("--size", "size_bytes", type=Size(), help="New size, such as 20G.")
@click.option("--shrink", "is_shrink_confirmed", is_flag=True, help="Make it smaller: what lies beyond is lost.")
@click.pass_obj
def _update(
    session: Session,
    reference: str,
    name: str | None,
    size_bytes: int | None,
    is_shrink_confirmed: bool,  # noqa: FBT001  click's flag
) -> None:
    body: dict[str, Any] = {"name": name, "size_bytes": size_bytes, "is_shrink_confirmed": is_shrink_confirmed or None}
    id = resolve(session, VOLUME, reference)
    changes = {key: value for key, value in body.items() if value is not None}
    if follow(session, session.client.request("PATCH", f"/volumes/{id}", json=changes)) is not None:
        print_item(session.client.get(f"/volumes/{id}"), session.output)


@click.command("attach", help="Make it a disk of INSTANCE, running or not.")
@click.argument("reference")
@click.argument("instance")
@click.option("--keep", "is_kept", is_flag=True, help="Keep it when the instance is deleted.")
@click.pass_obj
def _attach(session: Session, reference: str, instance: str, is_kept: bool) -> None:  # noqa: FBT001  click's flag
    id, instance_id = resolve(session, VOLUME, reference), resolve(session, INSTANCE, instance)
    body = {"volume_id": id, "is_kept": is_kept}
    if follow(session, session.client.request("POST", f"/instances/{instance_id}/disks", json=body)) is not None:
        click.echo(f"volume {reference} attached to {instance}", err=True)


@click.command("detach", help="Take it from its instance, running or not; it stays.")
@click.argument("reference")
@click.pass_obj
def _detach(session: Session, reference: str) -> None:
    id = resolve(session, VOLUME, reference)
    holder = session.client.get(f"/volumes/{id}")["instance_id"]
    if holder is None:
        raise NanoError(ErrorCode.WRONG_STATE, f"volume {reference} is attached to no instance")
    if follow(session, session.client.request("DELETE", f"/instances/{holder}/disks/{id}")) is not None:
        click.echo(f"volume {reference} detached", err=True)


def disk_commands() -> list[click.Command]:
    """Return the verbs of ``nano instance`` about disks."""
    return [_add_disk, _update_disk, _remove_disk]


@click.command("add-disk", help="Give it a new empty disk, running or not.")
@click.argument("reference")
@click.option("--size", "size_bytes", type=Size(), required=True, help="Size, such as 10G.")
@click.option("--name", help="Name of the disk.")
@click.option("--keep", "is_kept", is_flag=True, help="Keep it as a volume when the instance is deleted.")
@click.option("--storage-pool", help="Storage pool, by name or id [default: default].")
@click.pass_obj
def _add_disk(
    session: Session,
    *,
    reference: str,
    size_bytes: int,
    name: str | None,
    is_kept: bool,
    storage_pool: str | None,
) -> None:
    body: dict[str, Any] = {"size_bytes": size_bytes, "is_kept": is_kept}
    body |= {"name": name} if name else {}
    body |= {"storage_pool_id": resolve(session, STORAGE_POOL, storage_pool)} if storage_pool else {}
    id = resolve(session, INSTANCE, reference)
    ended = follow(session, session.client.request("POST", f"/instances/{id}/disks", json=body))
    if ended is not None:
        print_item(session.client.get(f"/volumes/{ended['result']['volume_id']}"), session.output)


@click.command("update-disk", help="Rename DISK (its name or volume id), keep it, grow or shrink it.")
@click.argument("reference")
@click.argument("disk")
@click.option("--name", help="New name.")
@click.option("--size", "size_bytes", type=Size(), help="New size, such as 20G.")
@click.option("--shrink", "is_shrink_confirmed", is_flag=True, help="Make it smaller: what lies beyond is lost.")
@click.option("--keep/--no-keep", "is_kept", default=None, help="Keep it when the instance is deleted.")
@click.pass_obj
def _update_disk(session: Session, /, reference: str, disk: str, **options: Any) -> None:  # noqa: ANN401
    id = resolve(session, INSTANCE, reference)
    volume_id = _find_disk(session, id, disk)
    changes = {key: value for key, value in options.items() if value is not None and value is not False}
    if options["is_kept"] is False:
        changes["is_kept"] = False
    answer = session.client.request("PATCH", f"/instances/{id}/disks/{volume_id}", json=changes)
    if follow(session, answer) is not None:
        print_item(session.client.get(f"/volumes/{volume_id}"), session.output)


@click.command(
    "remove-disk", help="Delete DISK (its name or volume id) with everything on it; see: nano volume detach."
)
@click.argument("reference")
@click.argument("disk")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def _remove_disk(session: Session, reference: str, disk: str, yes: bool) -> None:  # noqa: FBT001  click's flag
    id = resolve(session, INSTANCE, reference)
    volume_id = _find_disk(session, id, disk)
    if not yes:
        click.confirm(f"Delete disk {disk} of {reference} with everything on it?", abort=True, err=True)
    answer = session.client.request("DELETE", f"/instances/{id}/disks/{volume_id}?is_kept=false")
    if follow(session, answer) is not None:
        click.echo(f"disk {disk} of {reference} deleted", err=True)


def _find_disk(session: Session, instance_id: str, disk: str) -> str:
    instance = session.client.get(f"/instances/{instance_id}")
    # A disk without a name is called as `nano volume list` calls it.
    names = {item["id"]: item["name"] or f"{instance['name']}-{at}" for at, item in enumerate(instance["disks"])}
    found = [str(id) for id, name in names.items() if disk in (id, name)]
    known = ", ".join(names.values())
    if not found:
        raise NanoError(
            ErrorCode.NOT_FOUND, f"instance {instance['name']} has no disk {disk!r}; there are: {known or 'none'}"
        )
    if len(found) > 1:
        raise NanoError(ErrorCode.CONFLICT, f"{len(found)} disks are named {disk!r}; use the id: {', '.join(found)}")
    return found[0]


def storage_pool_group() -> click.Group:
    """Return ``nano storage-pool``."""
    made = noun_group(STORAGE_POOL)
    for command in (_create_pool, _paths, _add_path, _remove_path, *map(_path_action, PATH_ACTIONS), _drain_path):
        made.add_command(command)
    return made


@click.command("create", help="Make a storage pool without paths.")
@click.argument("name")
@click.option("--description", default="", help="Free text.")
@click.pass_obj
def _create_pool(session: Session, name: str, description: str) -> None:
    body = {"name": name, "description": description}
    print_item(session.client.request("POST", "/storage-pools", json=body), session.output)


@click.command("paths", help="List its paths and how they are.")
@click.argument("reference")
@click.pass_obj
def _paths(session: Session, reference: str) -> None:
    pool = session.client.get(f"/storage-pools/{resolve(session, STORAGE_POOL, reference)}")
    print_items(pool["paths"], PATH_COLUMNS, session.output)


@click.command("add-path", help="Let it use the folder PATH of the cell NODE.")
@click.argument("reference")
@click.argument("node")
@click.argument("path")
@click.pass_obj
def _add_path(session: Session, reference: str, node: str, path: str) -> None:
    id = resolve(session, STORAGE_POOL, reference)
    body = {"node_id": resolve(session, NOUNS["node"], node), "path": path}
    print_items(
        session.client.request("POST", f"/storage-pools/{id}/paths", json=body)["paths"], PATH_COLUMNS, session.output
    )


@click.command("remove-path", help="Take the empty PATH of the cell NODE out of it.")
@click.argument("reference")
@click.argument("node")
@click.argument("path")
@click.pass_obj
def _remove_path(session: Session, reference: str, node: str, path: str) -> None:
    target = _find_path(session, reference, node, path)
    print_items(session.client.request("DELETE", target)["paths"], PATH_COLUMNS, session.output)


PATH_ACTIONS = {
    "enable": "Let new volumes go to PATH of the cell NODE, and end its draining.",
    "disable": "Let no new volumes go to PATH of the cell NODE.",
}


def _path_action(action: str) -> click.Command:
    @click.command(f"{action}-path", help=PATH_ACTIONS[action])
    @click.argument("reference")
    @click.argument("node")
    @click.argument("path")
    @click.pass_obj
    def act(session: Session, reference: str, node: str, path: str) -> None:
        target = _find_path(session, reference, node, path)
        answer = session.client.request("POST", f"{target}/actions/{action}")
        print_items(answer["paths"], PATH_COLUMNS, session.output)

    return act


@click.command("drain-path", help="Move the volumes of PATH of the cell NODE to the other paths there.")
@click.argument("reference")
@click.argument("node")
@click.argument("path")
@click.pass_obj
def _drain_path(session: Session, reference: str, node: str, path: str) -> None:
    target = _find_path(session, reference, node, path)
    ended = follow(session, session.client.request("POST", f"{target}/actions/drain"))
    if ended is None:
        return
    for name in ended["result"]["moved"]:
        click.echo(f"{name}: moved")
    for name, reason in ended["result"]["waiting"].items():
        click.echo(f"{name}: {reason}")


def _find_path(session: Session, reference: str, node: str, path: str) -> str:
    id, node_id = resolve(session, STORAGE_POOL, reference), resolve(session, NOUNS["node"], node)
    for known in session.client.get(f"/storage-pools/{id}")["paths"]:
        if known["node_id"] == node_id and path in (known["path"], known["id"]):
            return f"/storage-pools/{id}/paths/{known['id']}"
    raise NanoError(
        ErrorCode.NOT_FOUND, f"storage pool {reference} has no path {path} on {node}; see: nano storage-pool paths"
    )
