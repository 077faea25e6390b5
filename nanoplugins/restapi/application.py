"""From a request to its handler: one table for the API, the portal's files for everything else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from tornado import httputil, routing, web

from nanocore.capabilities.rest import Route
from nanocore.errors import NanoError
from nanoplugins.restapi.api import Api
from nanoplugins.restapi.consoles import ConsoleHandler, TicketHandler
from nanoplugins.restapi.downloads import DiskImageContentHandler, MediaImageContentHandler
from nanoplugins.restapi.endpoints import API, Endpoint
from nanoplugins.restapi.events import EventsHandler
from nanoplugins.restapi.handling import BaseHandler, is_local_socket
from nanoplugins.restapi.health import HealthHandler, MetricsHandler, ReadyHandler
from nanoplugins.restapi.problems import Answer
from nanoplugins.restapi.reading import PlainRead, is_plain_read
from nanoplugins.restapi.routing import RoutingTable
from nanoplugins.restapi.serving import HANDLERS, RouteHandler
from nanoplugins.restapi.sockets import MAX_MESSAGE_BYTES
from nanoplugins.restapi.static import StaticFiles, StaticHandler
from nanoplugins.restapi.uploads import UploadHandler

PING_SECONDS = 15.0
RESERVED = ("/api", "/healthz", "/readyz", "/metrics")
"""Where paths begin that the portal's single page never answers for."""

Target = tuple[type[web.RequestHandler], dict[str, Any]]

SPECIAL: tuple[tuple[str, str, type[web.RequestHandler]], ...] = (
    ("POST", f"{API}/instances/{{id}}/console", TicketHandler),
    ("GET", f"{API}/consoles/{{id}}/{{kind}}", ConsoleHandler),
    ("GET", f"{API}/events", EventsHandler),
    ("OPTIONS", f"{API}/uploads/{{id}}", UploadHandler),
    ("HEAD", f"{API}/uploads/{{id}}", UploadHandler),
    ("PATCH", f"{API}/uploads/{{id}}", UploadHandler),
    ("GET", f"{API}/disk-images/{{id}}/content", DiskImageContentHandler),
    ("GET", f"{API}/media-images/{{id}}/content", MediaImageContentHandler),
    ("GET", "/healthz", HealthHandler),
    ("GET", "/readyz", ReadyHandler),
    ("GET", "/metrics", MetricsHandler),
)
"""What is served beside the declared routes."""


class Refusal(BaseHandler):
    """Answers what nobody else does: unknown paths, unknown methods, and a path's ``OPTIONS``."""

    def initialize(self, **options: Any) -> None:  # noqa: ANN401  each handler has its own
        """Take what to say; called by Tornado."""
        super().initialize(**options)
        self._error: NanoError | None = options.get("error")
        self._allow: str = options.get("allow", "")

    async def prepare(self) -> None:
        """Say it, whatever the method."""
        if self._error is not None:
            raise self._error
        await self.send(Answer(204, headers={"Allow": self._allow}))


class DocumentHandler(BaseHandler):
    """A generated document: the OpenAPI description, the reference, its style sheet."""

    is_document = True
    policy = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'"

    async def get(self) -> None:
        """Answer with it."""
        content_type, body = self.api.documents[self.request.path]
        self.set_header("Cache-Control", "no-cache")
        await self.send(Answer(200, body, content_type=content_type))

    head = get


class ApiRouter(routing.Router):
    """What the listeners serve; asked by Tornado for every request."""

    def __init__(self, api: Api, endpoints: Iterable[Endpoint], files: StaticFiles) -> None:
        self._app = web.Application(
            log_function=self._log,
            websocket_ping_interval=PING_SECONDS,
            websocket_ping_timeout=PING_SECONDS,
            websocket_max_message_size=MAX_MESSAGE_BYTES,
        )
        self._api = api
        self._files = files
        self._table: RoutingTable[Target] = RoutingTable()
        for endpoint in endpoints:
            route: Route = endpoint.route
            handler = HANDLERS.get(route.message, RouteHandler)
            self._table.add(route.method, API + route.path, (handler, {"endpoint": endpoint}))
        for method, path, special in SPECIAL:
            self._table.add(method, path, (special, {}))
        for path in api.documents:
            self._table.add("GET", path, (DocumentHandler, {}))

    def find_handler(
        self,
        request: httputil.HTTPServerRequest,
        **kwargs: Any,  # noqa: ANN401  Tornado's signature
    ) -> httputil.HTTPMessageDelegate:
        """Return what answers ``request``."""
        del kwargs
        (handler, options), parameters = self._choose(request)
        if handler is RouteHandler and is_plain_read(request):
            texts = {name: value.decode() for name, value in parameters.items()}
            return PlainRead(self._api, options["endpoint"], request, texts, self._log_request)
        return self._app.get_handler_delegate(request, handler, {"api": self._api, **options}, path_kwargs=parameters)

    def _choose(self, request: httputil.HTTPServerRequest) -> tuple[Target, dict[str, bytes]]:
        method, path = request.method or "", request.path
        if not path.startswith(RESERVED) and self._files.folder_of(path) is not None:
            return (StaticHandler, {"files": self._files}), {}
        try:
            match = self._table.match(method, path)
        except NanoError as error:
            methods = self._table.methods(path)
            if method == "OPTIONS" and methods:
                return (Refusal, {"allow": ", ".join(methods)}), {}
            return (Refusal, {"error": error}), {}
        return match.target, {name: unquote(value).encode() for name, value in match.parameters.items()}

    def _log(self, handler: web.RequestHandler) -> None:
        """Write one line for a request; its id is the context's ``trace``. Query, headers and body hold secrets."""
        self._log_request(handler.request, handler.get_status())

    def _log_request(self, request: httputil.HTTPServerRequest, status: int) -> None:
        seconds = request.request_time()
        method = request.method if request.method in web.RequestHandler.SUPPORTED_METHODS else "other"
        self._api.counters.count(method or "other", status, seconds)
        self._api.context.log.info(
            "request",
            method=request.method,
            path=request.path[:500],
            status=status,
            ms=round(seconds * 1000, 1),
            address="local" if is_local_socket(request) else request.remote_ip,
        )
