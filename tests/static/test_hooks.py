"""A hook ships with a plugin that uses it, a section in the reference, and a test through a real plugin."""

from __future__ import annotations

import asyncio
import importlib
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.contracts.plugin import PluginState
from nanocore.kernel.node import Node
from nanocore.loader.discover import PluginSource, discover
from nanocore.loader.specs import all_specs, resolve_kind
from nanocore.logs import make_logger
from tests.static.generator import ROOT

pytestmark = pytest.mark.static

SETTINGS = {
    "kernel": {
        "name": "core-1",
        "listen_address": "127.0.0.1",
        "message_port": 0,
        "stream_port": 0,
        "strict": True,
        "plugins": ["*", "greeter"],
    },
    "agent": {"hypervisor": "sim", "storage": "sim", "network": "sim"},
    "restapi": {"listen_address": "127.0.0.1", "port": 0},
}


@pytest.fixture
def greeter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "nano-greeter"))
    module = importlib.import_module("nano_greeter.plugin")
    yield module.Plugin()
    for name in [name for name in sys.modules if name.startswith("nano_greeter")]:
        del sys.modules[name]


def test_the_reference_lists_the_hooks_and_nothing_else() -> None:
    text = (ROOT / "docs" / "reference" / "hooks.md").read_text()
    assert re.findall(r"^## (nano_\w+)$", text, re.MULTILINE) == list(all_specs())
    assert "Used by: nobody" not in text


def test_every_hook_is_called_through_real_plugins(tmp_path: Path, greeter: Any) -> None:
    """One real node with all plugins of this repository: each hook brings something, or reaches somebody."""
    sources = [item for item in discover() if item.is_first_party]
    sources.append(PluginSource.in_process("greeter", greeter, is_first_party=False))

    async def main() -> None:
        node = Node(tmp_path, log=make_logger(io.StringIO()), settings=SETTINGS, sources=sources)
        await node.start()
        try:
            assert {item.state for item in node.plugin_statuses()} == {PluginState.ENABLED}
            for spec in all_specs().values():
                if spec.shape != "broadcast" and spec.name not in ("nano_plugin_info", "nano_config_sections"):
                    assert node.collected(resolve_kind(spec.kind)), f"{spec.name} brings nothing"
            assert greeter._is_up
            peer = NodeInfo(id="x", name="peer", roles=[NodeRole.CELL])  # type: ignore[arg-type]
            await node._peer_joined(peer)
            await node._peer_lost(peer, "gone")
            assert (greeter._joined, greeter._lost) == (1, 1)
        finally:
            await node.stop()
        assert not greeter._is_up

    asyncio.run(main())
