"""What ``nano`` prints: tables for people, the API's own JSON for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

FORMATS = ("table", "json", "yaml", "csv", "name")
MINUTE, HOUR, DAY = 60, 3600, 86400
KIB = 1024


@dataclass(frozen=True)
class Column:
    """``value`` takes the item's JSON and returns what a person reads."""

    title: str
    value: Callable[[Mapping[str, Any]], str]


def field(path: str) -> Callable[[Mapping[str, Any]], str]:
    """Return a reader of one dotted path."""

    def read(item: Mapping[str, Any]) -> str:
        value: Any = item
        for part in path.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, list):
            return ",".join(str(part) for part in value)
        if isinstance(value, bool):
            return "yes" if value else "no"
        return "" if value is None else str(value)

    return read


def size(path: str) -> Callable[[Mapping[str, Any]], str]:
    """Return a reader of a number of bytes, in IEC units."""
    read = field(path)
    return lambda item: format_bytes(float(read(item) or 0))


def age(path: str) -> Callable[[Mapping[str, Any]], str]:
    """Return a reader of a time, as the time since."""
    read = field(path)

    def since(item: Mapping[str, Any]) -> str:
        text = read(item)
        if not text:
            return ""
        seconds = (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()
        return format_seconds(seconds)

    return since


def format_bytes(count: float) -> str:
    """Return ``count`` bytes in IEC units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < KIB:
            return f"{count:.0f} {unit}" if unit == "B" or count == int(count) else f"{count:.1f} {unit}"
        count /= KIB
    return f"{count:.1f} TiB"


def format_seconds(seconds: float) -> str:
    """Return a time span as one number and unit."""
    for limit, unit, name in ((MINUTE, 1, "s"), (HOUR, MINUTE, "m"), (DAY, HOUR, "h")):
        if seconds < limit:
            return f"{max(0, int(seconds // unit))}{name}"
    return f"{int(seconds // DAY)}d"


def print_items(items: Sequence[Mapping[str, Any]], columns: Sequence[Column], output: str) -> None:
    """Print a list in the wanted format."""
    if output in ("json", "yaml"):
        print_value(list(items), output)
    elif output == "name":
        for item in items:
            click.echo(item.get("name") or item.get("id"))
    elif output == "csv":
        click.echo(_csv(items, columns), nl=False)
    else:
        _print_table(items, columns)


def print_item(item: Mapping[str, Any], output: str) -> None:
    """Print one object in the wanted format; for people as a list of its fields, without empty ones."""
    if output == "table":
        rows = [{"field": path, "value": value} for path, value in _flat(item, "") if value]
        _print_table(rows, [Column("FIELD", field("field")), Column("VALUE", field("value"))])
    elif output in ("json", "yaml"):
        print_value(item, output)
    else:
        print_items([item], [Column(name, field(name)) for name in item], output)


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401  JSON
    """Yield dotted paths and texts; what an object allows is told by the actions it allows."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            if name == "allowed_actions":
                yield name, ", ".join(action["name"] for action in part if action["allowed"])
            else:
                yield from _flat(part, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
        for index, part in enumerate(value):
            yield from _flat(part, f"{path}[{index}]")
    elif isinstance(value, list):
        yield path, ", ".join(map(str, value))
    elif value is not None:
        is_size = path.endswith("bytes") and isinstance(value, int | float)
        is_rate = path.endswith("bytes_per_second")
        text = (
            format_bytes(value)
            if is_size or is_rate
            else _plain(round(value, 2) if isinstance(value, float) else value)
        )
        yield path, f"{text}/s" if is_rate else text


def print_value(value: Any, output: str) -> None:  # noqa: ANN401  JSON
    """Print JSON or YAML."""
    if output == "yaml":
        click.echo("\n".join(_yaml(value, 0)))
    else:
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _csv(items: Iterable[Mapping[str, Any]], columns: Sequence[Column]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(column.title.lower() for column in columns)
    writer.writerows([column.value(item) for column in columns] for item in items)
    return text.getvalue()


def _print_table(items: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> None:
    """Print left-aligned columns; control characters of foreign names are shown, not obeyed."""
    rows = [[column.title for column in columns]]
    rows += [[_printable(column.value(item)) for column in columns] for item in items]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    # At once: every echo is flushed.
    click.echo("\n".join(lines))


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _plain(value: Any) -> str:  # noqa: ANN401  JSON
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _yaml(value: Any, depth: int) -> list[str]:  # noqa: ANN401  JSON
    """Return YAML lines; scalars are written as JSON, which YAML contains."""
    indent = "  " * depth
    if isinstance(value, Mapping) and value:
        lines = []
        for name, part in value.items():
            if isinstance(part, Mapping | list) and part:
                lines += [f"{indent}{name}:", *_yaml(part, depth + 1)]
            else:
                lines.append(f"{indent}{name}: {json.dumps(part, ensure_ascii=False)}")
        return lines
    if isinstance(value, list) and value:
        lines = []
        for part in value:
            first, *rest = _yaml(part, depth + 1)
            lines += [f"{indent}- {first.lstrip()}", *rest]
        return lines
    return [indent + json.dumps(value, ensure_ascii=False)]
