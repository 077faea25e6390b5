"""What can be asked of the greeter."""

from __future__ import annotations

from typing import Annotated, ClassVar

from nanocore.wire import Meta, Query, Result


class Greeting(Result, frozen=True, kw_only=True):
    """A greeting, and how many peers this node has seen come and go."""

    text: str
    peers_joined: int
    peers_lost: int


class GetGreeting(Query[Greeting], frozen=True, kw_only=True):
    """Greet somebody."""

    op: ClassVar[str] = "greeter.get_greeting"
    permission: ClassVar[str | None] = "greeting.read"

    name: Annotated[str, Meta(description="Whom to greet", min_length=1, max_length=100)]
