"""``nano search``: one search over every noun."""

from __future__ import annotations

import click

from nanocore.cli.output import Column, field, print_items
from nanocore.cli.session import Session

COLUMNS = (
    Column("KIND", field("kind")),
    Column("NAME", field("name")),
    Column("FOUND", field("text")),
    Column("ID", field("id")),
)


@click.command("search", help="Look for anything by name, address, tag or id: nano search web.")
@click.argument("words", nargs=-1, required=True)
@click.option("--kind", default="", help="Only this kind, such as instance.")
@click.option("--limit", type=int, default=50, help="At most so many hits [default: 50].")
@click.pass_obj
def command(session: Session, words: tuple[str, ...], kind: str, limit: int) -> None:
    """Search."""
    query = {"q": " ".join(words), "limit": limit} | ({"kind": kind} if kind else {})
    answer = session.client.get("/search", **query)
    print_items(answer["items"], COLUMNS, session.output)
    for noun in answer["unanswered"]:
        click.echo(f"nano: the owner of {noun} did not answer; hits may be missing", err=True)
