"""``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from nanocore.capabilities.compute import GetSystemOverview
from nanocore.capabilities.health import HealthCheck
from nanocore.contracts.authorizer import ANONYMOUS
from nanocore.contracts.plugin import ListPlugins, PluginContext, PluginState
from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import encode_json
from nanoplugins.restapi.core_link import CoreLink
from nanoplugins.restapi.handling import BaseHandler
from nanoplugins.restapi.identities import is_permitted
from nanoplugins.restapi.metrics import CONTENT_TYPE
from nanoplugins.restapi.problems import Answer

CHECK_SECONDS = 2.0
FRESH_SECONDS = 1.0
PERMISSION = GetSystemOverview.permission or ""
HIDDEN_REASON = "log in to see the reason"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check said; one that is not ``is_required`` only degrades the node."""

    name: str
    reason: str | None
    is_required: bool = True


class Health:
    """Runs every declared check, at most once a second however often strangers ask."""

    def __init__(self, context: PluginContext, core: CoreLink) -> None:
        self._context = context
        self._core = core
        self._outcomes: list[Outcome] = []
        self._at = float("-inf")
        self._lock = asyncio.Lock()

    async def outcomes(self) -> list[Outcome]:
        """Return the outcome of every check, by name."""
        async with self._lock:
            now = self._context.clock.monotonic()
            if now - self._at >= FRESH_SECONDS:
                checks = [*self._context.collected(HealthCheck).values()]
                if not self._core.is_here:
                    checks.append(HealthCheck("core", self._check_core))
                found = await asyncio.gather(*(_run(check) for check in checks))
                self._outcomes = sorted([*found, self._plugins()], key=lambda outcome: outcome.name)
                self._at = self._context.clock.monotonic()
            return self._outcomes

    def _plugins(self) -> Outcome:
        failed = [status for status in self._context.plugin_statuses() if status.state is PluginState.FAILED]
        reason = "; ".join(f"{status.name}: {status.reason}" for status in failed) or None
        return Outcome("plugins", reason, is_required=False)

    async def _check_core(self) -> str | None:
        try:
            await self._core.call(ListPlugins(), credential=ANONYMOUS, timeout_seconds=CHECK_SECONDS)
        except NanoError as error:
            if error.code is not ErrorCode.UNAUTHENTICATED:
                return f"the core does not answer: {error.message}"
        return None


async def _run(check: HealthCheck) -> Outcome:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return Outcome(check.name, await check.check())
    except TimeoutError:
        return Outcome(check.name, f"no answer within {CHECK_SECONDS:g} s")
    except Exception as error:  # noqa: BLE001  a broken check is an unhealthy part, not a broken page
        return Outcome(check.name, f"the check failed: {error}")


class HealthHandler(BaseHandler):
    """``/healthz``: the loop lives."""

    async def get(self) -> None:
        """Answer."""
        await self.send(Answer(200, b'{"status":"ok"}'))

    head = get


class ReadyHandler(BaseHandler):
    """``/readyz``: every part with its reason; strangers see which part, not why."""

    async def get(self) -> None:
        """Run the checks."""
        may_see = await self._may_see()
        outcomes = await self.api.health.outcomes()
        bad = [outcome for outcome in outcomes if outcome.reason is not None]
        is_ready = not any(outcome.is_required for outcome in bad)
        status = ("degraded" if bad else "ready") if is_ready else "not_ready"
        checks = [
            {
                "name": outcome.name,
                "ok": outcome.reason is None,
                "reason": outcome.reason if may_see or outcome.reason is None else HIDDEN_REASON,
            }
            for outcome in outcomes
        ]
        await self.send(Answer(200 if is_ready else 503, encode_json({"status": status, "checks": checks})))

    head = get

    async def _may_see(self) -> bool:
        credential = self.credential()
        if credential == ANONYMOUS:
            return False
        try:
            info = await self.api.identities.info(credential)
        except NanoError:
            return False
        return is_permitted(info.user.permissions, PERMISSION)


class MetricsHandler(BaseHandler):
    """``/metrics``: for Prometheus, with a token that may read the system."""

    async def get(self) -> None:
        """Answer with this process's counters."""
        credential = self.credential()
        if credential == ANONYMOUS:
            raise NanoError(ErrorCode.UNAUTHENTICATED, "send the token of a user who may use system.read")
        info = await self.api.identities.info(credential)
        if not is_permitted(info.user.permissions, PERMISSION):
            raise NanoError(ErrorCode.PERMISSION_DENIED, f"metrics need the permission {PERMISSION}")
        text = self.api.counters.text({"nano_websockets_open": self.api.identities.socket_count})
        await self.send(Answer(200, text.encode(), content_type=CONTENT_TYPE))

    head = get
