"""The plugins of one node: loaded, asked, told, counted. What the kernel uses of the loader."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from nanocore.contracts.handler import Handler, Subscription
from nanocore.contracts.node import NodeRole
from nanocore.contracts.plugin import ConfigSection, PluginContext, PluginInfo, PluginState, PluginStatus
from nanocore.errors import ConfigError, ErrorCode, NanoError
from nanocore.loader.caller import HookCaller
from nanocore.loader.checks import hook_problems, result_problem
from nanocore.loader.discover import PluginSource, select
from nanocore.loader.specs import Spec, all_specs, resolve_kind
from nanocore.loader.watchdog import HookTimeoutError, Watchdog, contain_exit
from nanocore.logs import bind_log_context, log_context

K = TypeVar("K")

HOOK_SECONDS = 5.0
"""How long one collect hook, or a plugin's import, may take."""


@dataclass(slots=True)
class Plugin:
    """One plugin found on this node and what became of it."""

    source: PluginSource
    state: PluginState = PluginState.ENABLED
    reason: str | None = None
    failures: int = 0
    info: PluginInfo | None = None
    sections: list[ConfigSection] = field(default_factory=list)
    is_loaded: bool = False

    @property
    def name(self) -> str:
        """Return the entry point's name."""
        return self.source.name

    def status(self) -> PluginStatus:
        """Return the row of ``nano plugin list``."""
        return PluginStatus(
            name=self.name,
            version=self.info.version if self.info else self.source.version,
            summary=self.info.summary if self.info else self.source.summary,
            distribution=self.source.distribution,
            state=self.state,
            reason=self.reason,
            failures=self.failures,
        )


