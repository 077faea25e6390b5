"""The composition root: a node made of identity, plugins, state, messenger, operations and services."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import structlog

from nanocore import __version__
from nanocore.clock import Clock, SystemClock
from nanocore.config import ConfigFiles, KernelConfig, read_files
from nanocore.contracts.authorizer import Authorizer
from nanocore.contracts.handler import USERS, Call, Handler, Reply
from nanocore.contracts.health import HealthCheck
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.contracts.operation import Operations, Workflow
from nanocore.contracts.plugin import ConfigSection, ListPlugins, PluginContext, PluginStatus
from nanocore.contracts.service import Service
from nanocore.contracts.state_store import Collection, StateStore
from nanocore.contracts.stream import Stream
from nanocore.errors import ConfigError, ErrorCode, NanoError
from nanocore.ids import NodeId, parse_name
from nanocore.kernel.health import Ending, KernelHealth
from nanocore.kernel.messenger import Messenger, MessengerSettings
from nanocore.kernel.root import NodeRoot
from nanocore.kernel.supervisor import ServiceState, Supervised, Supervisor
from nanocore.kernel.trust import TRUST_COLLECTIONS, Identity, Registry
from nanocore.loader.context import NodeContext
from nanocore.loader.discover import PluginSource, discover
from nanocore.loader.plugins import Plugins
from nanocore.operations.engine import OperationEngine
from nanocore.transport.base import Fabric
from nanocore.wire import Event, Request, structs
from nanocore.wire.version import FEATURES

R = TypeVar("R")
K = TypeVar("K")

START_GRACE_SECONDS = 10.0
"""How long the start waits for services; slower ones go on starting while the node already serves."""
PART_STOP_SECONDS = 0.5
"""How long each part of the kernel may take to stop; with services (2.5 s) and the farewell (1 s) at most 5 s."""


class Blueprint:
    """What a node is going to be: configuration, plugins and what they declared; nothing runs yet.

    Raises ``ConfigError`` from ``read``; plugins that fail are named in ``plugins.statuses()``.
    """

    def __init__(self, files: ConfigFiles, kernel: KernelConfig, plugins: Plugins) -> None:
        self.files = files
        self.kernel = kernel
        self.plugins = plugins
        self.sections: dict[type[Any], Any] = {}

    @classmethod
    def read(
        cls,
        root: NodeRoot,
        log: structlog.stdlib.BoundLogger,
        *,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        sources: Iterable[PluginSource] | None = None,
    ) -> Blueprint:
        """Read the configuration below ``root``, load the plugins it enables and check all their sections."""
        files = read_files(root.root).with_values(settings or {}, file="settings given to the node")
        kernel = files.section("kernel", KernelConfig)
        plugins = Plugins(roles=roles_of(kernel), log=log, strict=kernel.strict)
        plugins.load(discover() if sources is None else sources, kernel.plugins, extra=files.enabled)
        blueprint = cls(files, kernel, plugins)
        sections = plugins.sections()
        # A plugin that is not loaded can't say what its section may hold.
        files.refuse_unknown({"kernel", *sections, *plugins.names()})
        for name, kind in sections.items():
            blueprint.sections[kind] = files.section(name, kind)
        return blueprint


def roles_of(kernel: KernelConfig) -> frozenset[NodeRole]:
    """Return the node's roles; raises ``ConfigError`` if there are none."""
    if not kernel.roles:
        raise ConfigError('needs at least one node role, such as ["cell"]', key="kernel.roles")
    return frozenset(NodeRole(role) for role in kernel.roles)


def node_name(kernel: KernelConfig) -> str:
    """Return the configured name, or one made of the machine's host name."""
    if kernel.name:
        try:
            return parse_name(kernel.name)
        except NanoError as error:
            raise ConfigError(error.message, key="kernel.name") from error
    label = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().split(".")[0].lower())[:63].strip("-")
    return label or "node"


