"""The three kinds of message, as field-less bases of frozen types.

A message class is the whole description of an operation::

    class StopInstance(Command[Operation], frozen=True, kw_only=True):
        '''Ask the guest to shut down; force it after ``grace_seconds``.'''

        op: ClassVar[str] = "compute.stop_instance"
        permission: ClassVar[str | None] = "instance.power"

        id: InstanceId
        grace_seconds: float = 60

The type argument is the type of the reply's body. Fields are map-encoded, so that errors name them and
fields with defaults can be added later.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

import msgspec

R = TypeVar("R")

PUBLIC = "public"
"""The permission of a request that anybody may send, logged in or not."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything with an ``op``."""

    op: ClassVar[str] = ""
    schema: ClassVar[int] = 1


class Request(Message, Generic[R], frozen=True, kw_only=True):
    """A message that gets exactly one reply.

    ``permission`` is what the actor needs on the core; ``None`` means that only nodes send it, never a user.
    ``timeout_seconds`` is the default deadline. An ``is_idempotent`` request may be sent again with the same id.
    """

    permission: ClassVar[str | None] = None
    timeout_seconds: ClassVar[float] = 10.0
    is_idempotent: ClassVar[bool] = False


class Query(Request[R], Generic[R], frozen=True, kw_only=True):
    """Asks for a fact; changes nothing; may be repeated."""

    is_idempotent: ClassVar[bool] = True


class Command(Request[R], Generic[R], frozen=True, kw_only=True):
    """Asks for a change."""


class Event(Message, frozen=True, kw_only=True):
    """Tells that something happened; nobody replies.

    ``is_forwarded`` events of a cell are also delivered on the core.
    """

    is_forwarded: ClassVar[bool] = True


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Base of reply bodies and of everything inside them."""


def result_type(request: type[Request[Any]]) -> Any:  # noqa: ANN401  a type expression, not always a class
    """Return the type of ``request``'s reply body (the base's type argument)."""
    for base in getattr(request, "__orig_bases__", ()):
        origin = get_origin(base)
        if isinstance(origin, type) and issubclass(origin, Request):
            return get_args(base)[0]
    message = f"{request.__name__} must name its result: class {request.__name__}(Query[ResultType])"
    raise TypeError(message)
