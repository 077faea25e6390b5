"""The other nouns' special verbs: operations, tokens, contexts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import tomlkit

from nanocore.cli.nouns import noun_group
from nanocore.cli.output import Column, field, print_item, print_items
from nanocore.cli.session import Session, config_file, read_contexts
from nanocore.errors import ErrorCode, NanoError


def operation_group() -> click.Group:
    """Return ``nano operation``."""
    made = noun_group("operation")
    made.add_command(_cancel)
    made.add_command(_wait)
    return made


@click.command("cancel", help="Stop it and undo what it did.")
@click.argument("id")
@click.pass_obj
def _cancel(session: Session, id: str) -> None:
    print_item(session.client.request("DELETE", f"/operations/{id}"), session.output)


@click.command("wait", help="Wait until it has ended; fails as it failed.")
@click.argument("id")
@click.option("--timeout", type=float, default=600, help="Seconds [default: 600].")
@click.pass_obj
def _wait(session: Session, id: str, timeout: float) -> None:
    operation = session.client.get(f"/operations/{id}")
    print_item(session.client.wait(operation, timeout_seconds=timeout), session.output)


def token_group() -> click.Group:
    """Return ``nano token``."""
    made = noun_group("token")
    made.add_command(_create_token)
    return made


@click.command("create", help="Make a token; its secret is printed once.")
@click.argument("name")
@click.option("--expires-in", type=float, metavar="SECONDS", help="Life of the token [default: no end].")
@click.option("--role", "roles", multiple=True, help="Only these of your roles.")
@click.pass_obj
def _create_token(session: Session, name: str, expires_in: float | None, roles: tuple[str, ...]) -> None:
    body: dict[str, Any] = {"name": name}
    body |= {"expires_in_seconds": expires_in} if expires_in is not None else {}
    body |= {"roles": list(roles)} if roles else {}
    print_item(session.client.request("POST", "/tokens", json=body), session.output)


def context_group() -> click.Group:
    """Return ``nano context``."""
    made = click.Group("context", help="The APIs that this user talks to.")
    for command in (_list_contexts, _add_context, _use_context, _delete_context):
        made.add_command(command)
    return made


@click.command("list", help="List them.")
@click.pass_obj
def _list_contexts(session: Session) -> None:
    config = read_contexts()
    items = [
        {"name": name, "url": settings.get("url", ""), "current": "*" if name == config.get("current") else ""}
        for name, settings in config.get("contexts", {}).items()
    ]
    columns = [Column(title, field(title.lower())) for title in ("CURRENT", "NAME", "URL")]
    print_items(items, columns, session.output)


@click.command("add", help="Remember an API and use it.")
@click.argument("name")
@click.option("--url", required=True, help="Such as https://HOST:5870.")
@click.option("--token", help="API token; asked for when left out.")
@click.option("--ca-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Certificate to trust.")
def _add_context(name: str, url: str, token: str | None, ca_file: Path | None) -> None:
    secret = token or click.prompt("Token", hide_input=True)
    config = read_contexts()
    settings = {"url": url, "token": secret} | ({"ca_file": str(ca_file.resolve())} if ca_file else {})
    config.setdefault("contexts", {})[name] = settings
    _write_contexts(config | {"current": name})


@click.command("use", help="Make it the one in use.")
@click.argument("name")
def _use_context(name: str) -> None:
    config = read_contexts()
    _need_context(config, name)
    _write_contexts(config | {"current": name})


@click.command("delete", help="Forget it.")
@click.argument("name")
def _delete_context(name: str) -> None:
    config = read_contexts()
    _need_context(config, name)
    del config["contexts"][name]
    if config.get("current") == name:
        del config["current"]
    _write_contexts(config)


def _need_context(config: dict[str, Any], name: str) -> None:
    if name not in config.get("contexts", {}):
        raise NanoError(ErrorCode.NOT_FOUND, f"no context is called {name!r}; see: nano context list")


def _write_contexts(config: dict[str, Any]) -> None:
    """Replace the file in one step; tokens are in it, so nobody else may read it."""
    file = config_file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as target:
        target.write(tomlkit.dumps({"current": config.get("current", ""), "contexts": config.get("contexts", {})}))
    partial.replace(file)
