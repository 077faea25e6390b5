from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from nanocore.capabilities.network import NetworkDriver
from nanocore.testing.network_suite import NetworkSuite

T = TypeVar("T")
pytestmark = [pytest.mark.system, pytest.mark.needs("namespaces")]


class TestBridge(NetworkSuite):
    @pytest.fixture(autouse=True)
    def _machine(self, machine: Any) -> None:
        self.machine = machine

    def make_driver(self) -> NetworkDriver:
        return self.machine.driver()

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        return self.machine.run(work)
