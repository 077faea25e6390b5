"""Descriptions of what is served beside declared routes: uploads, events, consoles, health, documents."""

from __future__ import annotations

from typing import Any

from nanoplugins.restapi.endpoints import API

_TEXT = {"type": "string"}
_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "Identifier",
    "schema": _TEXT,
    "example": "6f1c2a5e-0b7d-4c1e-9a55-3f0e8a1d2b4c",
}
_TUS = {
    "name": "Tus-Resumable",
    "in": "header",
    "required": True,
    "description": "Version of the protocol",
    "schema": {"type": "string", "const": "1.0.0"},
    "example": "1.0.0",
}


def _json(description: str, properties: dict[str, tuple[str, str]], example: dict[str, Any]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {name: {"type": kind, "description": text} for name, (kind, text) in properties.items()},
    }
    return {"description": description, "content": {"application/json": {"schema": schema, "example": example}}}


def _operation(
    name: str, tag: str, summary: str, responses: dict[str, Any], *parameters: dict[str, Any], **more: object
) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "description": summary + ".",
        "tags": [tag],
        "parameters": list(parameters),
        "responses": responses,
        **more,
    }


def _query(name: str, text: str, example: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": text, "schema": _TEXT, "example": example}


_CONSOLE_BODY = {
    "required": False,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "kind": {
                        "type": "string",
                        "enum": ["screen", "serial"],
                        "default": "screen",
                        "description": "`screen` (RFB, for noVNC) or `serial` (bytes)",
                    }
                },
                "additionalProperties": False,
            },
            "example": {"kind": "screen"},
        }
    },
}
_VERSION = {"description": "Another version of the protocol; `Tus-Version` names ours"}
_PATCH_BODY = {
    "required": True,
    "content": {"application/offset+octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_RANGE = {
    "name": "Range",
    "in": "header",
    "required": False,
    "description": "One part of the file, in bytes",
    "schema": _TEXT,
    "example": "bytes=1048576-",
}
_READY = _json(
    "Ready, perhaps degraded",
    {"status": ("string", "ready, degraded or not_ready"), "checks": ("array", "Every part with its reason")},
    {"status": "ready", "checks": [{"name": "store", "ok": True, "reason": None}]},
)
_READY["content"]["application/json"]["schema"]["properties"]["checks"]["items"] = {"type": "object"}

SPECIAL_OPERATIONS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (
        f"{API}/instances/{{id}}/console",
        "post",
        _operation(
            "openConsole",
            "instances",
            "Get a single-use ticket for the instance's screen or serial console, good for 30 s",
            {
                "201": _json(
                    "The ticket",
                    {
                        "ticket": ("string", "Single-use secret, already part of `ws_path`"),
                        "ws_path": ("string", "Path and query to connect a WebSocket to, with the same login"),
                        "expires_at": ("string", "When the ticket ends if it is not used"),
                    },
                    {
                        "ticket": "q0sX…",
                        "ws_path": f"{API}/consoles/6f1c2a5e-0b7d-4c1e-9a55-3f0e8a1d2b4c/screen?ticket=q0sX…",
                        "expires_at": "2026-11-22T10:00:30+00:00",
                    },
                ),
                "409": {"description": "`wrong_state`: the instance has no console now"},
            },
            _ID,
            requestBody=_CONSOLE_BODY,
        ),
    ),
    (
        f"{API}/consoles/{{id}}/{{kind}}",
        "get",
        _operation(
            "connectConsole",
            "instances",
            "WebSocket: binary frames to and from the console",
            {"101": {"description": "Connected"}},
            _ID,
            {**_ID, "name": "kind", "description": "`screen` or `serial`", "example": "screen"},
            _query("ticket", "The ticket", "q0sX…"),
        ),
    ),
    (
        f"{API}/events",
        "get",
        _operation(
            "followEvents",
            "events",
            'WebSocket of changes: {"type":"hello","cursor"}, then {"type":"event","cursor","topic","id","revision",'
            '"is_deleted"}, and {"type":"reset","cursor"} when the client has to read its lists again',
            {"101": {"description": "Connected"}},
            _query("topics", "Nouns, separated by commas; default: all that you may read", "instances,operations"),
            _query("cursor", "Cursor of the last event seen, to go on after it", "a1b2-42"),
        ),
    ),
    (
        f"{API}/uploads/{{id}}",
        "head",
        _operation(
            "getUpload",
            "uploads",
            "tus 1.0: where to go on",
            {"200": {"description": "`Upload-Offset` and `Upload-Length` tell"}, "412": _VERSION},
            _ID,
            _TUS,
        ),
    ),
    (
        f"{API}/uploads/{{id}}",
        "patch",
        _operation(
            "continueUpload",
            "uploads",
            "tus 1.0: send bytes from `Upload-Offset` on",
            {
                "204": {"description": "Safe on disk up to the `Upload-Offset` in the answer"},
                "409": {"description": "`conflict`: the upload stands elsewhere; ask by HEAD"},
                "412": _VERSION,
                "415": {"description": "The body is not `application/offset+octet-stream`"},
            },
            _ID,
            _TUS,
            {
                "name": "Upload-Offset",
                "in": "header",
                "required": True,
                "description": "Where the body's bytes belong",
                "schema": {"type": "integer", "minimum": 0},
                "example": 0,
            },
            requestBody=_PATCH_BODY,
        ),
    ),
    *(
        (
            f"{API}/{noun}/{{id}}/content",
            "get",
            _operation(
                name,
                noun,
                f"Download a ready {noun.removesuffix('s').replace('-', ' ')}; `Range` asks for a part of it",
                {
                    "200": {"description": "The whole file", "content": _BYTES},
                    "206": {"description": "The part; `Content-Range` says which", "content": _BYTES},
                    "304": {"description": "The client has it already"},
                    "409": {"description": "`wrong_state`: it is not ready"},
                    "416": {"description": "There is no such part"},
                },
                _ID,
                _RANGE,
            ),
        )
        for noun, name in (("disk-images", "downloadDiskImage"), ("media-images", "downloadMediaImage"))
    ),
    (
        "/healthz",
        "get",
        _operation(
            "getHealth",
            "health",
            "Whether the process lives",
            {"200": _json("It does", {"status": ("string", "ok")}, {"status": "ok"})},
            security=[],
        ),
    ),
    (
        "/readyz",
        "get",
        _operation(
            "getReadiness",
            "health",
            "Whether every part works; reasons are for those who are logged in",
            {"200": _READY, "503": {**_READY, "description": "Not ready"}},
            security=[],
        ),
    ),
    (
        "/metrics",
        "get",
        _operation(
            "getMetrics",
            "health",
            "Counters for Prometheus",
            {"200": {"description": "Prometheus' text format", "content": {"text/plain": {"schema": _TEXT}}}},
        ),
    ),
)
