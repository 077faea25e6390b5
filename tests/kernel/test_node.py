"""The composition root: a node with plugins given as objects, in this process."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from nanocore.capabilities.rest import Route
from nanocore.config import setting
from nanocore.contracts.authorizer import LOCAL, Authorizer, Principal, ResourceRef
from nanocore.contracts.handler import Call, Handler, Subscription
from nanocore.contracts.node import ListPeers, NodeInfo
from nanocore.contracts.operation import ListOperations
from nanocore.contracts.plugin import ListPlugins, PluginContext, PluginInfo, PluginState
from nanocore.contracts.service import Service
from nanocore.contracts.state_store import Collection, Put, StateStore
from nanocore.errors import ConfigError, ErrorCode, NanoError
from nanocore.hookspecs import hookimpl
from nanocore.kernel.node import Node
from nanocore.loader.discover import PluginSource, discover
from nanocore.logs import make_logger
from nanocore.wire import Command, Event, Query, Struct

SETTINGS = {"kernel": {"listen_address": "127.0.0.1", "message_port": 0, "stream_port": 0, "authorizer": "open"}}


class Note(Struct, frozen=True, kw_only=True):
    text: str


NOTES = Collection("notes", Note)


class Noted(Event, frozen=True, kw_only=True):
    op: ClassVar[str] = "note.written"

    text: str


class WriteNote(Command[int], frozen=True, kw_only=True):
    op: ClassVar[str] = "notes.write_note"
    permission: ClassVar[str | None] = "note.write"

    text: str


class Break(Query[None], frozen=True, kw_only=True):
    op: ClassVar[str] = "notes.get_trouble"
    permission: ClassVar[str | None] = "note.write"


class Open:
    """An authorizer that lets everybody do everything but one thing."""

    name = "open"

    async def resolve(self, credential: str, *, is_local: bool) -> Principal | None:
        return Principal(user_id="1", username=credential)

    async def authorize(self, principal: Principal | None, permission: str, resource: ResourceRef | None) -> None:
        if permission == "plugin.read" and principal is not None and principal.username == "stranger":
            raise NanoError(ErrorCode.PERMISSION_DENIED, "no")


class Notes:
    """A plugin with everything: collection, handlers, subscription, service, hooks."""

    def __init__(self) -> None:
        self.life: list[str] = []
        self.seen: list[str] = []
        self.context: PluginContext | None = None

    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        return [PluginInfo("notes", "1.0", "notes")]

    @hookimpl
    def nano_authorizers(self) -> Sequence[Authorizer]:
        return [Open()]

    @hookimpl
    def nano_collections(self) -> Sequence[Collection[Any]]:
        return [NOTES]

    @hookimpl
    def nano_message_handlers(self, context: PluginContext) -> Sequence[Handler]:
        self.context = context

        async def write(message: WriteNote, call: Call) -> int:
            revision = await context.chosen(StateStore).commit(Put(NOTES, message.text, Note(text=message.text)))  # type: ignore[type-abstract]
            await context.publish(Noted(text=message.text))
            return revision

        async def trouble(message: Break, call: Call) -> None:
            raise ZeroDivisionError("boom")

        return [Handler(WriteNote, write), Handler(Break, trouble)]

    @hookimpl
    def nano_event_subscriptions(self) -> Sequence[Subscription]:
        async def seen(event: Noted, source: NodeInfo) -> None:
            self.seen.append(event.text)

        return [Subscription(Noted, seen, "notes")]

    @hookimpl
    def nano_services(self) -> Sequence[Service]:
        return [self]

    name = "notes"
    after: tuple[str, ...] = ()

    async def start(self) -> None:
        self.life.append("start")

    async def stop(self) -> None:
        self.life.append("stop")

    @hookimpl
    async def nano_node_started(self) -> None:
        self.life.append("node started")

    @hookimpl
    async def nano_node_stopping(self) -> None:
        self.life.append("node stopping")


def store() -> PluginSource:
    return next(item for item in discover() if item.name == "state_sqlite")


def run(
    root: Path,
    use: Callable[[Node], Coroutine[Any, Any, None]],
    *plugins: tuple[str, object],
    settings: dict[str, dict[str, Any]] | None = None,
    third_party: tuple[str, ...] = (),
) -> str:
    """Start a node, use it, stop it; return its log."""
    stream = io.StringIO()
    sources = [store(), *(PluginSource.in_process(n, p, is_first_party=n not in third_party) for n, p in plugins)]

    async def main() -> None:
        merged = {**SETTINGS, **(settings or {})}
        merged["kernel"] = {**SETTINGS["kernel"], "name": "core-1", **(settings or {}).get("kernel", {})}
        if third_party:
            merged["kernel"]["plugins"] = ["*", *third_party]
        node = Node(root, log=make_logger(stream), settings=merged, sources=sources)
        await node.start()
        try:
            await use(node)
        finally:
            await node.stop()
        assert {task.get_name() for task in asyncio.all_tasks()} == {asyncio.current_task().get_name()}  # type: ignore[union-attr]

    asyncio.run(main())
    return stream.getvalue()


async def nothing(node: Node) -> None:
    """Look at nothing."""


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def test_the_life_of_a_node(tmp_path: Path) -> None:
    notes = Notes()

    async def use(node: Node) -> None:
        assert node.info.name == "core-1"
        reply = await node.call_reply(WriteNote(text="hello"))
        assert reply.body > 0
        await until(lambda: notes.seen == ["hello"])
        peers = (await node.call_reply(ListPeers())).body
        assert [peer.info.name for peer in peers] == ["core-1"]
        assert (await node.call_reply(ListOperations())).body.total == 0

    run(tmp_path, use, ("notes", notes))
    assert notes.life == ["start", "node started", "node stopping", "stop"]


def test_records_and_identity_survive_a_restart(tmp_path: Path) -> None:
    ids: list[str] = []

    async def write(node: Node) -> None:
        ids.append(node.info.id)
        await node.call_reply(WriteNote(text="kept"))

    async def read(node: Node) -> None:
        ids.append(node.info.id)
        entry = node.chosen(StateStore).get(NOTES, "kept")  # type: ignore[type-abstract]
        assert entry is not None
        assert entry.value.text == "kept"

    run(tmp_path, write, ("notes", Notes()))
    run(tmp_path, read, ("notes", Notes()))
    assert ids[0] == ids[1]
    key = tmp_path / "etc" / "nano" / "keys" / "node.key"
    assert key.stat().st_mode & 0o777 == 0o600


def test_plugins_are_listed_with_their_failures_for_who_may_see_them(tmp_path: Path) -> None:
    async def use(node: Node) -> None:
        with pytest.raises(NanoError) as caught:
            await node.call_reply(Break())
        assert caught.value.code is ErrorCode.INTERNAL
        rows = (await node.call_reply(ListPlugins(), credential=LOCAL)).body
        assert {row.name: (row.state, row.failures) for row in rows} == {
            "notes": (PluginState.ENABLED, 1),
            "state_sqlite": (PluginState.ENABLED, 0),
        }
        with pytest.raises(NanoError) as refused:
            await node.call_reply(ListPlugins(), credential="stranger")
        assert refused.value.code is ErrorCode.PERMISSION_DENIED

    log = run(tmp_path, use, ("notes", Notes()))
    failed = [line for line in map(json.loads, log.splitlines()) if line["event"] == "handler failed"]
    assert failed[0]["plugin"] == "notes"


class Hanging:
    """A third-party plugin whose service never starts."""

    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        return [PluginInfo("hanging", "1.0", "hangs")]

    @hookimpl
    def nano_services(self) -> Sequence[Service]:
        return [self]

    name = "hanging"
    after: tuple[str, ...] = ()

    async def start(self) -> None:
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Nothing began."""


