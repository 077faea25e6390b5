"""Routes of the public API, declared by the plugin that owns the noun."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nanocore.wire import Request


@dataclass(frozen=True, slots=True)
class Route:
    """``method path`` answers by sending ``message``, built from path, query and body.

    ``path`` is below ``/api/v2``, its parameters in braces are fields of the message. The required permission is the
    message's own; a message without one stops the start. ``constants`` fill fields that the path fixes.
    ``is_list`` says that the reply is a ``PageInfo`` with the items' JSON as blobs; a ``PageInfo`` without ``is_list``
    carries exactly one item.
    ``status`` is that of success; 202 is used by itself when the result is an ``Operation``.
    """

    method: str
    path: str
    message: type[Request[Any]]
    summary: str
    example: dict[str, Any] | None = None
    """An example body, or query for GET."""
    status: int = 200
    is_list: bool = False
    item: type[Any] | None = None
    """The type of the items, for the description, when ``is_list`` or the reply is a page of one."""
    constants: tuple[tuple[str, Any], ...] = ()
    is_either: bool = False
    """The result has alternatives as fields; the one that is set is the answer, an ``Operation`` by 202."""
    location: str | None = None
    """Template of the ``Location`` header, such as ``/disk-images/{id}``, filled from the result."""

    @property
    def key(self) -> str:
        """Method and path: two routes with the same key collide."""
        return f"{self.method} {self.path}"
