"""What a plugin must be like before anything it declares is used. Pure: returns problems, changes nothing."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from nanocore.loader.specs import Spec

HOOK_PREFIX = "nano_"
MARK = "nano_impl"
"""Attribute by which pluggy's marker for project ``nano`` notes its options."""

KERNEL_CAPABILITIES = frozenset({"membership", "operations", "plugins"})
"""First words of ops that the kernel itself answers."""

MAX_SHOWN = 80


def hook_problems(plugin: object, specs: Mapping[str, Spec]) -> list[str]:
    """Return what is wrong with the hook implementations of ``plugin``, in sentences."""
    problems: list[str] = []
    for name in sorted(set(dir(type(plugin))) | set(getattr(plugin, "__dict__", ()))):
        function = inspect.getattr_static(plugin, name, None)
        function = getattr(function, "__func__", function)
        options = getattr(function, MARK, None)
        if options is None and not (name.startswith(HOOK_PREFIX) and callable(function)):
            continue
        if name not in specs:
            close = difflib.get_close_matches(name, specs, n=1)
            problems.append(f"{name} is no hook" + (f"; did you mean {close[0]}?" if close else ""))
        elif options is None:
            problems.append(f"{name} is a hook but is not marked with @hookimpl")
        else:
            problems += _implementation_problems(specs[name], function, options)
    return problems


def _implementation_problems(spec: Spec, function: Any, options: Mapping[str, Any]) -> list[str]:  # noqa: ANN401
    problems = []
    if any(options.get(name) for name in ("wrapper", "hookwrapper", "tryfirst", "trylast")):
        problems.append(f"{spec.name}: call order and wrappers have no meaning here; use a plain @hookimpl")
    if inspect.iscoroutinefunction(function) != spec.is_async:
        problems.append(f"{spec.name} must be {'async def' if spec.is_async else 'def, not async def'}")
    unknown = [name for name in _parameters(function) if name not in spec.parameters]
    if unknown:
        known = ", ".join(spec.parameters) or "none"
        problems.append(f"{spec.name} takes unknown arguments: {', '.join(unknown)}; it can take: {known}")
    return problems


def _parameters(function: Callable[..., Any]) -> list[str]:
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []
    return names[1:] if names[:1] == ["self"] else names


def result_problem(spec: Spec, result: object, kind: type[Any]) -> str | None:
    """Return what is wrong with what an implementation of a collect or choose hook returned."""
    if not isinstance(result, list | tuple):
        return f"{spec.name} must return a list of {spec.kind}, not {_shown(result)}"
    keys: set[str] = set()
    for item in result:
        if not _fits(item, kind):
            return f"{spec.name} must return a list of {spec.kind}, but an item is {_shown(item)}{_missing(item, kind)}"
        key = getattr(item, spec.key, None)
        if not isinstance(key, str) or not key:
            return f"{spec.name}: the {spec.key} of {_shown(item)} must be text"
        if key in keys:
            return f"{spec.name} returns {spec.key} {key!r} twice"
        if spec.kind == "Handler" and key.split(".")[0] in KERNEL_CAPABILITIES:
            return f"{spec.name}: op {key!r} belongs to the kernel"
        keys.add(key)
    return None


def _is_protocol(kind: type[Any]) -> bool:
    return bool(getattr(kind, "_is_protocol", False))


def _fits(item: object, kind: type[Any]) -> bool:
    if not _is_protocol(kind):
        return isinstance(item, kind)
    return not isinstance(item, type) and not _absent(item, kind)


def _absent(item: object, protocol: type[Any]) -> list[str]:
    names: set[str] = set()
    for base in protocol.__mro__:
        if _is_protocol(base) and base.__module__ != "typing":
            names |= set(vars(base)) | set(vars(base).get("__annotations__", {}))
    return sorted(name for name in names if not name.startswith("_") and not _has(item, name))


def _has(item: object, name: str) -> bool:
    # Not by hasattr alone: a driver's `info` may be a property that works only once it is open.
    return inspect.getattr_static(item, name, None) is not None or hasattr(item, name)


def _missing(item: object, kind: type[Any]) -> str:
    names = _absent(item, kind) if _is_protocol(kind) else []
    return f", which lacks: {', '.join(names)}" if names else ""


def _shown(value: object) -> str:
    return f"{type(value).__name__} {value!r}"[:MAX_SHOWN]
