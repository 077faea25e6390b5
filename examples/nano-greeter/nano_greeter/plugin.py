"""Hook implementations of the greeter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nano_greeter.messages import GetGreeting, Greeting
from nanocore.capabilities.health import HealthCheck
from nanocore.capabilities.rest import Route
from nanocore.config import setting
from nanocore.contracts.handler import Call, Handler
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.contracts.plugin import ConfigSection, PluginContext, PluginInfo
from nanocore.hookspecs import hookimpl


@dataclass(frozen=True, slots=True)
class GreeterConfig:
    """Table ``[greeter]``."""

    phrase: str = setting("Hello", "What a greeting begins with.")


class Plugin:
    """Greets, and counts peers."""

    def __init__(self) -> None:
        self._phrase = ""
        self._is_up = False
        self._joined = 0
        self._lost = 0

    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        """Introduce the plugin."""
        return [PluginInfo("greeter", "1.0", "Greets whoever asks", frozenset({NodeRole.CORE}))]

    @hookimpl
    def nano_config_sections(self) -> Sequence[ConfigSection]:
        """Declare ``[greeter]``."""
        return [ConfigSection("greeter", GreeterConfig)]

    @hookimpl
    def nano_message_handlers(self, context: PluginContext) -> Sequence[Handler]:
        """Answer ``greeter.get_greeting``."""
        self._phrase = context.config(GreeterConfig).phrase
        return [Handler(GetGreeting, self._get_greeting)]

    @hookimpl
    def nano_rest_routes(self) -> Sequence[Route]:
        """Declare ``GET /greetings/{name}``."""
        return [Route("GET", "/greetings/{name}", GetGreeting, "Greet somebody")]

    @hookimpl
    def nano_health_checks(self) -> Sequence[HealthCheck]:
        """Tell whether the node has started."""
        return [HealthCheck("greeter", self._check)]

    @hookimpl
    async def nano_node_started(self) -> None:
        """Begin to be well."""
        self._is_up = True

    @hookimpl
    async def nano_node_stopping(self) -> None:
        """Greet nobody from here on."""
        self._is_up = False

    @hookimpl
    async def nano_peer_joined(self, peer: NodeInfo) -> None:
        """Count it."""
        del peer
        self._joined += 1

    @hookimpl
    async def nano_peer_lost(self, peer: NodeInfo, reason: str) -> None:
        """Count it."""
        del peer, reason
        self._lost += 1

    async def _get_greeting(self, message: GetGreeting, call: Call) -> Greeting:
        del call
        text = f"{self._phrase}, {message.name}"
        return Greeting(text=text, peers_joined=self._joined, peers_lost=self._lost)

    async def _check(self) -> str | None:
        return None if self._is_up else "the node is starting or stopping; wait a moment"
