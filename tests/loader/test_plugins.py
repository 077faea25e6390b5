"""The loader: one bad plugin never hurts another, and is always named."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest

from nanocore.capabilities.rest import Route
from nanocore.contracts.handler import Handler, Subscription
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.contracts.plugin import PluginState
from nanocore.errors import ConfigError, NanoError
from nanocore.hookspecs import hookimpl
from nanocore.loader.discover import PluginSource, discover, select
from nanocore.loader.plugins import Plugins
from nanocore.loader.specs import all_specs, resolve_kind
from nanocore.logs import make_logger
from tests.loader import toys
from tests.loader.toys import Ask, Bare, Toy, collected, plugins, source, status

BAD: list[tuple[type[Any], str]] = [
    (toys.Raises, "nano_services raised ZeroDivisionError: boom"),
    (toys.Exits, "tried to end the process: SystemExit(3)"),
    (toys.Misspelt, "nano_servcies is no hook; did you mean nano_services?"),
    (toys.Unmarked, "nano_services is a hook but is not marked with @hookimpl"),
    (toys.AsyncCollect, "nano_services must be def, not async def"),
    (toys.SyncBroadcast, "nano_node_started must be async def"),
    (toys.UnknownArgument, "nano_services takes unknown arguments: node; it can take: context"),
    (toys.First, "call order and wrappers have no meaning here"),
    (toys.ReturnsNone, "nano_services must return a list of Service, not NoneType"),
    (toys.ReturnsWrongItems, "an item is str 'toy.get_answer'"),
    (toys.ReturnsHalfService, "which lacks: after, stop"),
    (toys.ReturnsTwice, "returns op 'toy.get_answer' twice"),
    (toys.ClaimsKernel, "op 'membership.join' belongs to the kernel"),
    (toys.TwoInfos, "must return exactly one info, named 'bare', not ['bare', 'other']"),
    (toys.NoInfo, "must return exactly one info, named 'bare', not []"),
    (toys.OtherName, "not ['other']"),
    (toys.TakesKernelSection, "configuration section [kernel] belongs to the kernel"),
]


@pytest.mark.parametrize(("kind", "reason"), BAD, ids=[kind.__name__ for kind, _ in BAD])
def test_a_bad_plugin_is_named_and_the_others_go_on(kind: type[Any], reason: str) -> None:
    found = collected(source(kind()), source(Toy(), "toy"))
    bad = status(found)
    assert bad.state is PluginState.FAILED
    assert bad.reason is not None
    assert reason in bad.reason
    assert bad.failures == 1
    assert status(found, "toy").state is PluginState.ENABLED
    assert list(found.collected(Handler)) == [Ask.op]


@pytest.mark.parametrize(("kind", "reason"), BAD, ids=[kind.__name__ for kind, _ in BAD])
def test_strict_stops_the_start(kind: type[Any], reason: str) -> None:
    with pytest.raises(NanoError) as caught:
        collected(source(kind()), source(Toy(), "toy"), strict=True)
    assert "plugin bare: " in caught.value.message
    assert reason in caught.value.message


def test_a_hanging_hook_is_cut() -> None:
    found = collected(source(toys.Hangs()), source(Toy(), "toy"), hook_seconds=0.2)
    assert status(found).reason == "nano_services did not return within 0.2 s"
    assert list(found.collected(Handler)) == [Ask.op]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ImportError("no such thing"), "no such thing"), (SystemExit(1), "end the process"), (KeyError("x"), "'x'")],
)
def test_a_plugin_that_fails_to_load(error: BaseException, reason: str) -> None:
    def load() -> object:
        raise error

    found = collected(PluginSource("bare", load), source(Toy(), "toy"))
    assert status(found).state is PluginState.FAILED
    assert reason in str(status(found).reason)
    assert status(found, "toy").state is PluginState.ENABLED


def test_a_missing_library_disables_a_first_party_plugin_unless_it_was_named() -> None:
    def load() -> object:
        raise ModuleNotFoundError("No module named 'libvirt'", name="libvirt")

    implied = collected(PluginSource("bare", load))
    assert status(implied).state is PluginState.DISABLED
    assert "library libvirt is not installed" in str(status(implied).reason)
    assert status(collected(PluginSource("bare", load), wanted=["bare"])).state is PluginState.FAILED


def test_a_third_party_plugin_that_claims_an_op_is_taken_out_whole() -> None:
    thief = Toy("thief")
    found = collected(source(thief, "thief", is_first_party=False), source(Toy(), "toy"), wanted=["*", "thief"])
    assert status(found, "thief").state is PluginState.FAILED
    assert status(found, "thief").reason == "claims Handler 'toy.get_answer', which belongs to plugin toy"
    assert found.owner(Handler, Ask.op) == "toy"
    asyncio.run(found.broadcast("nano_peer_joined", peer=NodeInfo(id="n", name="peer", roles=[])))  # type: ignore[arg-type]
    assert thief.told == []


def test_two_first_party_plugins_with_one_op_stop_the_start_and_both_are_named() -> None:
    with pytest.raises(ConfigError, match=r"plugins bell and toy both declare Handler 'toy\.get_answer'"):
        collected(source(Toy("bell"), "bell"), source(Toy(), "toy"))


def test_a_plugin_for_other_roles_is_asked_for_routes_only() -> None:
    class Routed(Toy):
        @hookimpl
        def nano_rest_routes(self) -> list[Route]:
            return [Route("GET", "/answer", Ask, "the answer")]

    found = collected(source(Routed("toy", roles=frozenset({NodeRole.CELL})), "toy"))
    assert status(found, "toy").state is PluginState.DISABLED
    assert status(found, "toy").reason == "for nodes with role cell; this one has core"
    assert list(found.collected(Route)) == ["GET /answer"]
    assert list(found.collected(Handler)) == []
    assert "toy" in found.sections()


def test_the_allow_list() -> None:
    ours, theirs = source(Toy(), "toy"), source(Bare(), "bare", is_first_party=False)
    assert [item.name for item in select([theirs, ours], ["*"]).enabled] == ["toy"]
    assert [item.name for item in select([theirs, ours], ["*", "bare"]).enabled] == ["toy", "bare"]
    assert [item.name for item in select([theirs, ours], ["*", "-toy", "bare"]).enabled] == ["bare"]
    assert [item.name for item in select([theirs, ours], [], extra=["bare"]).enabled] == ["bare"]
    with pytest.raises(ConfigError, match="plugin 'toi' is not installed; did you mean toy"):
        select([ours], ["toi"])


def test_a_name_is_taken_once_and_is_no_path() -> None:
    found = plugins(source(Toy(), "toy"), source(Bare(), "toy", is_first_party=False), source(Bare(), "../x"))
    reasons = {(item.state, item.reason) for item in found.statuses()}
    assert (PluginState.FAILED, "the name toy belongs to distribution in-process") in reasons
    assert any(state is PluginState.FAILED and "is no plugin name" in str(reason) for state, reason in reasons)
    assert (PluginState.ENABLED, None) in reasons


def test_disabled_plugins_are_listed_and_never_imported() -> None:
    def load() -> object:
        raise AssertionError("imported")

    found = plugins(PluginSource("quiet", load, distribution="quiet-dist", version="3", is_first_party=False))
    row = status(found, "quiet")
    assert (row.state, row.version, row.distribution) == (PluginState.DISABLED, "3", "quiet-dist")
    assert '"quiet"' in str(row.reason)


def test_choosing_names_what_is_there() -> None:
    found = collected(source(Toy(), "toy"))
    assert found.choose(Handler, Ask.op, key="kernel.toy").message is Ask
    with pytest.raises(ConfigError, match=r"kernel\.toy: 'x' is not there; available: toy\.get_answer"):
        found.choose(Handler, "x", key="kernel.toy")


def test_broadcast_reaches_everybody_whatever_others_do() -> None:
    tellers = [source(toys.Teller(way, way), way) for way in ("raise", "exit", "hang")]
    stream = io.StringIO()
    good = Toy()
    found = Plugins(roles=toys.CORE, log=make_logger(stream))
    found.load([*tellers, source(good, "toy")], ["*"])
    found.collect(lambda name, sections: object())  # type: ignore[arg-type,return-value]

    async def main() -> None:
        await found.broadcast("nano_node_stopping")
        await found.broadcast("nano_peer_joined", peer=NodeInfo(id="n", name="peer", roles=[]))  # type: ignore[arg-type]

    asyncio.run(main())
    assert good.told == ["peer"]
    assert [status(found, way).failures for way in ("raise", "exit", "hang")] == [1, 1, 1]
    named = {line["plugin"] for line in map(json.loads, stream.getvalue().splitlines()) if "hook" in line}
    assert named == {"raise", "exit", "hang"}


def test_failures_of_handlers_and_subscribers_are_counted() -> None:
    found = collected(source(toys.Listens(), "listens"))
    (subscription,) = found.subscriptions()
    assert isinstance(subscription, Subscription)

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await subscription.call(toys.Rang(), NodeInfo(id="n", name="peer", roles=[]))  # type: ignore[arg-type]

    asyncio.run(main())
    assert status(found, "listens").failures == 1


def test_every_collect_hook_names_a_type_that_exists() -> None:
    for spec in all_specs().values():
        if spec.shape != "broadcast":
            assert resolve_kind(spec.kind).__name__ == spec.kind


def test_the_entry_points_of_this_distribution_are_found() -> None:
    names = {item.name: item.is_first_party for item in discover()}
    assert names["compute"] is True
    assert {"restapi", "kvm", "state_sqlite"} <= set(names)
