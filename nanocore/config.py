"""TOML to frozen types; every error names file, key and remedy.

A section is a frozen dataclass whose fields are made by ``setting``; the generated ``etc/nano.toml`` is the
list of all of them.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, TypeVar, cast

T = TypeVar("T")


def setting(default: T, doc: str, *, choices: tuple[T, ...] = (), minimum: float | None = None) -> T:
    """Declare one setting of a section: its default, what it does, and what it may be.

    ``doc`` becomes the comment in ``etc/nano.toml`` and the row in ``docs/reference/configuration.md``.
    """
    metadata = {"doc": doc, "choices": choices, "minimum": minimum}
    if isinstance(default, list | dict):
        return cast("T", field(default_factory=lambda: cast("Any", default).copy(), metadata=metadata))
    return field(default=default, metadata=metadata)
