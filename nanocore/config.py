"""TOML to frozen types; every error names file, key and remedy.

A section is a frozen dataclass whose fields are made by ``setting``; the generated ``etc/nano.toml`` is the
list of all of them. Files are read in this order, later ones win key by key: ``etc/nano/nano.toml``,
``etc/nano/conf.d/*.toml``, ``etc/nano/plugins.d/*.toml``. A file ``plugins.d/NAME.toml`` also enables plugin NAME.
"""

from __future__ import annotations

import dataclasses
import difflib
import textwrap
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, cast

from nanocore.errors import ConfigError

T = TypeVar("T")
LINE_WIDTH = 100


def setting(default: T, doc: str, *, choices: tuple[T, ...] = (), minimum: float | None = None) -> T:
    """Declare one setting of a section: its default, what it does, and what it may be.

    ``doc`` becomes the comment in ``etc/nano.toml`` and the row in ``docs/reference/configuration.md``.
    The ``choices`` of a list are those of its items, given as one tuple inside the tuple.
    """
    metadata = {"doc": doc, "choices": choices, "minimum": minimum}
    if isinstance(default, list | dict):
        return cast("T", field(default_factory=lambda: cast("Any", default).copy(), metadata=metadata))
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class KernelConfig:
    """Table ``[kernel]``: what this node is and where it listens."""

    name: str = setting("", "Name of this node, unique in the zone. Empty: the machine's host name.")
    zone: str = setting("default", "Failure domain that this node belongs to; a label.")
    roles: list[str] = setting(
        ["core", "cell", "frontend"],
        "Node roles: core runs the control plane, cell runs instances, frontend serves API and portal, "
        "relay carries messages for many cells.",
        choices=(["core", "cell", "frontend", "relay"],),
    )
    plugins: list[str] = setting(
        ["*"],
        'Plugins to run: "*" stands for all first-party ones, "NAME" adds one, "-NAME" leaves one out. '
        "A file plugins.d/NAME.toml adds NAME as well.",
    )
    listen_address: str = setting(
        "0.0.0.0",  # noqa: S104  CURVE with an enforced registry of keys on every socket
        "Address to listen on for other nodes. Every connection is encrypted and only registered keys are let in.",
    )
    message_port: int = setting(5860, "TCP port for messages between nodes; 0 takes a free one.", minimum=0)
    stream_port: int = setting(
        5861, "TCP port for images, disks and consoles between nodes; 0 takes a free one.", minimum=0
    )
    advertise_address: str = setting(
        "",
        "Address under which other nodes reach this one; it goes into invites. "
        "Empty: the address of the default route.",
    )
    core: str = setting(
        "",
        'Address of the core ("host" or "host:port"), if it has moved since this node joined. '
        "Empty: the one in the invite. Not for a core itself.",
    )
    state_store: str = setting("sqlite", "State store in use on a core.")
    authorizer: str = setting("local", "Authorizer in use on a core.")
    strict: bool = setting(
        default=False, doc="Stop the start when a plugin fails, instead of running without it; for tests."
    )
    loop_limit_seconds: float = setting(
        1.0,
        "A plugin that holds the event loop for longer is named in the log: nothing else on the node moves meanwhile.",
        minimum=0.02,
    )
    log_level: str = setting(
        "info", "Least severe level that is logged.", choices=("debug", "info", "warning", "error")
    )


@dataclass(frozen=True, slots=True)
class _Value:
    """A value and the file it came from."""

    value: Any
    file: str


@dataclass(frozen=True, slots=True)
class ConfigFiles:
    """What the files say, not yet checked against any section."""

    tables: Mapping[str, Mapping[str, _Value]]
    origins: Mapping[str, str]
    """The file that names a table last."""
    files: tuple[Path, ...]
    enabled: tuple[str, ...] = ()
    """Plugins named by a file in ``plugins.d``."""

    def with_values(self, values: Mapping[str, Mapping[str, Any]], *, file: str) -> ConfigFiles:
        """Return these files with ``values`` (section, key) on top; errors name them by ``file``."""
        tables = {name: dict(table) for name, table in self.tables.items()}
        origins = {**self.origins, **dict.fromkeys(values, file)}
        for name, table in values.items():
            tables.setdefault(name, {}).update({key: _Value(value, file) for key, value in table.items()})
        return dataclasses.replace(self, tables=tables, origins=origins)

    def section(self, name: str, kind: type[T]) -> T:
        """Return table ``[name]`` as the frozen dataclass ``kind``; raise ``ConfigError``."""
        fields = {item.name: item for item in dataclasses.fields(cast("Any", kind))}
        hints = typing.get_type_hints(kind)
        values: dict[str, Any] = {}
        table = self.tables.get(name, {})
        for key, found in table.items():
            if key not in fields:
                raise ConfigError(f"unknown setting; {_suggest(key, fields)}", file=found.file, key=f"{name}.{key}")
            try:
                values[key] = _convert(found.value, hints[key], fields[key].metadata)
            except ValueError as error:
                raise ConfigError(str(error), file=found.file, key=f"{name}.{key}") from None
        try:
            return kind(**values)
        except (ValueError, ConfigError) as error:
            text = error.message if isinstance(error, ConfigError) else str(error)
            files = ", ".join(sorted({found.file for found in table.values()})) or None
            raise ConfigError(text, file=files, key=name) from error

    def refuse_unknown(self, known: Iterable[str]) -> None:
        """Raise ``ConfigError`` for the first table that is none of ``known``."""
        names = set(known)
        for name, file in self.origins.items():
            if name not in names:
                raise ConfigError(
                    f"unknown section [{name}]; {_suggest(name, names)}. A plugin's section is known once the "
                    "plugin is installed",
                    file=file,
                    key=name,
                )


