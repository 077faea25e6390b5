"""A real node in this process, with the real API on a free port of loopback."""

from __future__ import annotations

import io
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tornado import httpclient, websocket

from nanocore.capabilities.portal import StaticFolder
from nanocore.contracts.authorizer import Authorizer
from nanocore.hookspecs import hookimpl
from nanocore.kernel.node import Node
from nanocore.loader.discover import PluginSource
from nanocore.logs import make_logger
from nanoplugins.identity_local.plugin import Plugin as IdentityLocal
from nanoplugins.restapi.plugin import Plugin as RestApi
from nanoplugins.state_sqlite.plugin import Plugin as StateSqlite
from tests.restapi.toys import ToyCompute

PASSWORD = "swordfish and more"


class Pages:
    """A plugin with files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @hookimpl
    def nano_plugin_info(self) -> list[Any]:
        from nanocore.contracts.plugin import PluginInfo

        return [PluginInfo("pages", "0", "files")]

    @hookimpl
    def nano_portal_pages(self) -> list[StaticFolder]:
        return [StaticFolder("/", self.folder, index="index.html", relaxed_style_paths=("/serial.html",))]


@dataclass
class Site:
    """What a test talks to."""

    node: Node
    root: Path
    port: int
    toy: ToyCompute
    identity: IdentityLocal
    rest: RestApi
    log: io.StringIO
    sockets: list[websocket.WebSocketClientConnection] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def ca_file(self) -> Path:
        return self.root / "var/lib/nano/restapi/tls/cert.pem"

    def client(self, **options: Any) -> httpx2.AsyncClient:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        return httpx2.AsyncClient(base_url=f"{self.base}/api/v2", verify=context, **options)

    async def user(self, username: str, *roles: str) -> None:
        service = self.identity._service
        assert service is not None
        await service.accounts().add_user(username, await service.passwords().hash(PASSWORD), list(roles))

    async def login(self, client: httpx2.AsyncClient, username: str = "admin", password: str | None = None) -> None:
        """Log ``client`` in; it sends the CSRF token from now on."""
        if password is None:
            password = PASSWORD if username != "admin" else self.admin_password
        answer = await client.post("/session", json={"username": username, "password": password})
        assert answer.status_code == 201, answer.text
        client.headers["X-CSRF-Token"] = answer.json()["csrf_token"]

    async def token(self, username: str = "admin", **options: Any) -> str:
        async with self.client() as client:
            await self.login(client, username)
            answer = await client.post("/tokens", json={"name": "test", **options})
            assert answer.status_code == 201, answer.text
            return str(answer.json()["token"])

    @property
    def admin_password(self) -> str:
        return (self.root / "var/lib/nano/identity_local/admin-password").read_text().strip()

    async def websocket(self, path: str, **headers: str) -> websocket.WebSocketClientConnection:
        request = httpclient.HTTPRequest(
            f"wss://localhost:{self.port}{path}", headers=headers, ca_certs=str(self.ca_file)
        )
        socket = await websocket.websocket_connect(request)
        self.sockets.append(socket)
        return socket

    def authorizer(self) -> Authorizer:
        return self.node.chosen(Authorizer)


Serve = Callable[..., AbstractAsyncContextManager[Site]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Return what starts a node and stops it again."""

    @asynccontextmanager
    async def start(folder: Path | None = None, **restapi: Any) -> AsyncIterator[Site]:
        log = io.StringIO()
        toy, identity, rest = ToyCompute(), IdentityLocal(), RestApi()
        plugins: dict[str, object] = {
            "toy_compute": toy,
            "identity_local": identity,
            "restapi": rest,
            "state_sqlite": StateSqlite(),
            **({"pages": Pages(folder)} if folder else {}),
        }
        node = Node(
            tmp_path,
            log=make_logger(log),
            settings={
                "kernel": {
                    "name": "node-1",
                    "roles": ["core", "frontend"],
                    "plugins": list(plugins),
                    "listen_address": "127.0.0.1",
                    "message_port": 0,
                    "stream_port": 0,
                    "strict": True,
                },
                "restapi": {"listen_address": "127.0.0.1", "port": 0, **restapi},
            },
            sources=[PluginSource.in_process(name, plugin) for name, plugin in plugins.items()],
        )
        await node.start()
        try:
            failed = [status for status in node.plugin_statuses() if status.reason]
            assert not failed, failed
            assert rest._service is not None
            assert rest._service.port is not None
            site = Site(node, tmp_path, rest._service.port, toy, identity, rest, log)
            yield site
            for socket in site.sockets:
                socket.close()
        finally:
            await node.stop()
            print(log.getvalue())

    return start