class Node:
    """One node in this process.

    ``settings`` come on top of the configuration files; ``sources`` are the plugins found, by default those that are
    installed; ``fabric`` replaces CURVE over TCP. Tests pass them. ``on_end`` ends the process when the
    core asks for it.
    """

    def __init__(
        self,
        root: Path,
        *,
        log: structlog.stdlib.BoundLogger,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        sources: Iterable[PluginSource] | None = None,
        clock: Clock | None = None,
        fabric: Fabric | None = None,
        on_end: Ending | None = None,
    ) -> None:
        self.root = NodeRoot.at(root)
        self.clock: Clock = clock or SystemClock()
        self._log = log
        self._settings = settings
        self._sources = sources
        self._fabric = fabric
        self._on_end = on_end
        self._held = ExitStack()
        self._blueprint: Blueprint | None = None
        self._info: NodeInfo | None = None
        self._store: StateStore | None = None
        self._engine: OperationEngine | None = None
        self._messenger: Messenger | None = None
        self._supervisor: Supervisor | None = None
        self._settling: asyncio.Task[None] | None = None
        self._chosen: dict[type[Any], Any] = {}
        self._is_started = False
        self.is_collecting = True

    # -- life

    async def start(self) -> None:
        """Start everything; return when the services run, or after 10 s with the slow ones still starting.

        Raises ``ConfigError``, ``conflict`` for a root in use, and whatever else stops a start; then everything that
        was begun is ended again.
        """
        self.root.prepare()
        self._held.enter_context(self.root.lock())
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop in reverse, within 5 s; safe to call twice and after a failed start."""
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.wait({self._settling}, timeout=PART_STOP_SECONDS)
            self._settling = None
        if self._blueprint is not None and self._is_started:
            await self._blueprint.plugins.broadcast("nano_node_stopping")
        self._is_started = False
        if self._engine is not None:
            await self._end("operations", self._engine.stop())
        if self._supervisor is not None:
            await self._supervisor.stop()
        if self._messenger is not None:
            await self._end("messenger", self._messenger.stop())
        if self._store is not None:
            await self._end("state store", self._store.close())
        self._engine = self._supervisor = self._messenger = self._store = None
        self._held.close()
        self.root.tidy()

    async def _start(self) -> None:
        identity = Identity.load(self.root.keys)
        blueprint = self._blueprint = Blueprint.read(
            self.root, self._log, settings=self._settings, sources=self._sources
        )
        self._info = _describe(blueprint.kernel, identity)
        blueprint.plugins.collect(self._context)
        self._supervisor = Supervisor(
            log=self._log, on_service_failed=blueprint.plugins.blame, on_task_failed=blueprint.plugins.count
        )
        registry = await self._open_state(identity)
        messenger = self._messenger = self._make_messenger(identity, registry)
        self.is_collecting = False
        messenger.register(blueprint.plugins.handlers())
        messenger.register({handler.op: handler for handler in self._own_handlers()})
        for subscription in blueprint.plugins.subscriptions():
            messenger.subscribe(subscription)
        await messenger.start()
        if self._engine is not None:
            self._engine.register(blueprint.plugins.collected(Workflow).values())
            await self._engine.start(is_held=True)
        services = blueprint.plugins.collected(Service)
        owned = [(blueprint.plugins.owner(Service, name), service) for name, service in services.items()]
        self._is_started = True
        self._settling = asyncio.create_task(self._settle(self._supervisor, owned), name="start:services")
        await asyncio.wait({self._settling}, timeout=START_GRACE_SECONDS)
        self._release()
        if self._settling.done():
            self._settling.result()
        failed = [item for item in self._supervisor.services if item.state is ServiceState.FAILED]
        if failed and self._kernel.strict:
            raise NanoError(ErrorCode.INTERNAL, f"plugin {failed[0].plugin}: {failed[0].reason}", reason="plugin")

    def _release(self) -> None:
        """Carry unfinished operations on: their steps need services, but no service may hold them up for long."""
        if self._engine is not None and self._is_started:
            self._engine.release()

    async def _settle(self, supervisor: Supervisor, services: Sequence[tuple[str, Service]]) -> None:
        await supervisor.start(services)
        self._release()
        await self._plugins.broadcast("nano_node_started")

    async def _end(self, part: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"stop:{part}")
        await asyncio.wait({task}, timeout=PART_STOP_SECONDS)
        if not task.done():
            task.cancel()
            self._log.error("does not stop", part=part, limit_seconds=PART_STOP_SECONDS)
        elif not task.cancelled() and task.exception() is not None:
            self._log.error("stopped with an error", part=part, exc_info=task.exception())

    # -- parts

    async def _open_state(self, identity: Identity) -> Registry:
        """On a core choose and open the state store, and make what stands on it; return the registry of nodes."""
        kernel, plugins = self._kernel, self._plugins
        if NodeRole.CORE not in self.info.roles:
            if identity.core is None:
                raise ConfigError(
                    "this node has not joined a zone; run `nano invite` on the core and the command that it prints "
                    "here, or add core to its node roles",
                    key="kernel.roles",
                )
            return Registry(self.clock)
        store = plugins.choose(StateStore, kernel.state_store, key="kernel.state_store")
        authorizer = plugins.choose(Authorizer, kernel.authorizer, key="kernel.authorizer")
        self._chosen = {StateStore: store, Authorizer: authorizer}
        engine = OperationEngine(store, self.clock, self._log, self.publish)
        own = [*engine.collections(), *TRUST_COLLECTIONS]
        for name in {collection.name for collection in own} & set(plugins.collected(Collection)):
            raise ConfigError(f"plugin {plugins.owner(Collection, name)} declares the kernel's collection {name!r}")
        self._store = store
        await store.open([*own, *plugins.collected(Collection).values()])
        self._engine = engine
        return Registry(self.clock, store)

    def _make_messenger(self, identity: Identity, registry: Registry) -> Messenger:
        kernel = self._kernel
        settings = MessengerSettings(
            bind_host=kernel.listen_address,
            message_port=kernel.message_port,
            stream_port=kernel.stream_port,
            advertise_hosts=(kernel.advertise_address,) if kernel.advertise_address else (),
            core_address=kernel.core or None,
            is_strict=kernel.strict,
        )
        return Messenger(
            self.info,
            identity,
            settings,
            registry=registry,
            clock=self.clock,
            log=self._log,
            authorizer=self._chosen.get(Authorizer),
            on_peer_joined=self._peer_joined,
            on_peer_lost=self._peer_lost,
            fabric=self._fabric,
        )

    def _own_handlers(self) -> list[Handler]:
        async def list_plugins(_message: ListPlugins, _call: Call) -> list[PluginStatus]:
            return self.plugin_statuses()

        health = KernelHealth(statuses=self.plugin_statuses, checks=self._checks, end=self._on_end, log=self._log)
        own = [Handler(ListPlugins, list_plugins, allow=USERS), *health.handlers()]
        return own if self._engine is None else [*own, *self._engine.handlers()]

    def _checks(self) -> dict[str, list[HealthCheck]]:
        found: dict[str, list[HealthCheck]] = {}
        for name, check in self.collected(HealthCheck).items():
            found.setdefault(self._plugins.owner(HealthCheck, name), []).append(check)
        return found

    def _context(self, plugin: str, sections: Sequence[ConfigSection]) -> PluginContext:
        kinds = {section.kind for section in sections}

        def settings(kind: type[Any]) -> Any:  # noqa: ANN401  an instance of `kind`
            if kind not in kinds:
                raise NanoError(ErrorCode.INTERNAL, f"{kind.__name__} is no configuration section of plugin {plugin}")
            return self._read.sections[kind]

        return NodeContext(plugin, self, self._log, settings)

    async def _peer_joined(self, peer: NodeInfo) -> None:
        await self._plugins.broadcast("nano_peer_joined", peer=peer)

    async def _peer_lost(self, peer: NodeInfo, reason: str) -> None:
        await self._plugins.broadcast("nano_peer_lost", peer=peer, reason=reason)

    # -- what contexts and the command line use

    @property
    def info(self) -> NodeInfo:
        """Return the node's description."""
        return _there(self._info)

    @property
    def message_port(self) -> int | None:
        """Return the bound port for messages."""
        return _there(self._messenger).message_port

    @property
    def stream_port(self) -> int | None:
        """Return the bound port for streams."""
        return _there(self._messenger).stream_port

    @property
    def operations(self) -> Operations:
        """Return the operations; raise ``unsupported`` where there are none."""
        if self._engine is None:
            raise NanoError(ErrorCode.UNSUPPORTED, f"node {self.info.name} is no core: operations run on the core")
        return self._engine

    def folder(self, kind: str, plugin: str) -> Path:
        """Return the plugin's folder below the node's ``state`` or ``run`` folder."""
        return {"state": self.root.state, "run": self.root.run}[kind] / plugin

    async def call_reply(
        self,
        message: Request[R],
        *,
        dst: NodeId | None = None,
        timeout_seconds: float | None = None,
        blobs: Sequence[bytes] = (),
        credential: str | None = None,
        request_id: str | None = None,
    ) -> Reply[R]:
        """As ``PluginContext.call_reply``."""
        return await _there(self._messenger).call_reply(
            message,
            dst=dst,
            timeout_seconds=timeout_seconds,
            blobs=blobs,
            credential=credential,
            request_id=request_id,
        )

    async def open_stream(
        self, message: Request[Any], *, dst: NodeId | None = None, credential: str | None = None
    ) -> Stream:
        """As ``PluginContext.open_stream``."""
        return await _there(self._messenger).open_stream(message, dst=dst, credential=credential)

    async def publish(self, event: Event) -> None:
        """As ``PluginContext.publish``."""
        await _there(self._messenger).publish(event)

    def collected(self, kind: type[K]) -> Mapping[str, K]:
        """As ``PluginContext.collected``."""
        return self._plugins.collected(kind)

    def chosen(self, kind: type[K]) -> K:
        """As ``PluginContext.chosen``."""
        if kind not in self._chosen:
            names = ", ".join(item.__name__ for item in self._chosen) or "nothing, as it is no core"
            raise NanoError(ErrorCode.UNSUPPORTED, f"no {kind.__name__} is chosen on this node; chosen: {names}")
        found: K = self._chosen[kind]
        return found

    def plugin_statuses(self) -> list[PluginStatus]:
        """Return every plugin found on this node; a service that is slow to start is named."""
        services = self._supervisor.services if self._supervisor is not None else ()
        slow = {item.plugin: item for item in services if item.state is ServiceState.STARTING}
        return [_with_slow(status, slow.get(status.name)) for status in self._plugins.statuses()]

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str, plugin: str) -> None:
        """As ``PluginContext.spawn``, for ``plugin``."""
        _there(self._supervisor).spawn(work, name=name, plugin=plugin)

    @property
    def _read(self) -> Blueprint:
        return _there(self._blueprint)

    @property
    def _plugins(self) -> Plugins:
        return self._read.plugins

    @property
    def _kernel(self) -> KernelConfig:
        return self._read.kernel


def _with_slow(status: PluginStatus, service: Supervised | None) -> PluginStatus:
    if service is None or status.reason is not None:
        return status
    seconds = time.monotonic() - service.since
    return structs.replace(status, reason=f"service {service.name} has been starting for {seconds:.0f} s")


def _there(part: K | None) -> K:
    if part is None:
        raise NanoError(ErrorCode.UNAVAILABLE, "this node is not running")
    return part


def _describe(kernel: KernelConfig, identity: Identity) -> NodeInfo:
    return NodeInfo(
        id=identity.node_id,
        name=node_name(kernel),
        roles=sorted(roles_of(kernel)),
        zone=kernel.zone,
        version=__version__,
        features=list(FEATURES),
        public_key=identity.keys.public,
    )
