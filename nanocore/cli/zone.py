"""``nano node`` and ``nano compute-pool``."""

from __future__ import annotations

import time
from typing import Any

import click

from nanocore.cli.network import ADDRESS_POOL
from nanocore.cli.nouns import NOUNS, noun_group, resolve
from nanocore.cli.output import Column, field, print_item, print_items
from nanocore.cli.session import Session
from nanocore.cli.storage import STORAGE_POOL
from nanocore.errors import ErrorCode, NanoError

BACK_SECONDS = 60.0
POLL_SECONDS = 0.25
ACTIONS = {
    "enable": "Let a cell get new instances.",
    "disable": "Let a cell get no new instances.",
    "restart": "Restart a node's kernel; guests run on.",
    "stop": "Stop a node's kernel until it is started on its own host; guests run on.",
}
PLUGIN_COLUMNS = (
    Column("NAME", field("name")),
    Column("VERSION", field("version")),
    Column("STATE", field("state")),
    Column("FAILURES", field("failures")),
    Column("REASON", lambda item: item["reason"] or "; ".join(c["reason"] for c in item["checks"] if not c["is_ok"])),
)


def node_group() -> click.Group:
    """Return ``nano node``."""
    made = noun_group("node")
    for verb, text in ACTIONS.items():
        made.add_command(_node_action(verb, text))
    made.add_command(_plugins)
    made.add_command(_start)
    return made


def _node_action(verb: str, text: str) -> click.Command:
    @click.command(verb, help=text)
    @click.argument("reference")
    @click.pass_obj
    def act(session: Session, reference: str) -> None:
        id = resolve(session, NOUNS["node"], reference)
        node = session.client.request("POST", f"/nodes/{id}/actions/{verb}")
        print_item(
            _wait_until_back(session, node) if verb == "restart" and session.is_waiting else node, session.output
        )

    return act


def _wait_until_back(session: Session, before: dict[str, Any]) -> dict[str, Any]:
    """Return the node once its kernel is another one; the API is away meanwhile if it is the core's own."""
    ends = time.monotonic() + BACK_SECONDS
    while time.monotonic() < ends:
        time.sleep(POLL_SECONDS)
        try:
            now: dict[str, Any] = session.client.get(f"/nodes/{before['id']}")
        except NanoError as error:
            if error.code is not ErrorCode.UNAVAILABLE:
                raise
            continue
        if now["state"] == "online" and now["since"] != before["since"]:
            return now
    text = f"node {before['name']} is not back after {BACK_SECONDS:g} s; look at its log on its own host"
    raise NanoError(ErrorCode.DEADLINE_EXCEEDED, text)


@click.command("start", help="Say how a stopped kernel is started.")
@click.argument("reference")
@click.pass_obj
def _start(session: Session, reference: str) -> None:
    node = session.client.get(f"/nodes/{resolve(session, NOUNS['node'], reference)}")
    if node["state"] == "online":
        click.echo(f"node {node['name']} runs", err=True)
        return
    text = "a stopped kernel hears nobody; on its own host run ./quickstart, or: systemctl start nano-kernel"
    raise NanoError(ErrorCode.UNSUPPORTED, f"node {node['name']}: {text}")


@click.command("plugins", help="List a node's plugins, and what their health checks say.")
@click.argument("reference")
@click.pass_obj
def _plugins(session: Session, reference: str) -> None:
    answer = session.client.get(f"/nodes/{resolve(session, NOUNS['node'], reference)}/plugins")
    print_items(answer["items"], PLUGIN_COLUMNS, session.output)


def compute_pool_group() -> click.Group:
    """Return ``nano compute-pool``."""
    made = noun_group("compute-pool")
    made.add_command(_create)
    made.add_command(_update)
    made.add_command(_switch("enable", "Place new instances in it again.", is_enabled=True))
    made.add_command(_switch("disable", "Place no new instances in it.", is_enabled=False))
    made.add_command(_cell_command("add-cell", "PUT"))
    made.add_command(_cell_command("remove-cell", "DELETE"))
    return made


_OPTIONS = (
    click.option("--description", help="Free text."),
    click.option("--cpu-overcommit", type=float, help="Virtual processors for each core; 0: as configured."),
    click.option("--memory-overcommit", type=float, help="Bytes for each byte of memory; 0: as configured."),
    click.option(
        "--storage-pool",
        "storage_pools",
        multiple=True,
        help="Storage pool that it may use, by name or id; may be given more than once.",
    ),
    click.option(
        "--address-pool",
        "address_pools",
        multiple=True,
        help="Address pool that it may use, by name or id; may be given more than once.",
    ),
)


def _with_options(command: Any) -> Any:  # noqa: ANN401  click's decorators
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _body(session: Session, options: dict[str, Any]) -> dict[str, Any]:
    plain = {name: options[name] for name in ("description", "cpu_overcommit", "memory_overcommit")}
    many = {
        "storage_pool_ids": [resolve(session, STORAGE_POOL, each) for each in options["storage_pools"]],
        "address_pool_ids": [resolve(session, ADDRESS_POOL, each) for each in options["address_pools"]],
    }
    return {name: value for name, value in (plain | many).items() if value not in (None, [])}


@click.command("create", help="Make an empty compute pool.")
@click.argument("name")
@_with_options
@click.pass_obj
def _create(session: Session, /, name: str, **options: Any) -> None:  # noqa: ANN401  what _OPTIONS name
    print_item(
        session.client.request("POST", "/compute-pools", json={"name": name, **_body(session, options)}), session.output
    )


@click.command("update", help="Change a compute pool; what is not given stays.")
@click.argument("pool")
@click.option("--name", help="New name.")
@_with_options
@click.pass_obj
def _update(session: Session, /, pool: str, name: str | None, **options: Any) -> None:  # noqa: ANN401  what _OPTIONS name
    id = resolve(session, NOUNS["compute-pool"], pool)
    body = _body(session, options) | ({} if name is None else {"name": name})
    print_item(session.client.request("PATCH", f"/compute-pools/{id}", json=body), session.output)


def _switch(verb: str, text: str, *, is_enabled: bool) -> click.Command:
    @click.command(verb, help=text)
    @click.argument("pool")
    @click.pass_obj
    def switch(session: Session, pool: str) -> None:
        id = resolve(session, NOUNS["compute-pool"], pool)
        body = {"is_enabled": is_enabled}
        print_item(session.client.request("PATCH", f"/compute-pools/{id}", json=body), session.output)

    return switch


def _cell_command(name: str, method: str) -> click.Command:
    text = "Put a cell into the pool." if method == "PUT" else "Take a cell out of the pool."

    @click.command(name, help=text)
    @click.argument("pool")
    @click.argument("node")
    @click.pass_obj
    def change(session: Session, pool: str, node: str) -> None:
        pool_id = resolve(session, NOUNS["compute-pool"], pool)
        node_id = resolve(session, NOUNS["node"], node)
        answer = session.client.request(method, f"/compute-pools/{pool_id}/cells/{node_id}")
        print_item(answer, session.output)

    return change
