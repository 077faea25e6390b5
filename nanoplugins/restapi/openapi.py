"""The OpenAPI 3.1 document, made from the routes and their message and result types."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from nanocore.capabilities.identity import NewSession
from nanocore.capabilities.rest import Route
from nanocore.contracts.listing import PageInfo
from nanocore.contracts.operation import Operation
from nanocore.errors import ErrorCode
from nanocore.wire import PUBLIC, result_type, schema_components, structs
from nanoplugins.restapi.descriptions import EXAMPLES, describe
from nanoplugins.restapi.endpoints import API, Endpoint
from nanoplugins.restapi.problems import CONTENT_TYPE, STATUS, TITLES
from nanoplugins.restapi.schemas import MAX_INTEGER
from nanoplugins.restapi.special_paths import SPECIAL_OPERATIONS

JSON = "application/json"
_REF = "#/components/schemas/"
_MAX_EXAMPLE_DEPTH = 6
_ALWAYS = (
    ErrorCode.INVALID_ARGUMENT,
    ErrorCode.INTERNAL,
    ErrorCode.UNAVAILABLE,
    ErrorCode.DEADLINE_EXCEEDED,
)
_LOGGED_IN = (ErrorCode.UNAUTHENTICATED, ErrorCode.PERMISSION_DENIED)
_CHANGING = (
    ErrorCode.ALREADY_EXISTS,
    ErrorCode.WRONG_STATE,
    ErrorCode.UNSUPPORTED,
    ErrorCode.NO_CAPACITY,
    ErrorCode.BUSY,
    ErrorCode.UNKNOWN_OUTCOME,
)
Schema = dict[str, Any]


class Description:
    """Builds the document once at start-up; pure."""

    def __init__(self, endpoints: Iterable[Endpoint], version: str) -> None:
        self._endpoints = sorted(endpoints, key=lambda endpoint: (endpoint.route.path, endpoint.route.method))
        self._version = version
        self._schemas: dict[str, Schema] = {}
        self._refs: dict[Any, Schema] = {}

    def build(self) -> dict[str, Any]:
        """Return the document."""
        self._collect_schemas()
        paths: dict[str, dict[str, Any]] = {}
        for endpoint in self._endpoints:
            paths.setdefault(API + endpoint.route.path, {})[endpoint.route.method.lower()] = self._operation(endpoint)
        for path, method, operation in SPECIAL_OPERATIONS:
            errors = (ErrorCode.UNAUTHENTICATED, ErrorCode.PERMISSION_DENIED, ErrorCode.NOT_FOUND, *_ALWAYS)
            responses = {**_error_responses(errors), **operation["responses"]}
            paths.setdefault(path, {})[method] = {**operation, "responses": responses}
        used = self._without_messages()
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "Nano",
                "version": self._version,
                "description": "Everything that the portal and the command line do goes through this API.",
                "license": {"name": "MIT", "identifier": "MIT"},
            },
            "servers": [{"url": "/", "description": "This node"}],
            "tags": [{"name": tag, "description": f"Everything about {tag.replace('-', ' ')}"} for tag in self._tags()],
            "security": [{"token": []}, {"session": []}],
            "paths": paths,
            "components": {"schemas": {**used, "ProblemDetails": _problem_schema()}, "securitySchemes": _SECURITY},
        }

    def _collect_schemas(self) -> None:
        kinds: list[Any] = []
        for endpoint in self._endpoints:
            route = endpoint.route
            kinds += [route.message, *_results(route), *([route.item] if route.item else [])]
        kinds = [kind for index, kind in enumerate(kinds) if kind is not type(None) and kind not in kinds[:index]]
        refs, self._schemas = schema_components([*kinds, PageInfo, Operation], ref_template=_REF + "{name}")
        self._refs = {_key(kind): ref for kind, ref in zip([*kinds, PageInfo, Operation], refs, strict=True)}
        for name, field in _NEVER_SHOWN:
            if name in self._schemas:
                del self._schemas[name]["properties"][field]
                self._schemas[name]["required"].remove(field)
        for schema in self._schemas.values():
            _complete(schema)

    def _without_messages(self) -> dict[str, Schema]:
        messages = {self._name(endpoint.message) for endpoint in self._endpoints}
        return {name: schema for name, schema in self._schemas.items() if name not in messages}

    def _name(self, kind: Any) -> str:  # noqa: ANN401  a type expression
        return str(self._refs[_key(kind)]["$ref"]).removeprefix(_REF)

    def _tags(self) -> list[str]:
        own = {_tag(endpoint.route.path) for endpoint in self._endpoints}
        return sorted(own | {tag for _, _, operation in SPECIAL_OPERATIONS for tag in operation["tags"]})

    def _operation(self, endpoint: Endpoint) -> dict[str, Any]:
        route = endpoint.route
        properties: dict[str, Schema] = self._schemas[self._name(route.message)]["properties"]
        operation: dict[str, Any] = {
            "operationId": _operation_id(route.method, route.path),
            "summary": route.summary,
            "description": _prose(route.message.__doc__),
            "tags": [_tag(route.path)],
            "parameters": self._parameters(endpoint, properties),
            "responses": {**self._success(endpoint), **_error_responses(self._errors(endpoint))},
            "x-nano-permission": route.message.permission,
        }
        if route.message.permission == PUBLIC:
            operation["security"] = []
        if endpoint.takes_body:
            operation["requestBody"] = self._body(endpoint, properties)
        return operation

    def _parameters(self, endpoint: Endpoint, properties: Mapping[str, Schema]) -> list[dict[str, Any]]:
        found = [_parameter(name, "path", properties[name], is_required=True) for name in endpoint.path_names]
        required = {name for name, info in endpoint.free.items() if info.required}
        if not endpoint.takes_body:
            found += [
                _parameter(name, "query", properties[name], is_required=name in required) for name in endpoint.free
            ]
        for path in sorted(name for name in endpoint.filters if "." not in name and name not in endpoint.free):
            found.append(
                {
                    "name": path,
                    "in": "query",
                    "required": False,
                    "description": f"Only items whose `{path}` is this; commas separate alternatives",
                    "schema": {"type": "string"},
                    "example": "web-1",
                }
            )
        headers = [] if endpoint.route.method == "GET" else [("Idempotency-Key", _IDEMPOTENCY, "5f0c1c1e-retry-me")]
        if endpoint.has_expect_revision:
            headers.append(("If-Match", "ETag that the object must still have", '"1763800000000042"'))
        if endpoint.route.method == "GET" and endpoint.route.item is not None:
            headers.append(("If-None-Match", "ETag that the client has; answered by 304", '"1763800000000042"'))
        return found + [
            {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"},
             "example": example}
            for name, text, example in headers
        ]  # fmt: skip

    def _body(self, endpoint: Endpoint, properties: Mapping[str, Schema]) -> dict[str, Any]:
        required = [name for name, info in endpoint.free.items() if info.required]
        schema: Schema = {
            "type": "object",
            "properties": {name: properties[name] for name in endpoint.free},
            "additionalProperties": False,
        }
        if required:
            schema["required"] = required
        example = endpoint.route.example if endpoint.route.example is not None else self._example(schema)
        return {"required": bool(required), "content": {JSON: {"schema": schema, "example": example}}}

    def _success(self, endpoint: Endpoint) -> dict[str, Any]:
        route = endpoint.route
        return {
            status: answer for result in _results(route) for status, answer in self._answers(endpoint, result).items()
        }

    def _answers(self, endpoint: Endpoint, result: Any) -> dict[str, Any]:  # noqa: ANN401  a type expression
        route = endpoint.route
        headers = {"X-Request-Id": _header("Id of the request, as in the log")}
        if result is type(None):
            return {"204": {"description": "Done", "headers": headers}}
        schema = self._result_schema(endpoint, result)
        status = str(route.status if route.status != 204 else 200)  # noqa: PLR2004  HTTP
        text = route.summary
        if result is Operation and route.method != "GET":
            status, text = "202", "Begun; the operation tells how it goes on"
            headers["Location"] = _header("Where the operation is")
        elif route.location is not None:
            headers["Location"] = _header("Where the new object is")
        if result is PageInfo:
            headers["ETag"] = _header("The revision")
        content = {JSON: {"schema": schema, "example": self._example(schema)}}
        answers = {status: {"description": text, "headers": headers, "content": content}}
        if result is PageInfo and route.method == "GET":
            answers["304"] = {"description": "Nothing has changed since the ETag in If-None-Match"}
        return answers

    def _result_schema(self, endpoint: Endpoint, result: Any) -> Schema:  # noqa: ANN401  a type expression
        item = endpoint.route.item
        if result is PageInfo and not endpoint.route.is_list:
            return self._refs[_key(item)] if item is not None else {"type": "object"}
        if result is PageInfo or self._refs[_key(result)].get("type") == "array":
            inner = self._refs[_key(item)] if item is not None else self._refs[_key(result)].get("items", {})
            return _list_schema(inner)
        return self._refs[_key(result)]

    def _errors(self, endpoint: Endpoint) -> list[ErrorCode]:
        codes = [*_ALWAYS]
        if endpoint.message.permission != PUBLIC:
            codes += _LOGGED_IN
        else:
            codes += (ErrorCode.UNAUTHENTICATED, ErrorCode.BUSY)
        if endpoint.path_names or any(name.endswith(("_id", "_ids")) for name in endpoint.free):
            codes.append(ErrorCode.NOT_FOUND)
        if endpoint.route.method != "GET":
            codes += _CHANGING
        if endpoint.has_expect_revision:
            codes.append(ErrorCode.CONFLICT)
        return codes

    def _example(self, schema: Schema, name: str = "", depth: int = 0) -> Any:  # noqa: ANN401, PLR0911  JSON; one a type
        """Return a value that fits ``schema``; field names choose one that reads well."""
        if "$ref" in schema:
            target = self._schemas.get(schema["$ref"].removeprefix(_REF), {})
            return self._example(target, name, depth + 1) if depth < _MAX_EXAMPLE_DEPTH else {}
        if "enum" in schema:
            return schema["enum"][0]
        if schema.get("format") == "date-time":
            return "2026-11-22T10:00:00Z"
        kind = _kinds(schema)
        if name in EXAMPLES and _fits(EXAMPLES[name], kind) and "$ref" not in schema.get("items", {}):
            return EXAMPLES[name]
        if name.endswith("_id") and "string" in kind:
            return EXAMPLES["id"]
        if "anyOf" in schema:
            return None if "null" in kind else self._example(schema["anyOf"][0], name, depth)
        if schema.get("type") == "object":
            inner = schema.get("properties", {})
            return {key: self._example(value, key, depth) for key, value in inner.items()}
        if schema.get("type") == "array":
            return [self._example(schema["items"], name, depth)] if schema.get("items") else []
        if "default" in schema:
            return schema["default"]
        return {"integer": schema.get("minimum", 1), "number": 1.5, "boolean": True}.get(
            next(iter(kind - {"null"}), ""), "text"
        )


def _results(route: Route) -> list[Any]:
    """Return the types that the answer may have."""
    result = result_type(route.message)
    if not route.is_either:
        return [result]
    return [kind for info in structs.fields(result) for kind in get_args(info.type) if kind is not type(None)]


def _operation_id(method: str, path: str) -> str:
    words = [word for word in re.split(r"[/{}_-]+", path) if word]
    return method.lower() + "".join(word.capitalize() for word in words)


def _tag(path: str) -> str:
    return path.strip("/").split("/")[0]


def _key(kind: Any) -> Any:  # noqa: ANN401  a type expression
    return kind if isinstance(kind, type) else repr(kind)


def _prose(doc: str | None) -> str:
    return " ".join((doc or "").replace("``", "`").split())


def _complete(schema: Schema) -> None:
    """Describe every property and say which texts are times."""
    if "description" in schema:
        schema["description"] = _prose(schema["description"])
    for name, inner in schema.get("properties", {}).items():
        if "$ref" in inner:
            # Beside a reference a description is allowed since OpenAPI 3.1.
            inner.setdefault("description", describe(name))
        inner.setdefault("description", describe(name))
        for part in (inner, *inner.get("anyOf", ())):
            if part.get("type") == "integer":
                part["format"] = "int64"
                part.setdefault("maximum", MAX_INTEGER)
        if name.endswith("_at") or name == "since":
            for part in (inner, *inner.get("anyOf", ())):
                if part.get("type") == "string":
                    part["format"] = "date-time"


def _kinds(schema: Schema) -> set[str]:
    kinds: set[str] = set()
    for part in schema.get("anyOf", [schema]):
        kind = part.get("type", "object")
        kinds |= set(kind) if isinstance(kind, list) else {kind}
    return kinds


def _fits(value: object, kinds: set[str]) -> bool:
    if value is None:
        return "null" in kinds
    names = {str: "string", int: "integer", list: "array", dict: "object"}
    return names.get(type(value), "") in kinds


def _parameter(name: str, place: str, schema: Schema, *, is_required: bool) -> dict[str, Any]:
    bare = {key: value for key, value in schema.items() if key != "description"}
    kind = _kinds(schema)
    example = EXAMPLES.get(name, EXAMPLES["id"] if name.endswith("id") else None)
    if example is None or not _fits(example, kind):
        example = schema.get("default")
        if example is None:
            example = 1 if kind & {"integer", "number"} else "text"
    return {
        "name": name,
        "in": place,
        "required": is_required,
        "description": schema.get("description") or describe(name),
        "schema": bare,
        "example": example,
    }


def _header(text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string"}}


def _list_schema(item: Schema) -> Schema:
    return {
        "type": "object",
        "required": ["items", "next_cursor", "total", "revision"],
        "properties": {
            "items": {"type": "array", "items": item, "description": describe("items")},
            "next_cursor": {"type": ["string", "null"], "description": describe("next_cursor")},
            "total": {"type": "integer", "description": describe("total")},
            "revision": {"type": ["integer", "null"], "description": describe("revision")},
            "deleted": {"type": "array", "items": {"type": "string"}, "description": describe("deleted")},
            "is_reset": {"type": "boolean", "description": describe("is_reset")},
        },
    }


def _error_responses(codes: Iterable[ErrorCode]) -> dict[str, Any]:
    """Return one response a status, naming every code that comes with it."""
    by_status: dict[int, list[ErrorCode]] = {}
    for code in ErrorCode:
        if code in set(codes):
            by_status.setdefault(STATUS[code], []).append(code)
    return {
        str(status): {
            "description": "; ".join(f"`{code.value}`: {TITLES[code]}" for code in found),
            "headers": {"X-Request-Id": _header("Id of the request, as in the log")},
            "content": {
                CONTENT_TYPE: {"schema": {"$ref": f"{_REF}ProblemDetails"}, "example": _problem_example(found[0])}
            },
        }
        for status, found in sorted(by_status.items())
    }


def _problem_example(code: ErrorCode) -> dict[str, Any]:
    return {
        "type": f"{API}/docs#{code.value}",
        "title": TITLES[code],
        "status": STATUS[code],
        "detail": "what happened, to which object, and what to do",
        "code": code.value,
        "request_id": "0f2f3f0e-8a43-4a5c-8d6f-2f9a31a7d1aa",
    }


def _problem_schema() -> Schema:
    texts = {
        "type": "Link to the code's description",
        "title": "The code in words",
        "detail": "What happened, to which object, and what to do",
        "reason": "A more precise word than the code, from the plugin that failed",
        "field": "Path of the argument at fault",
        "request_id": "Id of the request, as in the log",
        "incident": "Id under which the log has an internal error",
    }
    properties: dict[str, Schema] = {name: {"type": "string", "description": text} for name, text in texts.items()}
    properties["status"] = {"type": "integer", "description": "HTTP status"}
    properties["code"] = {
        "type": "string",
        "enum": [code.value for code in ErrorCode],
        "description": "What went wrong, from the closed list",
    }
    properties["errors"] = {
        "type": "object",
        "description": "Every wrong argument: its path, and what is wrong with it",
        "additionalProperties": {"type": "array", "items": {"type": "string"}},
    }
    return {
        "type": "object",
        "title": "ProblemDetails",
        "description": "A failure (RFC 9457).",
        "required": ["type", "title", "status", "detail", "code", "request_id"],
        "properties": properties,
    }


_NEVER_SHOWN = ((NewSession.__name__, "credential"),)
"""Fields of results that stay in the API."""

_IDEMPOTENCY = "Any text of yours; the same request with the same key within 24 h is done once"

_SECURITY = {
    "token": {"type": "http", "scheme": "bearer", "description": "API token, made by `POST /api/v2/tokens`"},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-nano_session",
        "description": "Cookie of `POST /api/v2/session`; changes also need the header `X-CSRF-Token`",
    },
}
