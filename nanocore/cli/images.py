"""``nano disk-image`` and ``nano media-image``: what lists, shows and deletes comes from ``nouns``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from nanocore.cli.nouns import NOUNS, follow, noun_group, resolve
from nanocore.cli.output import Column, field, format_bytes, print_item, print_items
from nanocore.cli.session import Session


def image_group(name: str) -> click.Group:
    """Return the group of ``disk-image`` or ``media-image``."""
    made = noun_group(name)
    for make in (_upload, _import, _update, _download, _evict):
        made.add_command(make(name))
    return made


def disk_image_group() -> click.Group:
    """Return ``nano disk-image``."""
    made = image_group("disk-image")
    made.add_command(_build)
    return made


def media_image_group() -> click.Group:
    """Return ``nano media-image``."""
    return image_group("media-image")


def _upload(name: str) -> click.Command:
    formats = "ISO 9660" if name == "media-image" else "qcow2, raw, VMDK, VDI or VHD"

    @click.command("upload", help=f"Upload FILE ({formats}) and wait until its inspection has passed.")
    @click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
    @click.option("--name", "image_name", help="Name of the image [default: the file's].")
    @click.option("--sha256", help="Digest to check the upload against.")
    @click.option("--description", default="", help="Free text.")
    @click.option("--tag", "tags", multiple=True, help="Label; may be given more than once.")
    @click.pass_obj
    def upload(session: Session, /, file: Path, image_name: str | None, sha256: str | None, **texts: object) -> None:
        image = session.client.upload_image(
            NOUNS[name].path,
            file,
            {"name": image_name or file.stem, **texts} | ({"sha256": sha256} if sha256 else {}),
            on_progress=_progress(),
        )
        print_item(image, session.output)

    return upload


def _import(name: str) -> click.Command:
    @click.command("import", help="Make an image of the file at URL (http or https), which the core fetches.")
    @click.argument("url")
    @click.option("--name", "image_name", required=True, help="Name of the image.")
    @click.option("--sha256", help="Digest to check the file against.")
    @click.option("--description", default="", help="Free text.")
    @click.pass_obj
    def fetch(session: Session, url: str, image_name: str, sha256: str | None, description: str) -> None:
        body = {"name": image_name, "import_url": url, "description": description, "sha256": sha256}
        _make(session, name, body)

    return fetch


@click.command("build", help="Make a disk image of the boot disk of INSTANCE, which may run meanwhile.")
@click.argument("instance")
@click.option("--name", required=True, help="Name of the image.")
@click.option("--description", default="", help="Free text.")
@click.pass_obj
def _build(session: Session, instance: str, name: str, description: str) -> None:
    id = resolve(session, NOUNS["instance"], instance)
    _make(session, "disk-image", {"name": name, "from_instance_id": id, "description": description})


def _make(session: Session, name: str, body: dict[str, Any]) -> None:
    """Begin the operation, and show the image once it is there."""
    ended = follow(session, session.client.request("POST", NOUNS[name].path, json=body))
    if ended is not None:
        print_item(session.client.get(f"{NOUNS[name].path}/{ended['result']['image_id']}"), session.output)


def _update(name: str) -> click.Command:
    @click.command("update", help="Change name, description or tags.")
    @click.argument("reference")
    @click.option("--name", "image_name", help="New name; it becomes the newest version of that.")
    @click.option("--description", help="Free text.")
    @click.option("--tag", "tags", multiple=True, help="Label; all of them, may be given more than once.")
    @click.pass_obj
    def update(
        session: Session, reference: str, image_name: str | None, description: str | None, tags: tuple[str, ...]
    ) -> None:
        wanted: dict[str, Any] = {"name": image_name, "description": description, "tags": list(tags) or None}
        body = {field: value for field, value in wanted.items() if value is not None}
        id = resolve(session, NOUNS[name], reference)
        print_item(session.client.request("PATCH", f"{NOUNS[name].path}/{id}", json=body), session.output)

    return update


def _download(name: str) -> click.Command:
    @click.command("download", help="Write the image to FILE; what is there of it already is not fetched again.")
    @click.argument("reference")
    @click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
    @click.pass_obj
    def download(session: Session, reference: str, file: Path) -> None:
        id = resolve(session, NOUNS[name], reference)
        session.client.download_image(f"{NOUNS[name].path}/{id}", file, on_progress=_progress())
        click.echo(f"{name} {reference} written to {file}", err=True)

    return download


def _evict(name: str) -> click.Command:
    @click.command("evict", help="Have cells throw away their cached file, where nothing needs it.")
    @click.argument("reference")
    @click.option("--node", help="Only this cell [default: every cell that has it].")
    @click.pass_obj
    def evict(session: Session, reference: str, node: str | None) -> None:
        body = {} if node is None else {"node_id": resolve(session, NOUNS["node"], node)}
        path = f"{NOUNS[name].path}/{resolve(session, NOUNS[name], reference)}/actions/evict"
        answer = session.client.request("POST", path, json=body)
        if session.output != "table":
            print_item(answer, session.output)
            return
        names = {item["id"]: item["name"] for item in session.client.items("/nodes")}
        rows = [{"node": id, "is_kept": False, "reason": ""} for id in answer["evicted_from"]]
        rows += [{"node": kept["node_id"], "is_kept": True, "reason": kept["reason"]} for kept in answer["kept_on"]]
        columns = (
            Column("NODE", lambda row: names.get(row["node"], row["node"])),
            Column("COPY", lambda row: "kept" if row["is_kept"] else "removed"),
            Column("REASON", field("reason")),
        )
        print_items(rows, columns, session.output)

    return evict


def _progress() -> Callable[[int, int], None] | None:
    def show(done: int, total: int) -> None:
        click.echo(f"\r\x1b[K{format_bytes(done)} of {format_bytes(total)}", nl=done == total, err=True)

    return show if sys.stderr.isatty() else None
