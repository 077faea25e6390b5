"""Plugins that behave and plugins that do not."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from nanocore.config import setting
from nanocore.contracts.handler import Call, Handler, Subscription
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.contracts.plugin import ConfigSection, PluginContext, PluginInfo, PluginStatus
from nanocore.contracts.service import Service
from nanocore.hookspecs import hookimpl
from nanocore.loader.discover import PluginSource
from nanocore.loader.plugins import Plugins
from nanocore.logs import make_logger
from nanocore.wire import Event, Query

CORE = frozenset({NodeRole.CORE})


class Ask(Query[str], frozen=True, kw_only=True):
    op: ClassVar[str] = "toy.get_answer"


class Rang(Event, frozen=True, kw_only=True):
    op: ClassVar[str] = "bell.rang"


@dataclass(frozen=True)
class ToyConfig:
    depth: int = setting(1, "How deep.")


async def answer(message: Any, call: Call) -> str:
    return "42"


class Toy:
    """Does everything right."""

    def __init__(self, name: str = "toy", *, roles: frozenset[NodeRole] = frozenset(), op: type[Any] = Ask) -> None:
        self.name = name
        self.roles = roles
        self.op = op
        self.told: list[Any] = []

    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        return [PluginInfo(self.name, "1.0", "a toy", self.roles)]

    @hookimpl
    def nano_config_sections(self) -> Sequence[ConfigSection]:
        return [ConfigSection(self.name, ToyConfig)]

    @hookimpl
    def nano_message_handlers(self, context: PluginContext) -> Sequence[Handler]:
        return [Handler(self.op, answer)]

    @hookimpl
    async def nano_peer_joined(self, peer: NodeInfo) -> None:
        self.told.append(peer.name)


class Bare:
    """An info and nothing else; the base of the misbehaving ones."""

    name = "bare"

    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        return [PluginInfo(self.name, "1.0", "bare")]


class Raises(Bare):
    @hookimpl
    def nano_services(self) -> Sequence[Service]:
        raise ZeroDivisionError("boom")


class Exits(Bare):
    @hookimpl
    def nano_services(self) -> Sequence[Service]:
        sys.exit(3)


class Hangs(Bare):
    @hookimpl
    def nano_services(self) -> Sequence[Service]:
        threading.Event().wait(30)
        return []


class Misspelt(Bare):
    @hookimpl
    def nano_servcies(self) -> Sequence[Service]:
        return []


class Unmarked(Bare):
    def nano_services(self) -> Sequence[Service]:
        return []


class AsyncCollect(Bare):
    @hookimpl
    async def nano_services(self) -> Sequence[Service]:
        return []


class SyncBroadcast(Bare):
    @hookimpl
    def nano_node_started(self) -> None:
        return None


class UnknownArgument(Bare):
    @hookimpl
    def nano_services(self, node: Any) -> Sequence[Service]:
        return []


class First(Bare):
    @hookimpl(tryfirst=True)
    def nano_services(self) -> Sequence[Service]:
        return []


class ReturnsNone(Bare):
    @hookimpl
    def nano_services(self) -> Any:
        return None


class ReturnsWrongItems(Bare):
    @hookimpl
    def nano_message_handlers(self) -> Any:
        return ["toy.get_answer"]


class ReturnsHalfService(Bare):
    @hookimpl
    def nano_services(self) -> Any:
        class Half:
            name = "half"

            async def start(self) -> None:
                pass

        return [Half()]


class ReturnsTwice(Bare):
    @hookimpl
    def nano_message_handlers(self) -> Sequence[Handler]:
        return [Handler(Ask, answer), Handler(Ask, answer)]


class ClaimsKernel(Bare):
    @hookimpl
    def nano_message_handlers(self) -> Sequence[Handler]:
        class Join(Query[str], frozen=True, kw_only=True):
            op: ClassVar[str] = "membership.join"

        return [Handler(Join, answer)]


class TwoInfos(Bare):
    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        return [PluginInfo("bare", "1", ""), PluginInfo("other", "1", "")]


class NoInfo:
    pass


class OtherName(Bare):
    name = "other"


class TakesKernelSection(Bare):
    @hookimpl
    def nano_config_sections(self) -> Sequence[ConfigSection]:
        return [ConfigSection("kernel", ToyConfig)]


class Teller(Bare):
    """Fails in every way that a broadcast can."""

    def __init__(self, name: str, way: str) -> None:
        self.name = name
        self.way = way

    @hookimpl
    async def nano_node_stopping(self) -> None:
        if self.way == "raise":
            raise ZeroDivisionError("boom")
        if self.way == "exit":
            raise SystemExit(3)
        await asyncio.Event().wait()


class Listens(Bare):
    name = "listens"

    @hookimpl
    def nano_event_subscriptions(self) -> Sequence[Subscription]:
        async def fails(event: Rang, source: NodeInfo) -> None:
            raise ZeroDivisionError("boom")

        return [Subscription(Rang, fails, "listens")]


def plugins(
    *sources: PluginSource, wanted: Sequence[str] = ("*",), strict: bool = False, hook_seconds: float = 5.0
) -> Plugins:
    """Return loaded plugins of a core; the log goes nowhere."""
    log = make_logger(io.StringIO())
    found = Plugins(roles=CORE, log=log, strict=strict, hook_seconds=hook_seconds)
    found.load(sources, wanted)
    return found


def collected(*sources: PluginSource, **options: Any) -> Plugins:
    """Return plugins that have also declared everything."""
    found = plugins(*sources, **options)
    found.collect(lambda name, sections: object())  # type: ignore[arg-type,return-value]
    return found


def source(plugin: object, name: str = "bare", *, is_first_party: bool = True) -> PluginSource:
    return PluginSource.in_process(name, plugin, is_first_party=is_first_party)


def status(found: Plugins, name: str = "bare") -> PluginStatus:
    return next(item for item in found.statuses() if item.name == name)
