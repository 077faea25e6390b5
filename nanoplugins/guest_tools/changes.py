"""What a cell has a guest's agent do for the core."""

from __future__ import annotations

from nanocore.capabilities.guest import ChangeGuest
from nanocore.contracts.handler import CORE_ONLY, Call, Handler
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.failpoints import fail_point
from nanoplugins.guest_tools.agent import GuestAgent
from nanoplugins.guest_tools.config import GuestToolsConfig
from nanoplugins.guest_tools.watch import Watch


class GuestChanges:
    """Sets a password or a host name; doing it twice does nothing more."""

    def __init__(self, context: PluginContext, watch: Watch) -> None:
        self._context = context
        self._watch = watch

    def handlers(self) -> list[Handler]:
        """Return what the core asks."""
        return [Handler(ChangeGuest, self._change, CORE_ONLY)]

    async def _change(self, message: ChangeGuest, _call: Call) -> None:
        fail_point(f"cell/{message.op}/received")
        seconds = self._context.config(GuestToolsConfig).answer_seconds
        agent = GuestAgent(self._context, message.id, seconds=seconds)
        try:
            if message.username is not None and message.password_hash is not None:
                await agent.set_password(message.username, message.password_hash)
            if message.hostname is not None:
                await agent.set_hostname(message.hostname)
        except TimeoutError as error:
            text = f"guest {message.id} did not answer within {seconds:g} s"
            raise NanoError(ErrorCode.DEADLINE_EXCEEDED, text) from error
        self._watch.ask_soon(message.id)
        fail_point(f"cell/{message.op}/done")