class Plugins:
    """Every plugin found. A failing one is taken out and named; with ``strict`` it stops the start instead."""

    def __init__(
        self,
        *,
        roles: frozenset[NodeRole],
        log: structlog.stdlib.BoundLogger,
        strict: bool = False,
        hook_seconds: float = HOOK_SECONDS,
    ) -> None:
        self._roles = roles
        self._log = log
        self._strict = strict
        self._specs = all_specs()
        self._caller = HookCaller()
        self._watchdog = Watchdog(hook_seconds)
        self._plugins: list[Plugin] = []
        self._objects: dict[str, dict[str, tuple[Plugin, Any]]] = {}

    # -- start-up, in this order

    def load(self, sources: Iterable[PluginSource], wanted: Sequence[str], *, extra: Iterable[str] = ()) -> None:
        """Import, construct, check and ask the enabled plugins who they are and what can be configured.

        Raises ``ConfigError`` for names that are not installed.
        """
        selection = select(sources, wanted, extra=extra)
        for source in selection.enabled:
            plugin = Plugin(source)
            self._plugins.append(plugin)
            self._load(plugin, is_explicit=source.name in selection.explicit)
        for source in selection.disabled.values():
            reason = f'not in [kernel] plugins; add "{source.name}" there to run it'
            self._plugins.append(Plugin(source, state=PluginState.DISABLED, reason=reason))
        for source, reason in selection.refused:
            plugin = Plugin(source)
            self._plugins.append(plugin)
            self.fail(plugin.name, reason, plugin=plugin)

    def sections(self) -> dict[str, type[Any]]:
        """Return the configuration sections of all loaded plugins."""
        return {section.name: section.kind for plugin in self._plugins for section in plugin.sections}

    def names(self) -> set[str]:
        """Return the names of all plugins found, enabled or not."""
        return {plugin.name for plugin in self._plugins}

    def collect(self, make_context: Callable[[str, Sequence[ConfigSection]], PluginContext]) -> None:
        """Ask every loaded plugin for what it declares; raises ``ConfigError`` when two first-party ones collide."""
        for plugin in self._plugins:
            if plugin.is_loaded:
                self._collect(plugin, make_context)
        self._watchdog.close()

    # -- what was declared

    def collected(self, kind: type[K]) -> Mapping[str, K]:
        """Return what was declared of ``kind``, by key."""
        return {key: item for key, (_, item) in self._objects.get(kind.__name__, {}).items()}

    def owner(self, kind: type[Any], key: str) -> str:
        """Return the name of the plugin that declared an object."""
        return self._objects[kind.__name__][key][0].name

    def choose(self, kind: type[K], name: str, *, key: str) -> K:
        """Return the object of ``kind`` that configuration (``key``) names; raise ``ConfigError`` if there is none."""
        found = self.collected(kind)
        if name not in found:
            there = ", ".join(sorted(found)) or "none; no enabled plugin declares one"
            raise ConfigError(f"{name!r} is not there; available: {there}", key=key)
        return found[name]

    def handlers(self) -> dict[str, Handler]:
        """Return all message handlers; each counts and names its own plugin's failures."""
        return {
            op: dataclasses.replace(handler, call=self._counted(self.owner(Handler, op), handler.call))
            for op, handler in self.collected(Handler).items()
        }

    def subscriptions(self) -> list[Subscription]:
        """Return all event subscriptions, counted as handlers are."""
        return [
            dataclasses.replace(item, call=self._counted(self.owner(Subscription, key), item.call))
            for key, item in self.collected(Subscription).items()
        ]

    # -- while the node runs

    async def broadcast(self, hook: str, **arguments: object) -> None:
        """Call ``hook`` of every enabled plugin at once, each alone and under the hook's timeout. Never raises."""
        spec = self._specs[hook]
        plugins = [item for item in self._plugins if self._is_running(item) and self._caller.has(item.name, hook)]
        await asyncio.gather(*(self._tell(plugin, spec, arguments) for plugin in plugins))

    def fail(self, name: str, reason: str, *, error: BaseException | None = None, plugin: Plugin | None = None) -> None:
        """Mark a plugin as failed, log it, and in strict mode raise. What it declared is dropped."""
        found = plugin or self._find(name)
        found.state, found.reason, found.failures = PluginState.FAILED, reason, found.failures + 1
        self._drop(found)
        self._log.error("plugin failed", plugin=name, reason=reason, exc_info=error)
        if self._strict:
            raise NanoError(ErrorCode.INTERNAL, f"plugin {name}: {reason}", reason="plugin") from error

    def blame(self, name: str, reason: str) -> None:
        """Say that a plugin failed in part (a service, say); what else it declared goes on."""
        plugin = self._find(name)
        plugin.state, plugin.reason, plugin.failures = PluginState.FAILED, reason, plugin.failures + 1

    def count(self, name: str) -> None:
        """Count one failure of a plugin; the kernel itself has the empty name."""
        if name:
            self._find(name).failures += 1

    def statuses(self) -> list[PluginStatus]:
        """Return every plugin found, by name."""
        return sorted((plugin.status() for plugin in self._plugins), key=lambda status: status.name)

    # -- loading one

    def _load(self, plugin: Plugin, *, is_explicit: bool) -> None:
        try:
            instance = self._watchdog.run(plugin.source.load)
            problems = hook_problems(instance, self._specs)
            if problems:
                self.fail(plugin.name, "; ".join(problems))
                return
            self._watchdog.run(lambda: self._caller.register(plugin.name, instance))
            self._introduce(plugin)
        except NanoError:
            raise
        except ModuleNotFoundError as error:
            self._load_failed(plugin, error, is_explicit=is_explicit)
        except Exception as error:  # noqa: BLE001  whatever a plugin raises is its own failure
            self.fail(plugin.name, f"can't be loaded: {_text(error)}", error=error)

    def _load_failed(self, plugin: Plugin, error: ModuleNotFoundError, *, is_explicit: bool) -> None:
        library = (error.name or "").split(".")[0]
        is_optional = plugin.source.is_first_party and not is_explicit and not library.startswith("nano")
        if not is_optional:
            self.fail(plugin.name, f"can't be loaded: {_text(error)}", error=error)
            return
        plugin.state = PluginState.DISABLED
        plugin.reason = f"library {library} is not installed; install the extra of nano-cloud for {plugin.name}"
        self._log.info("plugin disabled", plugin=plugin.name, reason=plugin.reason)

    def _introduce(self, plugin: Plugin) -> None:
        infos = self._ask(plugin, self._specs["nano_plugin_info"], {})
        if infos is None:
            return
        if len(infos) != 1 or infos[0].name != plugin.name:
            names = [info.name for info in infos]
            self.fail(plugin.name, f"nano_plugin_info must return exactly one info, named {plugin.name!r}, not {names}")
            return
        info: PluginInfo = infos[0]
        plugin.info = info
        sections: list[ConfigSection] | None = self._ask(plugin, self._specs["nano_config_sections"], {})
        if sections is None:
            return
        for section in sections:
            owner = next((other for other in self._plugins if section.name in {s.name for s in other.sections}), None)
            if owner is not None or section.name == "kernel":
                taken = owner.name if owner else "the kernel"
                self.fail(plugin.name, f"configuration section [{section.name}] belongs to {taken}")
                return
        plugin.sections = list(sections)
        plugin.is_loaded = True
        if info.roles and not info.roles & self._roles:
            plugin.state = PluginState.DISABLED
            roles, own = (", ".join(sorted(role.value for role in group)) for group in (info.roles, self._roles))
            plugin.reason = f"for nodes with role {roles}; this one has {own}"

    # -- collecting

    def _collect(self, plugin: Plugin, make_context: Callable[[str, Sequence[ConfigSection]], PluginContext]) -> None:
        context = make_context(plugin.name, plugin.sections)
        declared: list[tuple[Spec, Any]] = []
        for spec in self._specs.values():
            if spec.shape == "broadcast" or spec.name in ("nano_plugin_info", "nano_config_sections"):
                continue
            if plugin.state is not PluginState.ENABLED and not spec.any_role:
                continue
            items = self._ask(plugin, spec, {"context": context})
            if items is None:
                return
            declared += [(spec, item) for item in items]
        for spec, item in declared:
            if not self._declare(plugin, spec, item):
                return

    def _declare(self, plugin: Plugin, spec: Spec, item: Any) -> bool:  # noqa: ANN401  of the spec's kind
        key = getattr(item, spec.key)
        objects = self._objects.setdefault(spec.kind, {})
        if key not in objects:
            objects[key] = (plugin, item)
            return True
        owner = objects[key][0]
        if owner.source.is_first_party and plugin.source.is_first_party:
            raise ConfigError(
                f"plugins {owner.name} and {plugin.name} both declare {spec.kind} {key!r}; leave one out, such as "
                f'"-{plugin.name}"',
                key="kernel.plugins",
            )
        self.fail(plugin.name, f"claims {spec.kind} {key!r}, which belongs to plugin {owner.name}")
        return False

    def _ask(self, plugin: Plugin, spec: Spec, arguments: dict[str, Any]) -> list[Any] | None:
        """Return what a plugin declares; ``None`` after its failure."""
        if not self._caller.has(plugin.name, spec.name):
            return []
        try:
            result = self._watchdog.run(lambda: self._caller.call(plugin.name, spec.name, arguments))
            problem = result_problem(spec, result, resolve_kind(spec.kind))
        except HookTimeoutError as error:
            self.fail(plugin.name, f"{spec.name} {error}")
            return None
        except Exception as error:  # noqa: BLE001  whatever a plugin raises is its own failure
            self.fail(plugin.name, f"{spec.name} raised {_text(error)}", error=error)
            return None
        if problem is not None:
            self.fail(plugin.name, problem)
            return None
        return list(result)

    def _drop(self, plugin: Plugin) -> None:
        plugin.is_loaded = False
        self._caller.unregister(plugin.name)
        for objects in self._objects.values():
            for key in [key for key, (owner, _) in objects.items() if owner is plugin]:
                del objects[key]

    # -- running

    def _is_running(self, plugin: Plugin) -> bool:
        return plugin.is_loaded and plugin.state is not PluginState.DISABLED

    def _find(self, name: str) -> Plugin:
        return next(plugin for plugin in self._plugins if plugin.name == name)

    def _counted(self, name: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        plugin = self._find(name)

        async def counted(*arguments: Any) -> Any:  # noqa: ANN401  as the declared callable
            # Each call has a task of its own; what the kernel logs about it afterwards also names the plugin.
            bind_log_context(plugin=name)
            try:
                return await contain_exit(call(*arguments))
            except NanoError:
                raise
            except Exception:
                plugin.failures += 1
                raise

        return counted

    async def _tell(self, plugin: Plugin, spec: Spec, arguments: dict[str, Any]) -> None:
        async def tell() -> None:
            with log_context(plugin=plugin.name):
                await contain_exit(self._caller.call(plugin.name, spec.name, arguments))

        task = asyncio.create_task(tell(), name=f"{spec.name}:{plugin.name}")
        try:
            await asyncio.wait({task}, timeout=spec.timeout_seconds)
        finally:
            if not task.done():
                task.cancel()
        if not task.done():
            plugin.failures += 1
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({task}, timeout=0.1)
            self._log.error(
                "hook did not return in time", plugin=plugin.name, hook=spec.name, limit_seconds=spec.timeout_seconds
            )
        elif not task.cancelled() and task.exception() is not None:
            plugin.failures += 1
            self._log.error("hook failed", plugin=plugin.name, hook=spec.name, exc_info=task.exception())


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
