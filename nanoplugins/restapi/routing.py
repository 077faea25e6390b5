"""Paths to targets: a tree by path segment, literals before parameters. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from nanocore.errors import ErrorCode, NanoError
from nanoplugins.restapi.problems import HttpProblem

T = TypeVar("T")


@dataclass(slots=True)
class _Node(Generic[T]):
    literals: dict[str, _Node[T]] = field(default_factory=dict)
    parameter: _Node[T] | None = None
    targets: dict[str, tuple[T, tuple[str, ...]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match(Generic[T]):
    """What answers, and the values of the path's parameters."""

    target: T
    parameters: Mapping[str, str]


class RoutingTable(Generic[T]):
    """Filled at start-up, asked for every request."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, method: str, path: str, target: T) -> None:
        """Let ``target`` answer ``method path``; braces in ``path`` are parameters."""
        node, names = self._root, []
        for segment in _segments(path):
            if segment.startswith("{"):
                names.append(segment.strip("{}"))
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(segment, _Node())
        node.targets[method] = (target, tuple(names))

    def methods(self, path: str) -> list[str]:
        """Return the methods that ``path`` answers, ``OPTIONS`` among them; empty for an unknown path."""
        found = self._find(path)
        if found is None:
            return []
        methods = set(found[0].targets) | {"OPTIONS"}
        return sorted(methods | ({"HEAD"} if "GET" in methods else set()))

    def match(self, method: str, path: str) -> Match[T]:
        """Return what answers; ``HEAD`` falls back to ``GET``. Raises ``not_found`` and 405."""
        found = self._find(path)
        if found is None:
            raise NanoError(ErrorCode.NOT_FOUND, f"there is nothing at {path[:200]}; see /api/v2/docs")
        node, values = found
        entry = node.targets.get(method) or (node.targets.get("GET") if method == "HEAD" else None)
        if entry is None:
            allow = ", ".join(self.methods(path))
            raise HttpProblem(
                405,
                ErrorCode.UNSUPPORTED,
                f"{path[:200]} does not answer {method}, but {allow}",
                reason="http.method_not_allowed",
                headers={"Allow": allow},
            )
        target, names = entry
        return Match(target, dict(zip(names, values, strict=True)))

    def _find(self, path: str) -> tuple[_Node[T], list[str]] | None:
        return _descend(self._root, _segments(path), [])


def _descend(node: _Node[T], segments: list[str], values: list[str]) -> tuple[_Node[T], list[str]] | None:
    if not segments:
        return (node, values) if node.targets else None
    head, rest = segments[0], segments[1:]
    if head in node.literals:
        found = _descend(node.literals[head], rest, values)
        if found is not None:
            return found
    if node.parameter is not None and head:
        return _descend(node.parameter, rest, [*values, head])
    return None


def _segments(path: str) -> list[str]:
    return path.strip("/").split("/")
