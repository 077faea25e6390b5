"""Names of what instances refer to, kept beside the views: a view shows the name that its object has now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nanocore.capabilities.images import GetDiskImage, GetMediaImage, ListDiskImages, ListMediaImages
from nanocore.capabilities.network import GetNetwork, ListNetworks
from nanocore.capabilities.network_api import GetSecurityPolicy, ListSecurityPolicies
from nanocore.contracts.listing import ResourceChanged
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import Query, Struct, decode_json
from nanoplugins.compute.board import Board

PAGE = 1000


class _Named(Struct, frozen=True, kw_only=True):
    """The part of any object that counts here."""

    id: str
    name: str


@dataclass(frozen=True)
class _Noun:
    page: Callable[[str], Query[Any]]
    get: Callable[[Any], Query[Any]]
    names: dict[Any, str]


class Names:
    """Reads them all at the start, and follows their changes."""

    def __init__(self, context: PluginContext, board: Board) -> None:
        self._context = context
        self._board = board
        self._nouns = {
            "disk-images": _Noun(
                lambda cursor: ListDiskImages(limit=PAGE, cursor=cursor),
                lambda key: GetDiskImage(id=key),
                board.image_names,
            ),
            "media-images": _Noun(
                lambda cursor: ListMediaImages(limit=PAGE, cursor=cursor),
                lambda key: GetMediaImage(id=key),
                board.image_names,
            ),
            "networks": _Noun(
                lambda cursor: ListNetworks(limit=PAGE, cursor=cursor),
                lambda key: GetNetwork(id=key),
                board.network_names,
            ),
            "security-policies": _Noun(
                lambda cursor: ListSecurityPolicies(limit=PAGE, cursor=cursor),
                lambda key: GetSecurityPolicy(id=key),
                board.policy_names,
            ),
        }

    async def load(self) -> None:
        """Read every name."""
        for noun in self._nouns.values():
            cursor: str | None = ""
            while cursor is not None:
                page = await self._context.call_reply(noun.page(cursor))
                for blob in page.blobs:
                    item = decode_json(bytes(blob), _Named)
                    noun.names[item.id] = item.name
                cursor = page.body.next_cursor

    async def follow(self, event: ResourceChanged) -> None:
        """Take over a new name; what is deleted keeps its last one, for those who still refer to it."""
        noun = self._nouns.get(event.noun)
        if noun is None or event.is_deleted:
            return
        try:
            item = await self._context.call(noun.get(event.id))
        except NanoError as error:
            if error.code is ErrorCode.NOT_FOUND:
                return  # deleted meanwhile
            raise
        before = noun.names.get(item.id)
        noun.names[item.id] = item.name
        if before not in (None, item.name):
            self._board.refresh_names()
