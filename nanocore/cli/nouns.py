"""The nouns of the API as the CLI shows them: paths, columns, and the verbs that need nothing special."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from nanocore.cli.output import Column, age, field, format_bytes, print_item, print_items, size
from nanocore.cli.session import Session
from nanocore.errors import ErrorCode, NanoError

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Noun:
    """One collection of the API. ``verbs`` are the generic ones it has."""

    name: str
    path: str
    summary: str
    columns: tuple[Column, ...]
    verbs: tuple[str, ...] = ("list", "get", "delete")
    is_filtered: bool = True
    """Whether its list takes filters, search and sorting."""


def _addresses(item: Mapping[str, Any]) -> str:
    return ",".join(address for nic in item["nics"] for address in nic["addresses"])


def _memory_use(item: Mapping[str, Any]) -> str:
    usage = item["usage"]
    return f"{format_bytes(usage['memory_used_bytes'])} / {format_bytes(usage['memory_bytes'])}"


def _progress(item: Mapping[str, Any]) -> str:
    progress = item["progress"]
    count = f"{progress['done']}/{progress['total']}" if progress["total"] else ""
    return " ".join(part for part in (progress["step"], count) if part)


NAME, ID, AGE = Column("NAME", field("name")), Column("ID", field("id")), Column("AGE", age("created_at"))

NOUNS: dict[str, Noun] = {
    noun.name: noun
    for noun in (
        Noun(
            "instance",
            "/instances",
            "Virtual machines that Nano manages",
            (
                NAME,
                Column("STATE", field("state.observed")),
                Column("READY", field("ready.is_ready")),
                Column("ADDRESSES", _addresses),
                Column("NODE", field("node")),
                Column("VCPUS", field("vcpus")),
                Column("MEMORY", size("memory_bytes")),
                AGE,
                ID,
            ),
        ),
        Noun(
            "compute-pool",
            "/compute-pools",
            "Named sets of cells",
            (
                NAME,
                Column("ENABLED", field("is_enabled")),
                Column("CELLS", lambda item: f"{item['cells_reachable']}/{len(item['cells'])}"),
                Column("INSTANCES", field("instances")),
                Column("MEMORY", _memory_use),
                ID,
            ),
        ),
        Noun(
            "node",
            "/nodes",
            "Running kernels",
            (
                NAME,
                Column("STATE", field("state")),
                Column("ROLES", field("roles")),
                Column("POOL", field("compute_pool")),
                Column("INSTANCES", field("instances")),
                Column("CPU", lambda item: f"{item['usage']['cpu_percent']:.0f}%"),
                Column("MEMORY", _memory_use),
                Column("ACCELERATOR", field("accelerator")),
                ID,
            ),
        ),
        Noun(
            "disk-image",
            "/disk-images",
            "Bootable sources that disks are cloned from",
            (
                NAME,
                Column("VERSION", field("version")),
                Column("STATE", field("state")),
                Column("FORMAT", field("format")),
                Column("SIZE", size("size_bytes")),
                Column("VIRTUAL", size("virtual_size_bytes")),
                AGE,
                ID,
            ),
        ),
        Noun(
            "media-image",
            "/media-images",
            "ISO files to insert into the drives of instances",
            (
                NAME,
                Column("VERSION", field("version")),
                Column("STATE", field("state")),
                Column("SIZE", size("size_bytes")),
                AGE,
                ID,
            ),
        ),
        Noun(
            "network",
            "/networks",
            "Networks that instances are attached to",
            (
                NAME,
                Column("MODE", field("mode")),
                Column("CIDR", field("cidr")),
                Column("IPV6", field("ipv6_cidr")),
                Column("DEFAULT", lambda item: "*" if item["is_default"] else ""),
                Column("ADDRESSES", lambda item: f"{item['addresses_allocated']}/{item['addresses_total']}"),
                ID,
            ),
        ),
        Noun(
            "operation",
            "/operations",
            "Long-running work",
            (
                Column("KIND", field("kind")),
                Column("OF", lambda item: ",".join(part["name"] or part["id"] for part in item["resources"])),
                Column("STATE", field("state")),
                Column("PROGRESS", _progress),
                Column("BY", field("requested_by")),
                AGE,
                ID,
            ),
            ("list", "get"),
        ),
        Noun(
            "token",
            "/tokens",
            "Your API tokens",
            (NAME, Column("ROLES", field("roles")), Column("EXPIRES", field("expires_at")), AGE, ID),
            ("list", "delete"),
            is_filtered=False,
        ),
        Noun(
            "plugin",
            "/plugins",
            "What is installed on the core, and what became of it",
            (
                NAME,
                Column("VERSION", field("version")),
                Column("STATE", field("state")),
                Column("FAILURES", field("failures")),
                Column("REASON", field("reason")),
            ),
            ("list",),
            is_filtered=False,
        ),
    )
}


def noun_group(name: str | Noun) -> click.Group:
    """Return the click group of a noun with its generic verbs."""
    noun = NOUNS[name] if isinstance(name, str) else name
    group = click.Group(noun.name, help=noun.summary + ".")
    makers = {"list": _list_command, "get": _get_command, "delete": _delete_command}
    for verb in noun.verbs:
        group.add_command(makers[verb](noun))
    return group


def resolve(session: Session, noun: Noun, reference: str) -> str:
    """Return the id for a name or an id; raise ``not_found``."""
    if _UUID.fullmatch(reference):
        return reference
    found = [item for item in session.client.items(noun.path, name=reference) if item["name"] == reference]
    if not found:
        raise NanoError(ErrorCode.NOT_FOUND, f"there is no {noun.name} named {reference!r}; see: nano {noun.name} list")
    if "version" in found[0]:
        # Of versions of one name the newest that can be used is meant, or else the newest.
        found = [max(found, key=lambda item: (item["state"] == "ready", item["version"]))]
    if len(found) > 1:
        raise NanoError(ErrorCode.CONFLICT, f"{len(found)} objects are named {reference!r}; use the id")
    return str(found[0]["id"])


def follow(session: Session, operation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Wait for an operation with progress on a terminal, or print it when nobody waits; return it when it has ended."""
    if not session.is_waiting:
        print_item(operation, session.output)
        return None
    shown = sys.stderr.isatty()

    def show(now: Mapping[str, Any]) -> None:
        click.echo(f"\r\x1b[K{now['kind']}: {_progress(now)}", nl=False, err=True)

    try:
        return session.client.wait(operation, on_progress=show if shown else None)
    finally:
        if shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def _list_command(noun: Noun) -> click.Command:
    return _filtered_list(noun) if noun.is_filtered else _plain_list(noun)


