"""Paths to targets, and idempotent answers."""

from __future__ import annotations

import asyncio

import pytest

from nanocore.clock import SystemClock
from nanocore.errors import ErrorCode, NanoError
from nanoplugins.restapi.idempotency import KeptAnswers, scoped_key
from nanoplugins.restapi.problems import Answer, HttpProblem
from nanoplugins.restapi.routing import RoutingTable


def table() -> RoutingTable[str]:
    made: RoutingTable[str] = RoutingTable()
    made.add("GET", "/a", "list")
    made.add("GET", "/a/{id}", "one")
    made.add("GET", "/a/special", "special")
    made.add("POST", "/a/{id}/actions/start", "start")
    made.add("DELETE", "/a/{other}/b/{id}", "two")
    return made


def test_matches() -> None:
    found = table()
    assert found.match("GET", "/a").target == "list"
    assert found.match("GET", "/a/").target == "list"
    assert found.match("HEAD", "/a/1").target == "one"
    assert found.match("GET", "/a/special").target == "special"
    assert found.match("GET", "/a/1").parameters == {"id": "1"}
    assert found.match("DELETE", "/a/x/b/y").parameters == {"other": "x", "id": "y"}
    # A literal that leads nowhere falls back to the parameter.
    assert found.match("POST", "/a/special/actions/start").parameters == {"id": "special"}
    assert found.methods("/a/1") == ["GET", "HEAD", "OPTIONS"]


@pytest.mark.parametrize("path", ["/", "/b", "/a/1/2", "/a//actions/start", "/a/1/actions"])
def test_unknown_paths(path: str) -> None:
    with pytest.raises(NanoError) as caught:
        table().match("POST", path)
    assert caught.value.code is ErrorCode.NOT_FOUND


def test_wrong_method() -> None:
    with pytest.raises(HttpProblem) as caught:
        table().match("PATCH", "/a/1")
    assert (caught.value.status, caught.value.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


def test_keys_belong_to_user_and_request() -> None:
    keys = {
        scoped_key(*parts)
        for parts in (
            ("k", "u", "POST", "/a"),
            ("k", "v", "POST", "/a"),
            ("k", "u", "PUT", "/a"),
            ("k", "u", "POST", "/b"),
        )
    }
    assert len(keys) == 4
    for bad in ("", "a b", "a\n", "ü", "x" * 201):
        with pytest.raises(NanoError, match="Idempotency-Key"):
            scoped_key(bad, "u", "POST", "/a")


def test_a_failure_lets_the_next_one_try() -> None:
    async def main() -> None:
        kept = KeptAnswers(SystemClock())
        runs = 0

        async def work() -> Answer:
            nonlocal runs
            runs += 1
            await asyncio.sleep(0)
            if runs == 1:
                raise NanoError(ErrorCode.BUSY, "later")
            return Answer(201)

        results = await asyncio.gather(*(kept.once("k", b"", work) for _ in range(3)), return_exceptions=True)
        assert isinstance(results[0], NanoError)
        assert results[1:] == [Answer(201), Answer(201)]
        assert runs == 2

    asyncio.run(main())
