"""One word per thing: ops, fields, REST paths and CLI nouns keep to the glossary."""

from __future__ import annotations

import io
import re
from typing import Any

import click
import msgspec
import pytest

from nanocore.capabilities.rest import Route
from nanocore.cli.nano import nano
from nanocore.contracts.node import NodeRole
from nanocore.loader.discover import discover
from nanocore.loader.plugins import Plugins
from nanocore.logs import make_logger
from nanocore.wire.message import Event, Request, result_type
from tests.static.generator import generator

pytestmark = pytest.mark.static

BANNED = {
    "host": "node",
    "server": "node or instance",
    "member": "node",
    "controller": "node with role core",
    "remote": "peer",
    "region": "zone",
    "extension": "plugin",
    "backend": "driver",
    "provider": "driver",
    "vm": "instance",
    "iso": "media image",
    "task": "operation",
    "status": "state",
}
FIELDS = {"remote"}
"""Said of something else than the word is banned for: the other side of a guest's connection, which is no peer."""
PATH = re.compile(
    r"(/([a-z][a-z0-9-]*|\{[a-z][a-z0-9_]*\}))+(?<=/actions)/[a-z_]+|(/([a-z][a-z0-9-]*|\{[a-z][a-z0-9_]*\}))+"
)
QUALIFIED = {"compute", "storage", "address"}
VERBS = """
    get list find create delete start stop power_off reboot reset pause resume suspend restore attach
    detach insert eject resize migrate drain evacuate act add allocate append cancel change define
    ensure freeze hello invite join move open read release remove reserve revoke thaw update copy evict clone rebuild
"""


def words(name: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", re.sub(r"([A-Z])", r"_\1", name).lower()) if word]


def faults(name: str) -> list[str]:
    parts = words(name)
    found = [f"{name}: say {BANNED[word.rstrip('s')]}, not {word}" for word in parts if word.rstrip("s") in BANNED]
    for before, word in zip(["", *parts], parts, strict=False):
        if word in {"pool", "pools"} and before not in QUALIFIED:
            found.append(f"{name}: a pool is a compute pool, a storage pool or an address pool")
    return found


def properties(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        own = set(schema.get("properties", {})) if isinstance(schema.get("properties"), dict) else set()
        return own.union(*(properties(value) for value in schema.values()))
    if isinstance(schema, list | tuple):
        return set().union(*(properties(value) for value in schema))
    return set()


class NoContext:
    """Routes are declared without a node."""


def routes() -> list[Route]:
    plugins = Plugins(roles=frozenset({NodeRole.RELAY}), log=make_logger(io.StringIO()))
    plugins.load([source for source in discover() if source.is_first_party], ["*"])
    plugins.collect(lambda name, sections: NoContext())  # type: ignore[arg-type,return-value]
    return list(plugins.collected(Route).values())


def test_the_check_can_fail() -> None:
    assert faults("vm.list_hosts")
    assert faults("list_pools")
    assert not faults("compute.list_compute_pools")
    assert not faults("membership.get_hostname")


def test_ops_and_events() -> None:
    for op, kind in generator().message_types().items():
        assert faults(op) == []
        capability, _, rest = op.partition(".")
        assert capability, op
        if not issubclass(kind, Event):
            assert rest.split("_")[0] in VERBS.split() or rest in VERBS.split(), (
                f"{op}: {rest.split('_')[0]} is no verb of the glossary"
            )


def test_classes_are_named_as_their_ops() -> None:
    for op, kind in generator().message_types().items():
        noun, _, rest = op.partition(".")
        wanted = f"{noun}_{rest}" if issubclass(kind, Event) else rest
        assert "".join(part.capitalize() for part in wanted.split("_")) == kind.__name__, op


def test_fields() -> None:
    kinds: list[Any] = list(generator().message_types().values())
    kinds += [result_type(kind) for kind in kinds if issubclass(kind, Request)]
    schema, components = msgspec.json.schema_components(kinds)
    names = sorted(properties([*schema, components]) - FIELDS)
    assert [fault for name in names for fault in faults(name)] == []


def test_rest_paths() -> None:
    found = routes()
    assert found
    for route in found:
        assert faults(route.path) == [], route.key
        assert PATH.fullmatch(route.path), f"{route.path}: kebab-case, but for actions and parameters"


def commands(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        return [path]
    context = click.Context(command)
    children = {name: command.get_command(context, name) for name in command.list_commands(context)}
    return [leaf for name, child in children.items() if child for leaf in commands(child, (*path, name))]


def test_cli_nouns() -> None:
    found = commands(nano)
    assert ("instance", "create") in found
    for path in found:
        for name in path:
            assert faults(name) == [], " ".join(("nano", *path))
            assert re.fullmatch(r"[a-z][a-z0-9-]*", name), f"{name}: kebab-case"
