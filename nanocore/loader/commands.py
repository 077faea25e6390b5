"""Commands that plugins add to ``nano``: found without a node, and only when no command of ours has the name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from nanocore.loader.discover import discover

if TYPE_CHECKING:
    from nanocore.capabilities.cli import CliCommand


def find_cli_command(name: str) -> CliCommand | None:
    """Return the command that an installed plugin declares by ``nano_cli_commands``, or ``None``.

    A plugin that fails here is logged and skipped: it must not break the command line.
    """
    for source in discover():
        try:
            declare = getattr(source.load(), "nano_cli_commands", None)
            declared: list[CliCommand] = [] if declare is None else list(declare())
        except Exception as error:  # noqa: BLE001  a plugin may raise anything
            structlog.get_logger().warning("cli.plugin_failed", plugin=source.name, error=str(error))
            continue
        for command in declared:
            if command.name == name:
                return command
    return None