def read_files(root: Path) -> ConfigFiles:
    """Return everything that the configuration files below ``root`` say; no file at all is fine.

    Raises ``ConfigError`` for a file that can't be read or is no TOML.
    """
    folder = root / "etc" / "nano"
    main, extra = folder / "nano.toml", sorted((folder / "conf.d").glob("*.toml"))
    plugins = sorted((folder / "plugins.d").glob("*.toml"))
    files = [path for path in (main, *extra, *plugins) if path.exists()]
    tables: dict[str, dict[str, _Value]] = {}
    origins: dict[str, str] = {}
    for path in files:
        for name, table in _parse(path).items():
            if not isinstance(table, dict):
                raise ConfigError(
                    f"{name} stands outside of any section; put it below a line such as [kernel]",
                    file=str(path),
                    key=name,
                )
            origins[name] = str(path)
            merged = tables.setdefault(name, {})
            merged.update({key: _Value(value, str(path)) for key, value in table.items()})
    return ConfigFiles(tables, origins, tuple(files), tuple(path.stem for path in plugins))


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}", file=str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"can't be read: {error}", file=str(path)) from error


def _suggest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else f"known are: {', '.join(names)}"


def _convert(value: Any, hint: Any, metadata: Mapping[str, Any]) -> Any:  # noqa: ANN401  TOML to a declared type
    """Return ``value`` as ``hint`` asks for; raise ``ValueError`` with what is wanted."""
    converted = _typed(value, hint)
    choices, minimum = metadata.get("choices", ()), metadata.get("minimum")
    if choices:
        allowed = choices[0] if isinstance(choices[0], list | tuple) else choices
        for item in converted if isinstance(converted, list) else [converted]:
            if item not in allowed:
                names = ", ".join(str(choice) for choice in allowed)
                raise ValueError(f"{item!r} is none of: {names}")
    if minimum is not None and converted is not None and converted < minimum:
        raise ValueError(f"{converted} is too small; at least {minimum:g}")
    return converted


def _typed(value: Any, hint: Any) -> Any:  # noqa: ANN401  TOML to a declared type
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _typed(value, next(item for item in arguments if item is not types.NoneType))
    if origin is list and isinstance(value, list):
        return [_typed(item, arguments[0]) for item in value]
    if origin is dict and isinstance(value, dict):
        return {key: _typed(item, arguments[1]) for key, item in value.items()}
    return _scalar(value, hint)


def _scalar(value: Any, hint: Any) -> Any:  # noqa: ANN401  TOML to a declared type
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        names = ", ".join(str(item.value) for item in hint)
        if value not in [item.value for item in hint]:
            raise ValueError(f"{value!r} is none of: {names}")
        return hint(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise ValueError(f"must be {_type_name(hint)}, not {value!r}")


def _type_name(hint: Any) -> str:  # noqa: ANN401  a type expression
    names = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}
    names[Path] = "a path in quotes"
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _type_name(next(item for item in arguments if item is not types.NoneType))
    if origin is list:
        return f"a list, each item {_type_name(arguments[0])}"
    if origin is dict:
        return "a table"
    return names.get(hint, "one of the choices")


# -- the references, generated from the same declarations


def render_toml(sections: Sequence[tuple[str, type[Any]]]) -> str:
    """Return ``etc/nano.toml``: every setting commented out at its default."""
    lines = [
        "# Nano's settings at their defaults. Remove a leading # to change one; a restart of nano-kernel applies it.",
        "# This file is generated; compare with: nano-kernel --print-default-config",
    ]
    for name, kind in sections:
        lines += ["", f"[{name}]"]
        for item in dataclasses.fields(kind):
            lines.append("")
            lines += textwrap.wrap(_doc(item), LINE_WIDTH, initial_indent="# ", subsequent_indent="# ")
            default = _default(item)
            lines.append(f"#{item.name} = {_toml(default)}" if default is not None else f"#{item.name} =")
    return "\n".join(lines) + "\n"


def render_markdown(sections: Sequence[tuple[str, type[Any]]]) -> str:
    """Return the tables of ``docs/reference/configuration.md``."""
    lines: list[str] = []
    for name, kind in sections:
        lines += ["", f"## [{name}]", "", "| setting | type | default | what it does |", "| --- | --- | --- | --- |"]
        hints = typing.get_type_hints(kind)
        for item in dataclasses.fields(kind):
            default = _default(item)
            shown = "not set" if default is None else f"`{_toml(default)}`"
            doc = _doc(item).replace("|", "\\|")
            lines.append(f"| `{item.name}` | {_type_name(hints[item.name])} | {shown} | {doc} |")
    return "\n".join(lines).lstrip("\n") + "\n"


def _doc(item: dataclasses.Field[Any]) -> str:
    doc = str(item.metadata.get("doc", "")).rstrip(".")
    doc = f"{doc[:1].upper()}{doc[1:]}."
    choices = item.metadata.get("choices", ())
    if choices:
        allowed = choices[0] if isinstance(choices[0], list | tuple) else choices
        doc += f" One of: {', '.join(str(choice) for choice in allowed)}."
    minimum = item.metadata.get("minimum")
    return doc if minimum is None else f"{doc} At least {minimum:g}."


def _default(item: dataclasses.Field[Any]) -> Any:  # noqa: ANN401  of any declared type
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return item.default


def _toml(value: Any) -> str:  # noqa: ANN401  of any declared type
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {_toml(item)}' for key, item in value.items())}}}"
    if isinstance(value, int | float) and not isinstance(value, Enum):
        return repr(value)
    text = str(value.value if isinstance(value, Enum) else value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
