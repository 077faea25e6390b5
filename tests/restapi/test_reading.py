"""The short way of a GET and the long one give the same answers."""

from __future__ import annotations

import pytest
from tornado import httputil

from nanoplugins.restapi import application
from tests.restapi.conftest import Serve
from tests.restapi.toys import instance, run

LONG_WAY = {"Content-Length": "0"}
"""A GET that announces a body, even an empty one, is served by the handler that can take one."""
PATHS = (
    "/instances",
    "/instances?limit=1&sort=name",
    "/instances?limit=none",
    "/instances?surprise=1",
    "/instances/{id}",
    "/instances/nobody",
    "/plugins",
    "/users/me",
    "/operations",
    "/instances?q=%ff",
    "/instances?q=%00web%0a",
)


def test_both_ways_answer_alike(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bool] = []

    def spy(request: httputil.HTTPServerRequest) -> bool:
        taken.append(is_plain(request))
        return taken[-1]

    is_plain = application.is_plain_read
    monkeypatch.setattr(application, "is_plain_read", spy)

    async def main() -> None:
        async with serve() as site, site.client() as client:
            one = instance("web-1")
            site.toy.table.put(one)
            token = await site.token()
            who = {"Authorization": f"Bearer {token}"}
            revision = (await client.get("/instances", headers=who)).headers["ETag"]
            variants = [who, {}, {"Authorization": "Basic x"}, {**who, "If-None-Match": revision}]
            for path in PATHS:
                for headers in variants:
                    named = {**headers, "X-Request-Id": "one-and-the-same"}
                    short = await client.get(path.format(id=one.id), headers=named)
                    long = await client.request("GET", path.format(id=one.id), headers={**named, **LONG_WAY})
                    assert short.status_code == long.status_code, path
                    assert short.content == long.content, path
                    for answer in (short, long):
                        del answer.headers["Date"]
                    assert dict(short.headers) == dict(long.headers), path

    run(main)
    assert True in taken
    assert False in taken
