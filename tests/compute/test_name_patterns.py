"""Names by number."""

from __future__ import annotations

import pytest

from nanocore.errors import NanoError
from nanoplugins.compute.field_errors import FieldErrors
from nanoplugins.compute.name_patterns import expand_names

PATTERNS = ["", "web", "web-{n}-{n}", "web-{m}", "web-{n:3}", "Web-{n}", "{n}-", "w{{n}}", "x" * 63 + "{n}"]


@pytest.mark.parametrize(
    ("pattern", "first", "count", "names"),
    [
        ("web-{n}", 1, 3, ["web-1", "web-2", "web-3"]),
        ("web-{n:03}", 9, 2, ["web-009", "web-010"]),
        ("{n}-db", 0, 1, ["0-db"]),
        ("a{n:02}b", 99, 2, ["a99b", "a100b"]),
    ],
)
def test_numbers_go_where_the_pattern_says(pattern: str, first: int, count: int, names: list[str]) -> None:
    errors = FieldErrors()
    assert expand_names(pattern, first, count, errors) == names
    errors.check()


@pytest.mark.parametrize(
    "pattern", ["", "web", "web-{n}-{n}", "web-{m}", "web-{n:3}", "Web-{n}", "{n}-", "w{{n}}", "x" * 63 + "{n}"]
)
def test_what_gives_no_names_is_refused(pattern: str) -> None:
    errors = FieldErrors("create.")
    expand_names(pattern, 1, 2, errors)
    with pytest.raises(NanoError) as caught:
        errors.check()
    assert caught.value.details["field"] == "create.name_pattern"
