"""Sizes as people write them."""

from __future__ import annotations

import re
from typing import Any

import click

UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


class Size(click.ParamType[int]):
    """A number of bytes with an IEC unit: 512M, 2G, 1.5GiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401
        """Return bytes."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(value), re.IGNORECASE)
        if found is None:
            self.fail(f"{value!r} is no size; write it like 512M or 2G", param, ctx)
        return int(float(found[1]) * UNITS[found[2].upper()])
