"""Composes the API and runs its listeners."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer

from nanocore.capabilities.portal import StaticFolder
from nanocore.capabilities.rest import Route
from nanocore.contracts.listing import ListQuery, ResourceChanged
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import NanoError
from nanocore.ids import new_id
from nanocore.wire import encode_json
from nanoplugins.restapi.api import Api
from nanoplugins.restapi.application import ApiRouter
from nanoplugins.restapi.config import RestapiConfig
from nanoplugins.restapi.core_link import CoreLink
from nanoplugins.restapi.endpoints import API, Endpoint
from nanoplugins.restapi.feed import Feed
from nanoplugins.restapi.health import Health
from nanoplugins.restapi.idempotency import KeptAnswers
from nanoplugins.restapi.identities import Identities
from nanoplugins.restapi.listeners import local_server, tcp_server
from nanoplugins.restapi.metrics import Counters
from nanoplugins.restapi.openapi import Description
from nanoplugins.restapi.reference import STYLE, STYLE_PATH, reference_page
from nanoplugins.restapi.static import StaticFiles
from nanoplugins.restapi.tickets import Tickets
from nanoplugins.restapi.tls import TlsFiles, ensure_certificate, local_names, server_context, watch_files

LOCAL_SOCKET = "api.sock"
ADDRESS_FILE = "address"
TLS_FOLDER = "tls"
LISTEN_AGAIN_SECONDS = 5.0


class RestService:
    """Runs as long as the node does; ``port`` is set once it listens."""

    name = "restapi"
    after: tuple[str, ...] = ("identity_local", "compute", "images", "network")
    """A list that has not been loaded yet would look empty."""

    def __init__(self, context: PluginContext) -> None:
        self._context = context
        self._config = context.config(RestapiConfig)
        self.feed = Feed(new_id()[:8])
        self._core = CoreLink(context)
        self.port: int | None = None
        self.problem: str | None = None
        self._api: Api | None = None
        self._servers: list[HTTPServer] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Build the API from what plugins declared, then listen. Raises for a route that must not be served."""
        context, config = self._context, self._config
        endpoints = [Endpoint(route) for route in context.collected(Route).values()]
        files, tls = await self._certificate()
        api = self._api = self._compose(endpoints, is_certificate_real=not files.is_self_made)
        router = ApiRouter(api, endpoints, StaticFiles(context.collected(StaticFolder).values()))
        self._begin(api.identities.watch(), api.counters.probe(context.clock))
        self._servers.append(local_server(router, config, self.local_path))
        if NodeRole.FRONTEND in context.node.roles:
            self._begin(watch_files(tls, files, self._certificate_changed))
            if not self._listen(router, tls):
                self._begin(self._listen_later(router, tls))
        context.log.info("listening", address=config.listen_address, port=self.port, local=str(self.local_path))

    def _listen(self, router: ApiRouter, tls: ssl.SSLContext) -> bool:
        """Open the port; a taken one is no end of the node, whose local socket is how to find out."""
        config = self._config
        try:
            server, self.port = tcp_server(router, config, tls)
        except OSError as error:
            self.problem = (
                f"can't listen on {config.listen_address} port {config.port}: {error.strerror}; end what uses it, "
                "or set [restapi] listen_address and port"
            )
            self._context.log.warning("not listening", problem=self.problem)
            return False
        self.problem = None
        self._servers.append(server)
        (self._context.paths.run / ADDRESS_FILE).write_text(f"{self.port}\n", encoding="ascii")
        return True

    async def _listen_later(self, router: ApiRouter, tls: ssl.SSLContext) -> None:
        is_listening = False
        while not is_listening:
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)
            is_listening = self._listen(router, tls)

    async def check(self) -> str | None:
        """Return why the portal's port is not served, or ``None``."""
        return self.problem

    async def stop(self) -> None:
        """Close listeners, sockets and tasks."""
        for server in self._servers:
            server.stop()
        if self._api is not None:
            self._api.identities.cut_all("the node stops")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for server in self._servers:
            await server.close_all_connections()
        self._servers.clear()
        self.local_path.unlink(missing_ok=True)

    @property
    def local_path(self) -> Path:
        """The UNIX socket that ``nano`` uses on this host."""
        return self._context.paths.run.parent / LOCAL_SOCKET

    async def record(self, change: ResourceChanged, source: NodeInfo) -> None:
        """Hand a change to the clients that follow; the subscription's handler."""
        del source
        self.feed.record(change)

    def note_peer(self, peer: NodeInfo) -> None:
        """Tell that a peer became reachable: while the core was away, changes were missed."""
        if self._core.note(peer):
            self.feed.reset_all()

    def _compose(self, endpoints: list[Endpoint], *, is_certificate_real: bool) -> Api:
        context, config = self._context, self._config
        return Api(
            context=context,
            config=config,
            core=self._core,
            identities=Identities(self._core, context.clock, max_sockets=config.max_sockets_per_user),
            kept_answers=KeptAnswers(context.clock),
            counters=Counters(),
            feed=self.feed,
            tickets=Tickets(context.clock),
            health=Health(context, self._core),
            topics=topics_of(endpoints),
            is_certificate_real=is_certificate_real,
            documents=documents_of(endpoints, context.node.version),
        )

    async def _certificate(self) -> tuple[TlsFiles, Any]:
        config = self._config
        if config.certificate_file or config.key_file:
            files = TlsFiles(Path(config.certificate_file), Path(config.key_file), is_self_made=False)
        else:
            names = await asyncio.to_thread(local_names, self._context.node.name)
            folder = self._context.paths.state / TLS_FOLDER
            files = await asyncio.to_thread(ensure_certificate, folder, names)
        return files, server_context(files)

    def _certificate_changed(self, error: NanoError | None) -> None:
        if error is None:
            self._context.log.info("certificate replaced")
        else:
            self._context.log.error("certificate not replaced; the old one stays in use", reason=error.message)

    def _begin(self, *works: Any) -> None:  # noqa: ANN401  coroutines
        self._tasks += [asyncio.get_running_loop().create_task(work) for work in works]


def topics_of(endpoints: list[Endpoint]) -> dict[str, str]:
    """Return the nouns that have a list, with the permission to read it: what events can be about."""
    return {
        endpoint.route.path.strip("/"): endpoint.message.permission or ""
        for endpoint in endpoints
        if endpoint.route.method == "GET"
        and issubclass(endpoint.message, ListQuery)
        and endpoint.route.path.count("/") == 1
    }


def documents_of(endpoints: list[Endpoint], version: str) -> dict[str, tuple[str, bytes]]:
    """Return the generated documents by path."""
    document = Description(endpoints, version or "0").build()
    return {
        f"{API}/openapi.json": ("application/json", encode_json(document)),
        f"{API}/docs": ("text/html; charset=utf-8", reference_page(document).encode()),
        STYLE_PATH: ("text/css; charset=utf-8", STYLE.encode()),
    }
