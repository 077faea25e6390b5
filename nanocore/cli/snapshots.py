"""``nano snapshot`` and ``nano snapshot-schedule``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from nanocore.cli.instance import INSTANCE
from nanocore.cli.nouns import ID, NAME, Noun, follow, noun_group, resolve
from nanocore.cli.output import Column, age, field, print_item, print_items
from nanocore.cli.session import Session
from nanocore.errors import ErrorCode, NanoError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def format_interval(seconds: int) -> str:
    """Return a time span as ``--every`` takes it, in the largest unit that is exact."""
    unit = max((name for name, size in UNITS.items() if seconds % size == 0), key=UNITS.__getitem__)
    return f"{seconds // UNITS[unit]}{unit}"


COLUMNS = (
    Column("NAME", field("shown_name")),
    Column("STATE", field("state")),
    Column("CURRENT", lambda item: "*" if item["is_current"] else ""),
    Column("CONSISTENT", field("is_consistent")),
    Column("AGE", age("created_at")),
    ID,
)
SCHEDULE = Noun(
    "snapshot-schedule",
    "/snapshot-schedules",
    "Snapshots taken every so often",
    (
        NAME,
        Column("INSTANCE", field("instance")),
        Column("EVERY", lambda item: format_interval(item["interval_seconds"])),
        Column("KEEP", field("keep")),
        Column("ENABLED", field("is_enabled")),
        Column("NEXT", field("next_run_at")),
        Column("ERROR", field("last_error")),
        ID,
    ),
)


class Interval(click.ParamType[int]):
    """A time span with a unit: 30m, 6h, 1d."""

    name = "interval"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401
        """Return seconds."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+)([smhd])", str(value))
        if found is None:
            self.fail(f"{value!r} is no time span; write it like 30m, 6h or 1d", param, ctx)
        return int(found[1]) * UNITS[found[2]]


def snapshot_group() -> click.Group:
    """Return ``nano snapshot``."""
    made = click.Group("snapshot", help="Disks of an instance as they were at one moment.")
    for command in (_list, _get, _create, _restore, _delete):
        made.add_command(command)
    return made


def _every(session: Session, instance: str) -> tuple[str, list[dict[str, Any]]]:
    path = f"/instances/{resolve(session, INSTANCE, instance)}/snapshots"
    return path, list(session.client.items(path))


def _find(session: Session, instance: str, reference: str) -> str:
    """Return the path of a snapshot, by its name or id."""
    path, items = _every(session, instance)
    for item in items:
        if reference in (item["name"], item["id"]):
            return f"{path}/{item['id']}"
    known = ", ".join(item["name"] for item in items) or "none"
    raise NanoError(ErrorCode.NOT_FOUND, f"instance {instance} has no snapshot {reference!r}; there are: {known}")


def _tree(items: Sequence[Mapping[str, Any]], parent: str | None = None, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the items below ``parent``, children below their parents."""
    for item in items:
        if item["parent_id"] == parent:
            yield {**item, "shown_name": "  " * depth + item["name"]}
            yield from _tree(items, item["id"], depth + 1)


@click.command("list", help="List the snapshots of INSTANCE as a tree.")
@click.argument("instance")
@click.pass_obj
def _list(session: Session, instance: str) -> None:
    _, items = _every(session, instance)
    print_items(list(_tree(items)) if session.output == "table" else items, COLUMNS, session.output)


@click.command("get", help="Show a snapshot of INSTANCE, by name or id.")
@click.argument("instance")
@click.argument("reference")
@click.pass_obj
def _get(session: Session, instance: str, reference: str) -> None:
    print_item(session.client.get(_find(session, instance, reference)), session.output)


@click.command("create", help="Keep all disks of INSTANCE, running or stopped, as they are now.")
@click.argument("instance")
@click.argument("name")
@click.option("--description", default="", help="Free text.")
@click.pass_obj
def _create(session: Session, instance: str, name: str, description: str) -> None:
    path = f"/instances/{resolve(session, INSTANCE, instance)}/snapshots"
    ended = follow(session, session.client.request("POST", path, json={"name": name, "description": description}))
    if ended is not None:
        print_item(session.client.get(f"{path}/{ended['result']['snapshot_id']}"), session.output)


@click.command("restore", help="Bring the disks of INSTANCE back; a running guest is cut off and started again.")
@click.argument("instance")
@click.argument("reference")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def _restore(session: Session, instance: str, reference: str, yes: bool) -> None:  # noqa: FBT001  click's flag
    path = _find(session, instance, reference)
    if not yes:
        click.confirm(f"Give up what {instance} wrote since its last snapshot?", abort=True, err=True)
    if follow(session, session.client.request("POST", f"{path}/actions/restore")) is not None:
        click.echo(f"instance {instance} is back at {reference}", err=True)


@click.command("delete", help="Delete a snapshot of INSTANCE; later ones stay.")
@click.argument("instance")
@click.argument("reference")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def _delete(session: Session, instance: str, reference: str, yes: bool) -> None:  # noqa: FBT001  click's flag
    path = _find(session, instance, reference)
    if not yes:
        click.confirm(f"Delete snapshot {reference} of {instance}?", abort=True, err=True)
    if follow(session, session.client.request("DELETE", path)) is not None:
        click.echo(f"snapshot {reference} of {instance} deleted", err=True)


def schedule_group() -> click.Group:
    """Return ``nano snapshot-schedule``."""
    made = noun_group(SCHEDULE)
    made.add_command(_create_schedule)
    made.add_command(_update_schedule)
    return made


@click.command("create", help="Take snapshots of INSTANCE every so often.")
@click.argument("instance")
@click.argument("name")
@click.option("--every", "interval_seconds", type=Interval(), required=True, help="Time between two, such as 6h.")
@click.option("--keep", type=int, required=True, help="How many of them are kept.")
@click.pass_obj
def _create_schedule(session: Session, instance: str, name: str, interval_seconds: int, keep: int) -> None:
    body = {
        "instance_id": resolve(session, INSTANCE, instance),
        "name": name,
        "interval_seconds": interval_seconds,
        "keep": keep,
    }
    print_item(session.client.request("POST", "/snapshot-schedules", json=body), session.output)


@click.command("update", help="Change a schedule, by name or id.")
@click.argument("reference")
@click.option("--name", help="New name.")
@click.option("--every", "interval_seconds", type=Interval(), help="Time between two, such as 6h.")
@click.option("--keep", type=int, help="How many of its snapshots are kept.")
@click.option("--enable/--disable", "is_enabled", default=None, help="Let it run, or not.")
@click.pass_obj
def _update_schedule(session: Session, /, reference: str, **options: Any) -> None:  # noqa: ANN401
    body = {key: value for key, value in options.items() if value is not None}
    id = resolve(session, SCHEDULE, reference)
    print_item(session.client.request("PATCH", f"/snapshot-schedules/{id}", json=body), session.output)
