"""``nano template``: stored answers for creating instances."""

from __future__ import annotations

from typing import Any

import click

from nanocore.cli.instance_options import pop_values, value_options
from nanocore.cli.nouns import AGE, ID, NAME, Noun, noun_group, resolve
from nanocore.cli.output import Column, field, print_item, size
from nanocore.cli.session import Session
from nanocore.errors import ErrorCode, NanoError

TEMPLATE = Noun(
    "template",
    "/templates",
    "Stored answers for creating instances",
    (
        NAME,
        Column("VCPUS", field("values.vcpus")),
        Column("MEMORY", size("values.memory_bytes")),
        Column("INSTANCES", field("instances")),
        Column("DESCRIPTION", field("description")),
        AGE,
        ID,
    ),
)


def group() -> click.Group:
    """Return the group with all its verbs."""
    made = noun_group(TEMPLATE)
    for command in (_create, _update):
        made.add_command(command)
    return made


@click.command("create", help="Keep answers for creating instances. Secrets in it are never shown again.")
@click.argument("name")
@click.option("--about", default="", help="What the template is for; --description is that of the instances.")
@value_options
@click.pass_obj
def _create(session: Session, /, name: str, about: str, **options: Any) -> None:  # noqa: ANN401
    options.pop("wait_ready")
    body = {"name": name, "description": about, "values": pop_values(session, options)}
    print_item(session.client.request("POST", "/templates", json=body), session.output)


@click.command("update", help="Change its name or what it is for.")
@click.argument("reference")
@click.option("--name", help="New name.")
@click.option("--about", help="What it is for.")
@click.pass_obj
def _update(session: Session, *, reference: str, name: str | None, about: str | None) -> None:
    said = {"name": name, "description": about}
    body = {key: value for key, value in said.items() if value is not None}
    if not body:
        raise NanoError(ErrorCode.INVALID_ARGUMENT, "say what to change: --name or --about")
    id = resolve(session, TEMPLATE, reference)
    print_item(session.client.request("PATCH", f"/templates/{id}", json=body), session.output)
