"""The only user of pluggy: one plugin at a time, so that a failing implementation never ends a call for others."""

from __future__ import annotations

from typing import Any

import pluggy

from nanocore.hookspecs import PROJECT, NanoHooks


class HookCaller:
    """Knows which plugin implements which hook, and calls one implementation."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(NanoHooks)

    def register(self, name: str, plugin: object) -> None:
        """Add a checked plugin; raises pluggy's ``PluginValidationError`` for what ``checks`` did not see."""
        self._manager.register(plugin, name=name)

    def unregister(self, name: str) -> None:
        """Take a plugin out; unknown is fine."""
        if self._manager.has_plugin(name):
            self._manager.unregister(name=name)

    def has(self, name: str, hook: str) -> bool:
        """Return whether plugin ``name`` implements ``hook``."""
        return self._find(name, hook) is not None

    def call(self, name: str, hook: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401  what the plugin returns
        """Call plugin ``name``'s implementation with those ``arguments`` that it takes; it must have one.

        Returns what it returns (a coroutine for a broadcast hook) and raises what it raises.
        """
        implementation = self._find(name, hook)
        if implementation is None:
            raise LookupError(f"plugin {name} does not implement {hook}")
        return implementation.function(**{key: arguments[key] for key in implementation.argnames})

    def _find(self, name: str, hook: str) -> pluggy.HookImpl | None:
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        return next((item for item in implementations if item.plugin_name == name), None)
