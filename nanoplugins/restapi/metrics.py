"""Counters of this process in Prometheus' text format, and how late its event loop is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from nanocore.clock import Clock

PROBE_SECONDS = 0.25
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Counters:
    """Written by every request."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds: dict[str, float] = {}
        self.worst_lag_seconds = 0.0
        self.lag_seconds = 0.0

    def count(self, method: str, status: int, seconds: float) -> None:
        """Note one answered request."""
        self.requests[method, status] += 1
        self.seconds[method] = self.seconds.get(method, 0.0) + seconds

    async def probe(self, clock: Clock) -> None:
        """Measure how late the loop runs what is due. Runs until cancelled."""
        while True:
            due = clock.monotonic() + PROBE_SECONDS
            await asyncio.sleep(PROBE_SECONDS)
            self.lag_seconds = max(0.0, clock.monotonic() - due)
            self.worst_lag_seconds = max(self.worst_lag_seconds, self.lag_seconds)

    def text(self, gauges: dict[str, Callable[[], float]]) -> str:
        """Return everything as text; ``gauges`` are named values read now."""
        lines = [
            "# HELP nano_http_requests_total Answered requests.",
            "# TYPE nano_http_requests_total counter",
            *(
                f'nano_http_requests_total{{method="{method}",status="{status}"}} {count}'
                for (method, status), count in sorted(self.requests.items())
            ),
            "# HELP nano_http_request_seconds_total Time spent on requests.",
            "# TYPE nano_http_request_seconds_total counter",
            *(
                f'nano_http_request_seconds_total{{method="{method}"}} {seconds:.6f}'
                for method, seconds in sorted(self.seconds.items())
            ),
        ]
        values = {
            "nano_loop_lag_seconds": self.lag_seconds,
            "nano_loop_lag_worst_seconds": self.worst_lag_seconds,
            **{name: read() for name, read in gauges.items()},
        }
        for name, value in values.items():
            lines += [f"# TYPE {name} gauge", f"{name} {value:.6f}"]
        return "\n".join(lines) + "\n"