def _plain_list(noun: Noun) -> click.Command:
    @click.command("list", help="List them.")
    @click.pass_obj
    def list_items(session: Session) -> None:
        answer = session.client.get(noun.path)
        print_items(answer["items"] if isinstance(answer, dict) else answer, noun.columns, session.output)

    return list_items


def _filtered_list(noun: Noun) -> click.Command:
    @click.command("list", help="List them.")
    @click.option("-q", "--query", default="", help="Free text: every word must occur.")
    @click.option("-f", "--filter", "filters", multiple=True, metavar="FIELD=VALUE", help="Only where FIELD is VALUE.")
    @click.option("--sort", default="", metavar="FIELD", help="Sort by FIELD; -FIELD turns it round.")
    @click.pass_obj
    def list_items(session: Session, query: str, filters: tuple[str, ...], sort: str) -> None:
        params = _parse_filters(filters)
        params |= {name: value for name, value in (("q", query), ("sort", sort)) if value}
        print_items(list(session.client.items(noun.path, **params)), noun.columns, session.output)

    return list_items


def _parse_filters(filters: tuple[str, ...]) -> dict[str, str]:
    for text in filters:
        if "=" not in text:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"--filter takes FIELD=VALUE, got {text!r}")
    return dict(text.split("=", 1) for text in filters)


def _get_command(noun: Noun) -> click.Command:
    @click.command("get", help="Show one, by name or id.")
    @click.argument("reference")
    @click.pass_obj
    def get(session: Session, reference: str) -> None:
        print_item(session.client.get(f"{noun.path}/{resolve(session, noun, reference)}"), session.output)

    return get


def _delete_command(noun: Noun) -> click.Command:
    @click.command("delete", help="Delete one or more, by name or id.")
    @click.argument("references", nargs=-1, required=True)
    @click.option("-y", "--yes", is_flag=True, help="Do not ask.")
    @click.pass_obj
    def delete(session: Session, references: tuple[str, ...], yes: bool) -> None:  # noqa: FBT001  click's flag
        ids = {reference: resolve(session, noun, reference) for reference in references}
        if not yes:
            click.confirm(f"Delete {noun.name} {', '.join(references)}?", abort=True, err=True)
        for reference, id in ids.items():
            answer = session.client.request("DELETE", f"{noun.path}/{id}")
            is_operation = isinstance(answer, dict) and "progress" in answer
            if is_operation and follow(session, answer) is None:
                continue
            click.echo(f"{noun.name} {reference} deleted", err=True)

    return delete