class Thief:
    """A third-party plugin that claims another's op."""

    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        return [PluginInfo("thief", "1.0", "steals")]

    @hookimpl
    def nano_message_handlers(self) -> Sequence[Handler]:
        async def steal(message: WriteNote, call: Call) -> int:
            return -1

        return [Handler(WriteNote, steal)]


class Raising(Thief):
    """A third-party plugin that raises in a hook."""

    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        return [PluginInfo("raising", "1.0", "raises")]

    @hookimpl
    def nano_rest_routes(self) -> Sequence[Route]:
        raise ZeroDivisionError("boom")


def test_plugins_that_raise_hang_or_steal_are_named_and_the_node_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanocore.kernel.node.START_GRACE_SECONDS", 0.2)
    notes = Notes()

    async def use(node: Node) -> None:
        assert (await node.call_reply(WriteNote(text="x"))).body > 0
        rows = {row.name: row for row in node.plugin_statuses()}
        assert rows["thief"].state is PluginState.FAILED
        assert rows["thief"].reason == "claims Handler 'notes.write_note', which belongs to plugin notes"
        assert rows["raising"].state is PluginState.FAILED
        assert rows["raising"].reason == "nano_rest_routes raised ZeroDivisionError: boom"
        assert rows["hanging"].state is PluginState.ENABLED
        assert str(rows["hanging"].reason).startswith("service hanging has been starting for")
        assert rows["notes"].state is PluginState.ENABLED

    bad = [("thief", Thief()), ("raising", Raising()), ("hanging", Hanging())]
    run(tmp_path, use, ("notes", notes), *bad, third_party=("thief", "raising", "hanging"))
    assert notes.life[0] == "start"


