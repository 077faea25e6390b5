"""What a plugin adds to the web portal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StaticFolder:
    """Files served below ``url_prefix`` without login. ``index`` answers every unknown path below it (single page).

    ``relaxed_style_paths`` are documents that may use inline styles (the serial console's).
    """

    url_prefix: str
    folder: Path
    index: str | None = None
    relaxed_style_paths: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Two folders can't share a prefix."""
        return self.url_prefix
