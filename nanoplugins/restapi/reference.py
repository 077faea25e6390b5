"""The readable reference at ``/api/v2/docs``: HTML without script, made from the OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

from nanocore.errors import ErrorCode
from nanoplugins.restapi.endpoints import API
from nanoplugins.restapi.problems import STATUS, TITLES

STYLE_PATH = f"{API}/docs/style.css"

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: #0972d3; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1rem 1.5rem 6rem; }
nav ul { columns: 14rem; padding-left: 1.2rem; }
h2 { border-bottom: 1px solid var(--line); margin-top: 3rem; padding-bottom: .3rem; }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .6rem 0; padding: .5rem .9rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
summary b { color: var(--accent); display: inline-block; min-width: 4.5rem; }
summary span { opacity: .8; }
table { border-collapse: collapse; display: block; overflow-x: auto; width: 100%; }
th, td { border-top: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; }
code, pre { font: .88em/1.45 ui-monospace, monospace; }
pre { background: var(--soft); border-radius: .4rem; overflow-x: auto; padding: .7rem .9rem; }
.skip { left: -100vw; position: absolute; } .skip:focus { left: 1rem; }
"""


def reference_page(document: dict[str, Any]) -> str:
    """Return the page for an OpenAPI document."""
    by_tag: dict[str, list[str]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag[operation["tags"][0]].append(_operation(path, method, operation))
    contents = "".join(f'<li><a href="#{escape(tag)}">{escape(tag)}</a></li>' for tag in by_tag)
    sections = "".join(
        f'<section aria-labelledby="{escape(tag)}"><h2 id="{escape(tag)}">{escape(tag)}</h2>{"".join(parts)}</section>'
        for tag, parts in by_tag.items()
    )
    version = escape(str(document["info"]["version"]))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>API reference · Nano</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="stylesheet" href="{STYLE_PATH}"></head><body><a class="skip" href="#main">Skip to content</a>'
        f'<header><h1>Nano API, version {version}</h1></header><nav aria-label="Contents"><ul>{contents}'
        f'<li><a href="#errors">errors</a></li></ul></nav><main id="main">{_INTRODUCTION}{sections}{_errors()}</main>'
        "</body></html>"
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    parts = [f"<p>{escape(operation['description'])}</p>"]
    permission = operation.get("x-nano-permission")
    if permission:
        parts.append(f"<p>Permission: <code>{escape(permission)}</code></p>")
    rows = [
        (item["name"], f"{item['in']}{', required' if item['required'] else ''}", item["description"])
        for item in operation["parameters"]
    ]
    if rows:
        parts.append(_table(("Parameter", "Where", "What"), rows))
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None:
        required = body["schema"].get("required", ())
        fields = [
            (name, _kind(schema) + (", required" if name in required else ""), schema.get("description", ""))
            for name, schema in body["schema"]["properties"].items()
        ]
        parts.append("<h4>Body</h4>" + (_table(("Field", "Type", "What"), fields) if fields else "<p>Empty.</p>"))
        parts.append(_example(body["example"]))
    parts.append("<h4>Answers</h4>" + _answers(operation["responses"]))
    identity = escape(operation["operationId"])
    return (
        f'<details id="{identity}"><summary><b>{method.upper()}</b> <code>{escape(path)}</code> '
        f"<span>{escape(operation['summary'])}</span></summary>{''.join(parts)}</details>"
    )


def _answers(responses: dict[str, Any]) -> str:
    rows = [(status, response["description"]) for status, response in sorted(responses.items())]
    text = _table(("Status", "What"), rows)
    for status, response in sorted(responses.items()):
        example = response.get("content", {}).get("application/json", {}).get("example")
        if status < "3" and example is not None:
            text += _example(example)
    return text


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    cells = "".join(f"<th scope=col>{escape(text)}</th>" for text in head)
    lines = "".join(f"<tr>{''.join(_cell(text, is_name=not at) for at, text in enumerate(row))}</tr>" for row in rows)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table>"


def _cell(text: str, *, is_name: bool) -> str:
    return f"<td><code>{escape(text)}</code></td>" if is_name else f"<td>{_prose(text)}</td>"


def _prose(text: str) -> str:
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))


def _kind(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(part) for part in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return ", ".join(str(value) for value in schema["enum"])
    return str(schema.get("type", "any"))


def _example(value: object) -> str:
    return f"<pre><code>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</code></pre>"


def _errors() -> str:
    rows = "".join(
        f'<tr id="{code.value}"><td><code>{code.value}</code></td><td>{STATUS[code]}</td><td>{TITLES[code]}</td></tr>'
        for code in ErrorCode
    )
    return (
        '<section aria-labelledby="errors"><h2 id="errors">errors</h2><p>Every failure is '
        "<code>application/problem+json</code>; <code>code</code> is one of these, <code>detail</code> says what "
        "happened and what to do, <code>errors</code> lists every wrong field.</p><table><thead><tr>"
        "<th scope=col>Code</th><th scope=col>Status</th><th scope=col>Meaning</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></section>"
    )


_INTRODUCTION = f"""
<p>JSON, UTC times, bytes and seconds. Log in by <code>POST {API}/session</code> (browsers) or send
<code>Authorization: Bearer TOKEN</code> with a token of <code>POST {API}/tokens</code> (scripts). What takes long
answers <code>202</code> with an operation to follow at <code>{API}/operations/{{id}}?wait_seconds=30</code>.
Lists come in pages:
<code>limit</code>, <code>cursor</code>, <code>sort</code>, <code>q</code>, a filter for each field, and
<code>since_revision</code> for what changed. The description for programs is at
<a href="{API}/openapi.json">{API}/openapi.json</a>.</p>
"""
