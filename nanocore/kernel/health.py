"""What the kernel tells the core of this node's plugins, and how the core ends or restarts the kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from nanocore.contracts.handler import CORE_ONLY, Call, Handler
from nanocore.contracts.health import CheckOutcome, GetHealth, HealthCheck, PluginHealth
from nanocore.contracts.node import StopKernel
from nanocore.contracts.plugin import PluginStatus
from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import structs

CHECK_SECONDS = 2.0
END_DELAY_SECONDS = 0.3
"""Between the reply to ``StopKernel`` and the end, so that the reply, and what it answers, is sent."""

Ending = Callable[[bool], None]
"""Ends the process around the node; the argument says whether it shall come back."""


class KernelHealth:
    """Handlers of ``plugins.get_health`` and ``membership.stop_kernel``.

    ``checks`` returns each plugin's checks; ``end`` is absent where nothing around the node can end it (tests).
    """

    def __init__(
        self,
        *,
        statuses: Callable[[], list[PluginStatus]],
        checks: Callable[[], Mapping[str, list[HealthCheck]]],
        end: Ending | None,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._statuses = statuses
        self._checks = checks
        self._end = end
        self._log = log

    def handlers(self) -> list[Handler]:
        """Return the handlers; both are the core's to call."""
        return [
            Handler(GetHealth, self._get, allow=CORE_ONLY),
            Handler(StopKernel, self._stop_kernel, allow=CORE_ONLY),
        ]

    async def _get(self, _message: GetHealth, _call: Call) -> list[PluginHealth]:
        declared = self._checks()
        every = [check for checks in declared.values() for check in checks]
        outcomes = dict(
            zip((check.name for check in every), await asyncio.gather(*map(_run, every)), strict=True),
        )
        return [
            PluginHealth(
                **structs.asdict(status),
                checks=[outcomes[check.name] for check in declared.get(status.name, ())],
            )
            for status in self._statuses()
        ]

    async def _stop_kernel(self, message: StopKernel, call: Call) -> None:
        if self._end is None:
            raise NanoError(ErrorCode.UNSUPPORTED, "this node runs inside another program, which alone can end it")
        self._log.warning("asked to end", is_restart=message.is_restart, by=call.source.name)
        asyncio.get_running_loop().call_later(END_DELAY_SECONDS, self._end, message.is_restart)


async def _run(check: HealthCheck) -> CheckOutcome:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            reason = await check.check()
    except TimeoutError:
        reason = f"no answer within {CHECK_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001  a broken check is an unhealthy part, not a broken answer
        reason = f"the check failed: {error}"
    return CheckOutcome(name=check.name, is_ok=reason is None, reason=reason)
