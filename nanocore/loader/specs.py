"""What the hook specifications say, as data, and the types that they name.

The specifications name capability types for type checkers only, so that the kernel does not depend on them.
Their names are resolved here when a plugin has declared an object of that kind.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nanocore import hookspecs

_KIND = re.compile(r"Sequence\[(\w+)\]")


@dataclass(frozen=True, slots=True)
class Spec:
    """One hook. ``key`` and ``kind`` are empty for a broadcast, ``timeout_seconds`` is 0 for the others."""

    name: str
    shape: str
    parameters: tuple[str, ...]
    key: str = ""
    kind: str = ""
    """Name of the declared objects' type: ``HypervisorDriver``."""
    any_role: bool = False
    timeout_seconds: float = 0

    @property
    def is_async(self) -> bool:
        """Whether implementations are coroutine functions."""
        return self.shape == "broadcast"


@cache
def all_specs() -> Mapping[str, Spec]:
    """Return every hook by name, in the order of the specifications."""
    members = vars(hookspecs.NanoHooks).items()
    return {name: _spec(name, function) for name, function in members if hasattr(function, "nano_hook")}


def _spec(name: str, function: Any) -> Spec:  # noqa: ANN401  a function with our mark
    facts: dict[str, Any] = function.nano_hook
    found = _KIND.fullmatch(str(function.__annotations__["return"]))
    return Spec(
        name=name,
        shape=facts["shape"],
        parameters=tuple(inspect.signature(function).parameters)[1:],
        key=facts.get("key", ""),
        kind=found[1] if found else "",
        any_role=facts.get("any_role", False),
        timeout_seconds=facts.get("timeout_seconds", 0),
    )


def resolve_kind(name: str) -> type[Any]:
    """Return the type that the specifications call ``name``, importing its module."""
    kind: type[Any] = getattr(importlib.import_module(_modules()[name]), name)
    return kind


@cache
def _modules() -> Mapping[str, str]:
    tree = ast.parse(Path(hookspecs.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.name: str(node.module) for node in imports for alias in node.names}
