"""What is wrong with a request, by field, told all at once."""

from __future__ import annotations

from nanocore.errors import ErrorCode, NanoError


class FieldErrors:
    """Collects; ``check`` raises what there is, in the shape that the REST API's own checks have."""

    def __init__(self) -> None:
        self._errors: dict[str, list[str]] = {}

    def add(self, field: str, text: str) -> None:
        """Note that ``field`` is wrong, with a sentence that starts after its name."""
        self._errors.setdefault(field, []).append(text)

    def check(self) -> None:
        """Raise ``invalid_argument`` naming every field; return if there is none."""
        if not self._errors:
            return
        text = "; ".join(f"{field}: {' '.join(texts)}" for field, texts in self._errors.items())
        raise NanoError(ErrorCode.INVALID_ARGUMENT, text, field=next(iter(self._errors)), errors=self._errors)
