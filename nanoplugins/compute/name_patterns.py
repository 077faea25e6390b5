"""Names by number: ``web-{n}``, ``web-{n:03}``. Pure."""

from __future__ import annotations

import re

from nanocore.errors import NanoError
from nanocore.ids import parse_name
from nanoplugins.compute.field_errors import FieldErrors

_NUMBER = re.compile(r"\{n(?::0([1-9]))?\}")


def expand_names(pattern: str, first: int, count: int, errors: FieldErrors) -> list[str]:
    """Return ``count`` names; a pattern that gives no names, or the same one twice, is noted as ``name_pattern``."""
    if len(_NUMBER.findall(pattern)) != 1 or set(_NUMBER.sub("", pattern)) & set("{}"):
        errors.add("name_pattern", "must have {n}, or {n:03} for numbers such as 007, exactly once")
        return []
    before, width, after = _NUMBER.split(pattern)
    names = [f"{before}{str(number).zfill(int(width or 0))}{after}" for number in range(first, first + count)]
    try:
        for name in (names[0], names[-1]):
            parse_name(name, field="name_pattern")
    except NanoError as error:
        errors.add("name_pattern", error.message)
    return names
