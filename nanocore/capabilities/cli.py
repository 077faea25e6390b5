"""Commands that a plugin adds to ``nano``; loaded only when they are run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CliCommand:
    """``nano <name>`` is the click command at ``target``.

    It is named in text (``module:attribute``), so that ``nano --help`` imports no plugin.
    """

    name: str
    target: str
    summary: str
