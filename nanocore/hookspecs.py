"""Every hook, by shape. Called by ``nanocore.loader.caller`` only, one plugin at a time.

**collect** (sync, quick, no I/O, once at start-up): returns declared objects; two with one key stop the start and
both plugins are named. An implementation that raises takes its own plugin out, nobody else.
**choose** (as collect): configuration names the one in use; an unknown name stops the start and lists what is there.
**broadcast** (async, any time): the result is ignored; each plugin runs alone under a timeout; failures are
logged with the plugin's name and counted.

An implementation takes ``context`` or leaves it out. Sync or async must match the spec.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import pluggy

if TYPE_CHECKING:
    from nanocore.capabilities.cli import CliCommand
    from nanocore.capabilities.health import HealthCheck
    from nanocore.capabilities.hypervisor import HypervisorDriver
    from nanocore.capabilities.network import NetworkDriver
    from nanocore.capabilities.placement import PlacementFilter, PlacementWeigher, Placer
    from nanocore.capabilities.portal import StaticFolder
    from nanocore.capabilities.rest import Route
    from nanocore.capabilities.schedule import ScheduledJob
    from nanocore.capabilities.storage import ImageCache, StorageDriver
    from nanocore.contracts.authorizer import Authorizer
    from nanocore.contracts.handler import Handler, Subscription
    from nanocore.contracts.node import NodeInfo
    from nanocore.contracts.operation import Workflow
    from nanocore.contracts.plugin import ConfigSection, PluginContext, PluginInfo
    from nanocore.contracts.service import Service
    from nanocore.contracts.state_store import Collection, StateStore

PROJECT = "nano"
F = TypeVar("F", bound=Callable[..., object])

_spec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a plugin's implementation of a hook."""


def collect(*, key: str, any_role: bool = False) -> Callable[[F], F]:
    """Mark a collect hook; ``key`` is the attribute by which declared objects collide.

    ``any_role`` hooks are also asked of enabled plugins whose own node roles this node does not have.
    """
    return _shaped("collect", key=key, any_role=any_role)


def choose() -> Callable[[F], F]:
    """Mark a choose hook; objects are chosen by their ``name``."""
    return _shaped("choose", key="name")


def broadcast(*, timeout_seconds: float) -> Callable[[F], F]:
    """Mark a broadcast hook."""
    return _shaped("broadcast", timeout_seconds=timeout_seconds)


def _shaped(shape: str, **facts: object) -> Callable[[F], F]:
    def mark(function: F) -> F:
        function.nano_hook = {"shape": shape, **facts}  # type: ignore[attr-defined]
        return _spec(function)

    return mark


