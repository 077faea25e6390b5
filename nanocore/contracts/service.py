"""Things that run as long as the node does."""

from __future__ import annotations

from typing import Protocol


class Service(Protocol):
    """Started in the order of ``after``, stopped in reverse; a failing one is named and the node runs on."""

    name: str
    after: tuple[str, ...]
    """Names of services that must have started before; an absent one is ignored."""

    async def start(self) -> None:
        """Begin; return when ready. Limited to 60 s."""
        ...

    async def stop(self) -> None:
        """End everything that ``start`` began. Limited to 2 s; also called when ``start`` failed."""
        ...
