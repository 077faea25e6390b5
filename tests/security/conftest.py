"""One node that all attacks share: each has to leave it serving, and nothing may fail inside of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nanocore.testing.kernel_process import SIM_CONFIG, KernelProcess, wait_until
from tests.security.site import Site, start

CELL_CONFIG = SIM_CONFIG.replace("strict = true", 'strict = true\nroles = ["cell"]')


@pytest.fixture(scope="session")
def besieged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The node; tests take ``site``."""
    kernel = start(tmp_path_factory.mktemp("besieged"))
    try:
        yield Site(kernel)
        assert kernel.stop() == 0
    finally:
        kernel.kill()


@pytest.fixture
def site(besieged: Site) -> Iterator[Site]:
    """The node before the attack; afterwards it serves, and its log has no failure that nobody foresaw."""
    besieged.new_log()
    yield besieged
    besieged.check_serving()
    failures = [line for line in besieged.new_log() if line["level"] in {"error", "critical"} or "exception" in line]
    assert not failures, failures[:3]


@pytest.fixture(scope="session")
def victim(besieged: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    """An honest cell beside it, joined by invite, in a process of its own."""
    process = KernelProcess(tmp_path_factory.mktemp("victim"), CELL_CONFIG, name="victim")
    process.start(arguments=("--join", besieged.invite()["token"]))
    try:
        wait_until(lambda: node_named(besieged, "victim").get("state") == "online", what="the honest cell online")
        yield process
    finally:
        process.stop()


def node_named(site: Site, name: str) -> dict[str, Any]:
    """Return a node as the API shows it, ``{}`` if it does not."""
    nodes = site.kernel.client.get("/nodes")["items"]
    return next((node for node in nodes if node["name"] == name), {})
