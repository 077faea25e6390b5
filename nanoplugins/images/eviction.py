"""Has cells let go of cached files, as the core asks for it; a cell's own limit is its cache's affair."""

from __future__ import annotations

from nanocore.capabilities.images import EvictCached, Evicted, KeptImage
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId, NodeId, parse_id
from nanocore.model.image import ImageKind
from nanoplugins.images.library import ANY_STATE
from nanoplugins.images.making import Tools
from nanoplugins.images.records import WORDS
from nanoplugins.images.uses import ImageUses


class Eviction:
    """Owned by the handlers of a core."""

    def __init__(self, tools: Tools, uses: ImageUses) -> None:
        self._context = tools.context
        self._library = tools.library
        self._uses = uses

    async def evict(self, kind: ImageKind, id: ImageId, node_id: NodeId | None) -> Evicted:
        """Ask one cell, whose refusal is raised, or every cell that has it, whose refusals are told."""
        record = self._library.require(id, ANY_STATE, kind)
        by_node = await self._uses.refresh()
        if node_id is not None:
            parse_id(node_id, field="node_id")
            if node_id not in self._library.cells_with(id):
                raise NanoError(
                    ErrorCode.NOT_FOUND,
                    f"{WORDS[kind]} {record.name} is not in the cache of node {node_id}",
                    field="node_id",
                )
            await self._evict(id, node_id, by_node)
            return Evicted(evicted_from=[node_id])
        done, kept = [], []
        for node in self._library.cells_with(id):
            try:
                await self._evict(id, node, by_node)
            except NanoError as error:
                kept.append(KeptImage(node_id=node, reason=error.message))
            else:
                done.append(node)
        return Evicted(evicted_from=done, kept_on=kept)

    async def _evict(self, id: ImageId, node: NodeId, by_node: dict[NodeId, set[str]]) -> None:
        if id in by_node.get(node, ()):
            users = ", ".join(f"{use.kind} {use.name}" for use in self._library.uses(id)[:5])
            raise NanoError(
                ErrorCode.WRONG_STATE, f"it is needed on that cell; what needs it: {users}", reason="images.needed"
            )
        await self._context.call(EvictCached(id=id), dst=node)
        self._library.note_evicted(node, id)