def test_strict_stops_the_start_and_leaves_nothing(tmp_path: Path) -> None:
    notes = Notes()
    with pytest.raises(NanoError, match="plugin thief: claims Handler"):
        run(
            tmp_path,
            nothing,
            ("notes", notes),
            ("thief", Thief()),
            settings={"kernel": {"strict": True}},
            third_party=("thief",),
        )
    assert notes.life == []
    run(tmp_path, nothing, ("notes", notes))
    assert notes.life[0] == "start"


def test_strict_also_means_services(tmp_path: Path) -> None:
    class Broken(Hanging):
        async def start(self) -> None:
            raise ZeroDivisionError("boom")

    notes = Notes()
    with pytest.raises(NanoError, match="service hanging did not start: ZeroDivisionError: boom"):
        run(tmp_path, nothing, ("notes", notes), ("hanging", Broken()), settings={"kernel": {"strict": True}})
    assert notes.life[-1] == "stop"


@pytest.mark.parametrize(
    ("kernel", "says"),
    [
        ({"authorizer": "loca"}, r"kernel\.authorizer: 'loca' is not there; available: open"),
        ({"state_store": "etcd"}, r"kernel\.state_store: 'etcd' is not there; available: sqlite"),
        ({"roles": ["cell"]}, "this node has not joined a zone"),
        ({"roles": []}, "at least one node role"),
        ({"name": "No Name"}, "kernel.name"),
        ({"plugins": ["*", "absent"]}, "plugin 'absent' is not installed"),
        ({"nmae": "x"}, "did you mean name"),
        ({"message_port": "x"}, r"kernel\.message_port: must be a whole number"),
    ],
)
def test_configuration_that_stops_the_start(tmp_path: Path, kernel: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        run(tmp_path, nothing, ("notes", Notes()), settings={"kernel": kernel})


def test_sections_of_plugins_that_are_not_loaded_are_let_be(tmp_path: Path) -> None:
    run(tmp_path, nothing, ("notes", Notes()), settings={"notes": {}, "state_sqlite": {}})
    with pytest.raises(ConfigError, match=r"unknown section \[ntoes\]; did you mean notes"):
        run(tmp_path, nothing, ("notes", Notes()), settings={"ntoes": {"x": 1}})


def test_two_kernels_never_share_a_root(tmp_path: Path) -> None:
    async def use(node: Node) -> None:
        second = Node(tmp_path, log=make_logger(io.StringIO()), settings=SETTINGS, sources=[])
        with pytest.raises(NanoError, match=f"process id {os.getpid()} uses") as caught:
            await second.start()
        assert caught.value.code is ErrorCode.CONFLICT

    run(tmp_path, use, ("notes", Notes()))


def test_a_context_can_be_used_once_services_start_and_not_before(tmp_path: Path) -> None:
    class Early(Notes):
        @hookimpl
        def nano_workflows(self, context: PluginContext) -> Sequence[Any]:
            context.collected(Handler)
            return []

    async def use(node: Node) -> None:
        (row,) = [row for row in node.plugin_statuses() if row.name == "early"]
        assert "context.collected while hooks are being collected" in str(row.reason)

    class Renamed(Early):
        @hookimpl
        def nano_plugin_info(self) -> Sequence[PluginInfo]:
            return [PluginInfo("early", "1.0", "early")]

    run(tmp_path, use, ("early", Renamed()), ("notes", Notes()))


def test_run_folder_of_a_deep_root_is_short_enough_for_sockets(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    notes = Notes()

    async def use(node: Node) -> None:
        assert notes.context is not None
        paths = notes.context.paths
        assert len(os.fsencode(paths.run / "6b2f8b0c-7d1e-4e5d-9a41-0c4e2b8e1c11.sock")) < 108
        assert (deep / "run" / "nano").resolve() == node.root.run
        assert paths.run.stat().st_mode & 0o777 == 0o700
        folders.append(node.root.run)

    folders: list[Path] = []
    run(deep, use, ("notes", notes))
    assert not folders[0].exists()
    assert not (deep / "run" / "nano").is_symlink()


def test_a_setting_reaches_its_plugin(tmp_path: Path) -> None:
    from dataclasses import dataclass

    from nanocore.contracts.plugin import ConfigSection

    @dataclass(frozen=True)
    class NotesConfig:
        colour: str = setting("red", "Colour of the paper.")

    class Configured(Notes):
        @hookimpl
        def nano_config_sections(self) -> Sequence[ConfigSection]:
            return [ConfigSection("notes", NotesConfig)]

    notes = Configured()

    async def use(node: Node) -> None:
        assert notes.context is not None
        assert notes.context.config(NotesConfig).colour == "blue"
        with pytest.raises(NanoError, match="no configuration section of plugin notes"):
            notes.context.config(Note)

    run(tmp_path, use, ("notes", notes), settings={"notes": {"colour": "blue"}})
