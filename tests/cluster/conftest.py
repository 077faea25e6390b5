"""One test body over memory and over CURVE on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from nanocore.testing.cluster import cluster
from tests.cluster.cast import Body


@pytest.fixture(params=["memory", "curve"])
def play(request: pytest.FixtureRequest) -> Callable[..., None]:
    def run(body: Body, cells: int = 1, **settings: Any) -> None:
        async def main() -> None:
            async with asyncio.timeout(30), cluster(cells, over=request.param, **settings) as nodes:
                await body(nodes)

        asyncio.run(main())

    return run
