"""The OpenAPI document and the reference: valid, complete, and what the API really does."""

from __future__ import annotations

import importlib
import re
from html.parser import HTMLParser
from typing import Any

from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from nanocore.capabilities.rest import Route
from nanoplugins.restapi.descriptions import FIELDS
from nanoplugins.restapi.endpoints import Endpoint
from nanoplugins.restapi.openapi import Description
from tests.restapi.conftest import Serve
from tests.restapi.toys import instance, run

OWNERS = ("compute", "identity_local", "images", "metrics", "network", "restapi", "search")


def every_route() -> list[Route]:
    """Return the routes of every first-party plugin that has some."""
    routes: list[Route] = []
    for owner in OWNERS:
        plugin = importlib.import_module(f"nanoplugins.{owner}.plugin").Plugin()
        routes += plugin.nano_rest_routes()
    return routes


def document() -> dict[str, Any]:
    return Description([Endpoint(route) for route in every_route()], "1.0").build()


def schemas_of(part: Any) -> Any:
    if isinstance(part, dict):
        if isinstance(part.get("properties"), dict):
            yield part
        for value in part.values():
            yield from schemas_of(value)
    elif isinstance(part, list):
        for value in part:
            yield from schemas_of(value)


def test_valid_and_complete() -> None:
    found = document()
    validate(found)
    operations = [operation for path in found["paths"].values() for operation in path.values()]
    identifiers = [operation["operationId"] for operation in operations]
    assert len(set(identifiers)) == len(identifiers)
    for operation in operations:
        assert operation["summary"], operation["operationId"]
        assert operation["description"], operation["operationId"]
        assert "500" in operation["responses"], operation["operationId"]
        for parameter in operation["parameters"]:
            assert parameter["description"]
            assert "example" in parameter
        for status, response in operation["responses"].items():
            assert response["description"]
            for kind, content in response.get("content", {}).items():
                assert "example" in content or kind in {"text/plain", "application/octet-stream"}, (
                    operation["operationId"],
                    status,
                )
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            assert "example" in content or kind != "application/json", operation["operationId"]


def test_every_field_is_described() -> None:
    found = document()
    undescribed = set()
    for schema in schemas_of(found):
        for name, field in schema["properties"].items():
            if not field.get("description"):
                undescribed.add(name)
    assert not undescribed
    # Where the message says nothing, the word has to be in our list, not made up from the name.
    made_up = {
        name
        for schema in found["components"]["schemas"].values()
        for name, field in schema.get("properties", {}).items()
        if name not in FIELDS and field["description"] == name.replace("_", " ").capitalize()
    }
    assert not made_up


def test_examples_fit_their_schemas() -> None:
    found = document()

    def check(example: Any, schema: dict[str, Any], where: str) -> None:
        validator = OAS31Validator({**schema, "components": found["components"]})
        problems = [f"{where}: {list(error.path)} {error.message}" for error in validator.iter_errors(example)]
        assert not problems, problems

    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body is not None:
                check(body["example"], body["schema"], where)
            for status, response in operation["responses"].items():
                for content in response.get("content", {}).values():
                    if "example" in content:
                        check(content["example"], content["schema"], f"{where} {status}")


def test_answers_fit_their_schemas(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            found = (await client.get("/openapi.json")).json()
            validate(found)
            await site.login(client)
            one = instance("web-1")
            site.toy.table.put(one)
            for template, path in (
                ("/instances", "/instances?limit=1"),
                ("/instances/{id}", f"/instances/{one.id}"),
                ("/session", "/session"),
                ("/plugins", "/plugins"),
                ("/system", "/system"),
                ("/tokens", "/tokens"),
                ("/operations", "/operations"),
            ):
                answer = await client.get(path)
                content = found["paths"][f"/api/v2{template}"]["get"]["responses"]["200"]["content"]
                schema = content["application/json"]["schema"]
                errors = OAS31Validator({**schema, "components": found["components"]}).iter_errors(answer.json())
                assert not [error.message for error in errors], path
            problem = (await client.post("/instances", json={})).json()
            schema = found["components"]["schemas"]["ProblemDetails"]
            assert not list(OAS31Validator(schema).iter_errors(problem))

    run(main)


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_reference_page(serve: Serve) -> None:
    async def main() -> None:
        async with serve() as site, site.client() as client:
            answer = await client.get("/docs")
            assert answer.status_code == 200
            page = Page()
            page.feed(answer.text)
            ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
            assert len(set(ids)) == len(ids)
            assert {"postInstances", "getOperationsId", "not_found", "errors"} <= set(ids)
            for tag, attributes in page.tags:
                # The policy allows neither; a browser would leave them out without a word.
                assert tag not in ("script", "style")
                assert not any(name == "style" or name.startswith("on") for name in attributes)
                target = attributes.get("href") or attributes.get("src") or ""
                assert not re.match(r"(https?:)?//", target), target
                if target.startswith("#"):
                    assert target[1:] in ids
            style = await client.get(site.base + "/api/v2/docs/style.css")
            assert style.headers["Content-Type"].startswith("text/css")
            assert "style-src 'self'" in answer.headers["Content-Security-Policy"]

    run(main)
