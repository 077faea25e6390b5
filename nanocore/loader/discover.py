"""Which plugins are installed, and which of them the configuration enables; nothing is imported here."""

from __future__ import annotations

import difflib
import importlib.metadata
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from nanocore.errors import ConfigError

ENTRY_POINT_GROUP = "nano.plugins"
FIRST_PARTY_DISTRIBUTION = "nano-cloud"
ALL_FIRST_PARTY = "*"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""A plugin's name is also that of its folders and of its configuration section."""


@dataclass(frozen=True, slots=True)
class PluginSource:
    """Where a plugin comes from. ``load`` imports and constructs it and may raise or hang."""

    name: str
    load: Callable[[], object]
    distribution: str = ""
    version: str = ""
    summary: str = ""
    is_first_party: bool = True

    @classmethod
    def in_process(cls, name: str, plugin: object, *, is_first_party: bool = True) -> PluginSource:
        """Return the source of a plugin object that exists already; for tests."""
        return cls(name, lambda: plugin, distribution="in-process", version="0", is_first_party=is_first_party)


@dataclass(frozen=True, slots=True)
class Selection:
    """What configuration makes of the sources; first-party plugins come first, then by name."""

    enabled: tuple[PluginSource, ...]
    disabled: Mapping[str, PluginSource]
    refused: tuple[tuple[PluginSource, str], ...]
    """Sources that can't be enabled whatever configuration says, with the reason."""
    explicit: frozenset[str]
    """Names that configuration spells out, apart from those that ``*`` stands for."""


def discover() -> list[PluginSource]:
    """Return every installed plugin, enabled or not."""
    return [_source(entry) for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)]


def _source(entry: importlib.metadata.EntryPoint) -> PluginSource:
    metadata = entry.dist.metadata if entry.dist is not None else None
    name = metadata["Name"] if metadata is not None else ""
    return PluginSource(
        name=entry.name,
        load=partial(_construct, entry),
        distribution=name,
        version=metadata["Version"] if metadata is not None else "",
        summary=(metadata["Summary"] if metadata is not None else "") or "",
        is_first_party=name == FIRST_PARTY_DISTRIBUTION,
    )


def _construct(entry: importlib.metadata.EntryPoint) -> object:
    return entry.load()()


def select(sources: Iterable[PluginSource], wanted: Sequence[str], *, extra: Iterable[str] = ()) -> Selection:
    """Apply ``[kernel] plugins`` (``*``, ``NAME``, ``-NAME``); ``extra`` are names enabled by their own file.

    Raises ``ConfigError`` for a name that is not installed.
    """
    found: dict[str, PluginSource] = {}
    refused: list[tuple[PluginSource, str]] = []
    for source in sorted(sources, key=lambda item: (not item.is_first_party, item.name, item.distribution)):
        if not _NAME.fullmatch(source.name):
            refused.append((source, f"{source.name!r} is no plugin name: lower-case letters, digits and underscores"))
        elif source.name in found:
            owner = found[source.name].distribution
            refused.append((source, f"the name {source.name} belongs to distribution {owner}"))
        else:
            found[source.name] = source
    names = _names(found, wanted, extra)
    enabled = tuple(source for name, source in found.items() if name in names)
    disabled = {name: source for name, source in found.items() if name not in names}
    explicit = frozenset(name for name in (*wanted, *extra) if name in found)
    return Selection(enabled, disabled, tuple(refused), explicit)


def _names(found: Mapping[str, PluginSource], wanted: Sequence[str], extra: Iterable[str]) -> set[str]:
    names: set[str] = set()
    for entry in (*(item for item in wanted if not item.startswith("-")), *extra):
        if entry == ALL_FIRST_PARTY:
            names |= {name for name, source in found.items() if source.is_first_party}
        else:
            names.add(_known(entry, found))
    return names - {_known(item[1:], found) for item in wanted if item.startswith("-")}


def _known(name: str, found: Mapping[str, PluginSource]) -> str:
    if name in found:
        return name
    close = difflib.get_close_matches(name, found, n=1)
    hint = f"did you mean {close[0]}?" if close else f"installed are: {', '.join(sorted(found)) or 'none'}"
    raise ConfigError(f"plugin {name!r} is not installed; {hint}", key="kernel.plugins")
