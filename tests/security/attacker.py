"""Raw ZeroMQ sockets with whatever key and frames a test wants, against the ports of a real node."""

from __future__ import annotations

import asyncio
import importlib
import io
import pkgutil
import re
from collections.abc import Callable, Iterator
from typing import Any, Self

import msgspec
import zmq

import nanocore.capabilities
import nanocore.contracts
from nanocore.clock import SystemClock
from nanocore.errors import NanoError
from nanocore.ids import new_id
from nanocore.kernel.enrolment import join
from nanocore.kernel.trust import Identity, JoinToken
from nanocore.logs import make_logger
from nanocore.transport.curve import KeyPair
from nanocore.wire import Request, decode, encode
from nanocore.wire.envelope import ErrorBody, Header, Kind, pack, unpack
from tests.security.site import Site

Prepare = Callable[[zmq.Socket[bytes]], None]


class Attacker:
    """A DEALER; ``prepare`` sets what the keys do not."""

    def __init__(
        self,
        site: Site,
        keys: KeyPair | None,
        name: str,
        *,
        port: int | None = None,
        prepare: Prepare = lambda _: None,
        server_key: str | None = None,
    ) -> None:
        self.site = site
        self.name = name
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.linger = 0
        if keys is not None:
            self.socket.curve_publickey, self.socket.curve_secretkey = keys.public.encode(), keys.secret.encode()
            self.socket.curve_serverkey = (server_key or public_key(site)).encode()
        prepare(self.socket)
        self.socket.connect(f"tcp://127.0.0.1:{port or site.message_port}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close(0)
        self._context.term()

    def send(self, *frames: bytes) -> None:
        """Send frames as they are; waits for a connection for 5 s at most."""
        self.socket.sndtimeo = 5000
        self.socket.send_multipart(list(frames))

    def say(self, op: str, body: bytes = b"\x80", *, kind: Kind = Kind.REQUEST, **header: Any) -> str:
        """Send a well-formed frame; return its id."""
        fields: dict[str, Any] = {"id": new_id(), "src": self.name, "dst": self.site.node_id, "op": op, **header}
        self.send(pack(Header(kind=kind, **fields), body))
        return str(fields["id"])

    def hear(self, seconds: float = 5.0) -> tuple[Header, memoryview] | None:
        """Return the next frame, ``None`` if nothing comes."""
        if not self.socket.poll(int(seconds * 1000)):
            return None
        return unpack(self.socket.recv_multipart()[0])

    def ask(self, op: str, body: bytes = b"\x80", **header: Any) -> NanoError | memoryview:
        """Return the refusal, or the body of the answer, to a request."""
        id = self.say(op, body, **header)
        while (heard := self.hear()) is not None:
            if heard[0].id == id:
                return decode(heard[1], ErrorBody).to_error() if heard[0].kind is Kind.ERROR else heard[1]
        raise TimeoutError(f"no answer to {op}")

    def call(self, message: Request[Any], **header: Any) -> NanoError | memoryview:
        """Send a message as its type has it."""
        return self.ask(message.op, encode(message), **header)


def public_key(site: Site) -> str:
    """Return the node's public key, as an invite tells it."""
    return JoinToken.parse(site.invite()["token"]).core_key


def turned(site: Site, name: str, *roles: str) -> Identity:
    """Join with a key of our own and return it: a valid node's key in bad hands."""
    identity = Identity.new()
    log = make_logger(io.StringIO())
    token = site.invite(roles=list(roles) or ["cell"])["token"]
    asyncio.run(join(token, identity, name=name, clock=SystemClock(), log=log))
    return identity


def all_requests() -> Iterator[type[Request[Any]]]:
    """Yield every message type of the platform that asks for something."""
    for package in (nanocore.capabilities, nanocore.contracts):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    found: list[type[Any]] = [Request]
    while found:
        kind = found.pop()
        found += kind.__subclasses__()
        if kind.op and kind.__module__.startswith("nanocore."):
            yield kind


def plausible(kind: type[Any]) -> bytes:
    """Return a body that has every required field, with something in it."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if field.required:
            values[field.encode_name] = _something(field.type)
    return msgspec.msgpack.encode(values)


TEXTS = (new_id(), "/a/path", "a-name", "0" * 64)
"""One of these fits every pattern."""


def _something(kind: Any) -> Any:
    schema = msgspec.json.schema(kind)
    while "$ref" in schema:
        schema = {**schema["$defs"][schema["$ref"].rpartition("/")[2]], "$defs": schema["$defs"]}
    if "enum" in schema:
        return schema["enum"][0]
    least = schema.get("minimum", 1)
    text = next((text for text in TEXTS if re.search(schema.get("pattern", ""), text)), new_id())
    known = {
        "string": text[: schema.get("maxLength")],
        "integer": least,
        "number": 1.0,
        "boolean": True,
        "array": [],
        "object": {},
    }
    return known.get(schema.get("type", ""), new_id())
