from __future__ import annotations

from pathlib import Path

import pytest

from nanocore.capabilities.network import NetworkDriver
from nanocore.testing.network_suite import NetworkSuite
from nanoplugins.sim.network import SimNetwork


class TestSimNetwork(NetworkSuite):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "network"

    def make_driver(self) -> NetworkDriver:
        return SimNetwork(self.folder)