class NanoHooks:
    """The specifications."""

    # -- what a plugin is

    @collect(key="name", any_role=True)
    def nano_plugin_info(self) -> Sequence[PluginInfo]:  # type: ignore[empty-body]
        """Return exactly one ``PluginInfo``. Called first, before the plugin's configuration is read."""

    @collect(key="name", any_role=True)
    def nano_config_sections(self) -> Sequence[ConfigSection]:  # type: ignore[empty-body]
        """Return the plugin's configuration section, if it has one. Called before there is a context."""

    # -- what it does on a node

    @collect(key="name")
    def nano_services(self, context: PluginContext) -> Sequence[Service]:  # type: ignore[empty-body]
        """Return what runs as long as the node does."""

    @collect(key="op")
    def nano_message_handlers(self, context: PluginContext) -> Sequence[Handler]:  # type: ignore[empty-body]
        """Return the requests this plugin answers."""

    @collect(key="key")
    def nano_event_subscriptions(self, context: PluginContext) -> Sequence[Subscription]:  # type: ignore[empty-body]
        """Return the events this plugin wants."""

    @collect(key="name")
    def nano_collections(self, context: PluginContext) -> Sequence[Collection]:  # type: ignore[empty-body,type-arg]
        """Return the record collections this plugin keeps in the state store."""

    @collect(key="kind")
    def nano_workflows(self, context: PluginContext) -> Sequence[Workflow]:  # type: ignore[empty-body,type-arg]
        """Return the kinds of operation this plugin runs; also how unfinished ones go on after a restart."""

    @collect(key="name")
    def nano_scheduled_jobs(self, context: PluginContext) -> Sequence[ScheduledJob]:  # type: ignore[empty-body]
        """Return timed jobs; run by the ``scheduler`` plugin."""

    @collect(key="name")
    def nano_health_checks(self, context: PluginContext) -> Sequence[HealthCheck]:  # type: ignore[empty-body]
        """Return checks for ``/readyz`` and ``nano doctor``."""

    # -- drivers

    @collect(key="name")
    def nano_hypervisor_drivers(self, context: PluginContext) -> Sequence[HypervisorDriver]:  # type: ignore[empty-body]
        """Return hypervisor drivers, not opened; ``agent`` opens the one it is configured to use."""

    @collect(key="name")
    def nano_storage_drivers(self, context: PluginContext) -> Sequence[StorageDriver]:  # type: ignore[empty-body]
        """Return storage drivers, not opened."""

    @collect(key="name")
    def nano_network_drivers(self, context: PluginContext) -> Sequence[NetworkDriver]:  # type: ignore[empty-body]
        """Return network drivers, not opened."""

    @collect(key="name")
    def nano_image_caches(self, context: PluginContext) -> Sequence[ImageCache]:  # type: ignore[empty-body]
        """Return where a cell finds the images to clone."""

    # -- placement

    @collect(key="name")
    def nano_placers(self, context: PluginContext) -> Sequence[Placer]:  # type: ignore[empty-body]
        """Return ways to choose a cell; ``[compute] placer`` names the one in use."""

    @collect(key="name")
    def nano_placement_filters(self, context: PluginContext) -> Sequence[PlacementFilter]:  # type: ignore[empty-body]
        """Return reasons to refuse a cell."""

    @collect(key="name")
    def nano_placement_weighers(self, context: PluginContext) -> Sequence[PlacementWeigher]:  # type: ignore[empty-body]
        """Return ways to rate a cell."""

    # -- faces

    @collect(key="key", any_role=True)
    def nano_rest_routes(self, context: PluginContext) -> Sequence[Route]:  # type: ignore[empty-body]
        """Return routes of the public API. Asked on every node that serves it, also where the handler is elsewhere."""

    @collect(key="key")
    def nano_portal_pages(self, context: PluginContext) -> Sequence[StaticFolder]:  # type: ignore[empty-body]
        """Return folders of files for the portal."""

    @collect(key="name", any_role=True)
    def nano_cli_commands(self) -> Sequence[CliCommand]:  # type: ignore[empty-body]
        """Return commands for ``nano``. Called without a node and without a context."""

    # -- one of several

    @choose()
    def nano_state_stores(self, context: PluginContext) -> Sequence[StateStore]:  # type: ignore[empty-body]
        """Return state stores, not opened; ``[kernel] state_store`` names the one in use on a core."""

    @choose()
    def nano_authorizers(self, context: PluginContext) -> Sequence[Authorizer]:  # type: ignore[empty-body]
        """Return authorizers; ``[kernel] authorizer`` names the one in use on a core."""

    # -- told

    @broadcast(timeout_seconds=10)
    async def nano_node_started(self) -> None:
        """Tell that all services of this node are up."""

    @broadcast(timeout_seconds=1)
    async def nano_node_stopping(self) -> None:
        """Tell that this node is about to stop; services still run."""

    @broadcast(timeout_seconds=10)
    async def nano_peer_joined(self, peer: NodeInfo) -> None:
        """Tell that a peer became reachable."""

    @broadcast(timeout_seconds=10)
    async def nano_peer_lost(self, peer: NodeInfo, reason: str) -> None:
        """Tell that a peer became unreachable."""
