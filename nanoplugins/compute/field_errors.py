"""What is wrong with a request, by field, told all at once."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from nanocore.errors import ErrorCode, NanoError

T = TypeVar("T")


class FieldErrors:
    """Collects, with ``prefix`` before every field.

    ``check`` raises what there is, in the shape that the REST API's own checks have.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._errors: dict[str, list[str]] = {}

    def add(self, field: str, text: str) -> None:
        """Note that ``field`` is wrong, with a sentence that starts after its name."""
        self._errors.setdefault(self._prefix + field, []).append(text)

    async def catch(self, work: Awaitable[T]) -> T | None:
        """Return what ``work`` returns, or note its ``invalid_argument`` under the field that it names."""
        try:
            return await work
        except NanoError as error:
            field = error.details.get("field")
            if error.code is not ErrorCode.INVALID_ARGUMENT or not isinstance(field, str):
                raise
            self.add(field, error.message)
            return None

    def check(self) -> None:
        """Raise ``invalid_argument`` naming every field; return if there is none."""
        if not self._errors:
            return
        text = "; ".join(f"{field}: {' '.join(texts)}" for field, texts in self._errors.items())
        raise NanoError(ErrorCode.INVALID_ARGUMENT, text, field=next(iter(self._errors)), errors=self._errors)
