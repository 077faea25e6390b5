"""One declared ``Route``, ready to serve: requests to messages, replies to answers. No I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from nanocore.capabilities.identity import CreateSession
from nanocore.capabilities.rest import Route
from nanocore.contracts.handler import Reply
from nanocore.contracts.listing import ListQuery, PageInfo
from nanocore.contracts.operation import Operation
from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import Request, decode_json, encode_json, structs
from nanoplugins.restapi.problems import Answer
from nanoplugins.restapi.schemas import (
    body_schema,
    is_plain_text,
    item_paths,
    raise_errors,
    takes_many,
    text_schema,
    validate_into,
)

API = "/api/v2"
MAX_DEPTH = 32
MAX_VALUES = 2000
"""Validation takes some 15 µs for each value of a body, on the loop."""
MAX_PARAMETERS = 64
SET_BY_HEADERS = frozenset({"idempotency_key", "expect_revision"})
_PARAMETER = re.compile(r"\{([a-z_]+)\}")


class Endpoint:
    """Compiled once at start-up. Raises ``invalid_argument`` there for a route that can't be served safely."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.message: type[Request[Any]] = route.message
        if route.message.permission is None:
            raise _bad_route(route, f"{route.message.__name__} declares no permission")
        infos = {info.encode_name: info for info in structs.fields(route.message)}
        self.path_names = _PARAMETER.findall(route.path)
        constants = dict(route.constants)
        for name in (*self.path_names, *constants):
            if name not in infos:
                raise _bad_route(route, f"{route.message.__name__} has no field {name}")
        self.has_idempotency_key = "idempotency_key" in infos
        self.has_expect_revision = "expect_revision" in infos
        self.is_list_query = issubclass(route.message, ListQuery)
        taken = {*self.path_names, *constants, *SET_BY_HEADERS} | ({"filter"} if self.is_list_query else set())
        if route.message is CreateSession:
            taken.add("address")
        self.free = {name: info for name, info in infos.items() if name not in taken}
        """What comes from the query (GET, DELETE) or else from the body."""
        self.takes_body = route.method in ("POST", "PUT", "PATCH")
        self._constants = constants
        self._path_schema = text_schema(infos[name] for name in self.path_names)
        self._query_schema = text_schema(() if self.takes_body else self.free.values())
        self._has_plain_path = all(is_plain_text(infos[name].type) for name in self.path_names)
        self._needs_query = not self.takes_body and any(info.required for info in self.free.values())
        self._body_schema = body_schema(self.free.values())
        self.filters = item_paths(route.item) if self.is_list_query and route.item is not None else frozenset()

    def build(
        self,
        path: Mapping[str, str],
        query: Mapping[str, list[str]],
        body: bytes,
        extra: Mapping[str, Any],
    ) -> Request[Any]:
        """Return the message for a request; ``extra`` are fields that headers or the API itself set.

        Raises ``invalid_argument`` with every wrong field in ``errors``.
        """
        errors: dict[str, list[str]] = {}
        # Plain texts, by far the most, need no schema: the decoder below checks them.
        data = dict(path) if self._has_plain_path else validate_into(self._path_schema, dict(path), errors)
        if query or self._needs_query:
            data |= self._from_query(query, errors)
        if self.takes_body:
            raw = parse_body(body)
            validate_into(self._body_schema, raw, errors)
            data |= raw
        elif body:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"{self.route.method} takes no body; use query parameters")
        raise_errors(errors)
        data |= self._constants
        data |= {name: value for name, value in extra.items() if value is not None}
        # The strict decoder has the last word: what it refuses never leaves this node.
        return decode_json(encode_json(data), self.message)

    def _from_query(self, query: Mapping[str, list[str]], errors: dict[str, list[str]]) -> dict[str, Any]:
        if len(query) > MAX_PARAMETERS:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"more than {MAX_PARAMETERS} query parameters")
        own: dict[str, Any] = {}
        filters: dict[str, str] = {}
        for name, values in query.items():
            if not self.takes_body and name in self.free:
                own[name] = self._value(name, values, errors)
            elif name in self.filters:
                filters[name] = ",".join(values)
            else:
                errors[name] = [self._unknown()]
        loaded = validate_into(self._query_schema, own, errors)
        if self.is_list_query:
            self._check_sort(str(own.get("sort", "")), errors)
            loaded["filter"] = filters
        return loaded

    def _value(self, name: str, values: list[str], errors: dict[str, list[str]]) -> Any:  # noqa: ANN401
        if takes_many(self._query_schema, name):
            return values
        if len(values) > 1:
            errors[name] = ["Must be given once."]
        return values[-1]

    def _check_sort(self, sort: str, errors: dict[str, list[str]]) -> None:
        if sort and sort.removeprefix("-") not in self.filters:
            errors["sort"] = [f"Unknown field. Fields: {_told(self.filters)}."]

    def _unknown(self) -> str:
        known = self.filters | (set() if self.takes_body else set(self.free))
        return f"Unknown parameter. Known: {_told(known)}." if known else "This request takes no parameters."

    def answer(self, reply: Reply[Any]) -> Answer:
        """Return the answer for a reply."""
        body = _chosen(reply.body) if self.route.is_either else reply.body
        if body is None:
            return Answer(204)
        if isinstance(body, PageInfo):
            return self._page(body, reply)
        if isinstance(body, list):
            items = b",".join(encode_json(item) for item in body)
            text = b'{"items":[%b],"next_cursor":null,"total":%d,"revision":null}' % (items, len(body))
            return Answer(200, text)
        if isinstance(body, Operation) and self.route.method != "GET":
            return Answer(202, encode_json(body), {"Location": f"{API}/operations/{body.id}"})
        headers = {}
        if self.route.location is not None:
            headers["Location"] = API + _PARAMETER.sub(lambda found: str(getattr(body, found[1])), self.route.location)
        return Answer(200 if self.route.status in (202, 204) else self.route.status, encode_json(body), headers)

    def _page(self, info: PageInfo, reply: Reply[Any]) -> Answer:
        etag = {"ETag": f'"{info.revision}"'}
        if not self.route.is_list:
            return Answer(self.route.status, bytes(reply.blobs[0]), etag)
        tail = b'],"next_cursor":%b,"total":%d,"revision":%d' % (
            encode_json(info.next_cursor),
            info.total,
            info.revision,
        )
        if info.deleted or info.is_reset:
            tail += b',"deleted":%b,"is_reset":%b' % (encode_json(info.deleted), encode_json(info.is_reset))
        # The items arrive as JSON and are copied once: head and tail go into the first and the last of them.
        items = [*reply.blobs] or [b""]
        items[0] = b'{"items":[%b' % bytes(items[0])
        items[-1] = b"%b%b}" % (bytes(items[-1]), tail)
        return Answer(200, b",".join(items), etag)


