"""Sphinx makes a site of these pages: ``.venv/bin/sphinx-build -W docs docs/_build``."""

from __future__ import annotations

import re
from typing import Any

import nanocore

project = "Nano"
author = "The authors of Nano"
version = release = nanocore.__version__
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"Nano {release}"
html_show_copyright = False
myst_heading_anchors = 3

OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./){2}[^)]+\)")
"""A link to a file of the checkout that is no page of the site."""


def unlink_checkout(_app: Any, _page: str, source: list[str]) -> None:  # noqa: ANN401  Sphinx's
    """Keep the words of links that only a checkout can follow."""
    source[0] = OUTSIDE.sub(r"\1", source[0])


def setup(app: Any) -> None:  # noqa: ANN401  Sphinx's
    """Called by Sphinx."""
    app.connect("source-read", unlink_checkout)