def _told(known: Collection[str]) -> str:
    """Return names for an error; of what is in other fields one example, as there may be a hundred."""
    inner = sorted(name for name in known if "." in name)
    text = ", ".join(sorted(name for name in known if "." not in name))
    return f"{text}, and what is in these, such as {inner[0]}" if inner else text


def _chosen(body: Any) -> Any:  # noqa: ANN401  any result with alternatives
    return next(value for value in structs.astuple(body) if value is not None)


def parse_body(body: bytes) -> dict[str, Any]:
    """Return the JSON object that ``body`` is; none for an empty one. Raises ``invalid_argument``."""
    if not body:
        return {}
    parsed: Any = decode_json(body, object)
    if not isinstance(parsed, dict):
        raise NanoError(ErrorCode.INVALID_ARGUMENT, "the body must be a JSON object")
    level: list[Any] = [parsed]
    count = 0
    for _ in range(MAX_DEPTH):
        values = [inner for value in level for inner in (value.values() if isinstance(value, dict) else value)]
        count += len(values)
        if count > MAX_VALUES:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"the body has more than {MAX_VALUES} values")
        level = [value for value in values if isinstance(value, dict | list)]
        if not level:
            return parsed
    raise NanoError(ErrorCode.INVALID_ARGUMENT, f"the body is nested deeper than {MAX_DEPTH} levels")


def _bad_route(route: Route, text: str) -> NanoError:
    return NanoError(ErrorCode.INVALID_ARGUMENT, f"route {route.key} can't be served: {text}", reason="restapi.route")
