"""Templates: kept, shown without their secrets, and laid under what a request says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from nanocore.capabilities.compute import InstanceValues, NewCloudInit
from nanocore.capabilities.rest import Route
from nanocore.capabilities.templates import (
    CreateTemplate,
    DeleteTemplate,
    GetTemplate,
    ListTemplates,
    Template,
    UpdateTemplate,
)
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import Call, Handler, Reply
from nanocore.contracts.listing import PageInfo, ResourceChanged
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Change, Delete, Entry, Put
from nanocore.contracts.table import Table
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import TemplateId, new_id
from nanocore.model.password import hash_password
from nanocore.wire import structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.composing import Composer
from nanoplugins.compute.records import INSTANCES, NameRecord
from nanoplugins.compute.template_records import TEMPLATE_NAMES, TEMPLATES, TemplateRecord

COUNT_DELAY_SECONDS = 0.25


class Templates:
    """Handlers of ``templates.*``, and their table."""

    def __init__(self, context: PluginContext, board: Board, publish: Callable[[ResourceChanged], None]) -> None:
        self._context = context
        self._board = board
        self._composer = Composer(context, board)
        self._table: Table[Template] = Table("templates", context.clock, publish)
        self._timer: asyncio.TimerHandle | None = None
        self._unwatch: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Fill the table, and count again whenever instances come and go."""
        self._show_all()
        self._unwatch = self._board.store.watch(self._on_changes)

    def close(self) -> None:
        """Let go of the store."""
        self._unwatch()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def handlers(self) -> list[Handler]:
        """Return one handler a message."""
        return [
            Handler(ListTemplates, self._list),
            Handler(GetTemplate, self._get, resource=_resource),
            Handler(CreateTemplate, self._create),
            Handler(UpdateTemplate, self._update, resource=_resource),
            Handler(DeleteTemplate, self._delete, resource=_resource),
        ]

    def get(self, id: TemplateId, *, field: str = "template_id") -> TemplateRecord:
        """Return a template for a new instance; raise ``invalid_argument`` naming ``field``."""
        entry = self._board.store.get(TEMPLATES, id)
        if entry is None:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"there is no template with id {id[:80]}", field=field)
        return entry.value

    async def _list(self, message: ListTemplates, _call: Call) -> Reply[PageInfo]:
        return await self._table.answer(message)

    async def _get(self, message: GetTemplate, _call: Call) -> Reply[PageInfo]:
        return self._table.reply(message.id)

    async def _create(self, message: CreateTemplate, call: Call) -> Template:
        await self._composer.check_reusable(message.values, "values.")
        values, password_hash = _without_password(message.values)
        record = TemplateRecord(
            id=TemplateId(new_id()),
            name=message.name,
            description=message.description,
            values=values,
            password_hash=password_hash,
            owner="" if call.actor is None else call.actor.username,
            created_at=self._context.clock.now(),
        )
        await self._commit(
            record.name,
            Put(TEMPLATE_NAMES, record.name, NameRecord(id=record.id), expect=0),
            Put(TEMPLATES, record.id, record, expect=0),
        )
        return self._show(record)

    async def _update(self, message: UpdateTemplate, _call: Call) -> Template:
        entry = self._entry(message.id)
        before = entry.value
        after = structs.replace(
            before,
            name=message.name or before.name,
            description=before.description if message.description is None else message.description,
        )
        if message.values is not None:
            await self._composer.check_reusable(message.values, "values.")
            after = _with_values(after, message.values)
        changes: list[Put | Delete] = [Put(TEMPLATES, before.id, after, expect=entry.revision)]
        if after.name != before.name:
            changes += [
                Put(TEMPLATE_NAMES, after.name, NameRecord(id=before.id), expect=0),
                Delete(TEMPLATE_NAMES, before.name),
            ]
        await self._commit(after.name, *changes)
        if after.name != before.name:
            self._board.template_names[after.id] = after.name
            self._board.refresh_names()
        return self._show(after)

    async def _delete(self, message: DeleteTemplate, _call: Call) -> None:
        entry = self._entry(message.id)
        await self._board.store.commit(
            Delete(TEMPLATES, entry.key, expect=entry.revision), Delete(TEMPLATE_NAMES, entry.value.name)
        )
        self._table.delete(message.id)
        self._board.template_names.pop(message.id, None)
        self._board.refresh_names()

    def _entry(self, id: TemplateId) -> Entry[TemplateRecord]:
        entry = self._board.store.get(TEMPLATES, id)
        if entry is None:
            raise NanoError(ErrorCode.NOT_FOUND, f"there is no template with id {id[:80]}")
        return entry

    async def _commit(self, name: str, *changes: Put | Delete) -> None:
        try:
            await self._board.store.commit(*changes)
        except NanoError as error:
            if error.code is not ErrorCode.CONFLICT:
                raise
            if self._board.store.get(TEMPLATE_NAMES, name) is None:
                raise
            text = f"a template named {name} exists already; choose another name"
            raise NanoError(ErrorCode.ALREADY_EXISTS, text, field="name") from error

    def _on_changes(self, changes: Sequence[Change]) -> None:
        if self._timer is None and any(change.collection == INSTANCES.name for change in changes):
            self._timer = asyncio.get_running_loop().call_later(COUNT_DELAY_SECONDS, self._show_all)

    def _show_all(self) -> None:
        self._timer = None
        for entry in self._board.store.list(TEMPLATES):
            self._show(entry.value)

    def _show(self, record: TemplateRecord) -> Template:
        cloud_init = record.values.cloud_init
        has_user_data = cloud_init is not None and cloud_init.user_data is not None
        if cloud_init is not None:
            cloud_init = structs.replace(cloud_init, password=None, user_data=None)
        view = Template(
            id=record.id,
            name=record.name,
            description=record.description,
            values=structs.replace(record.values, cloud_init=cloud_init),
            has_password=record.password_hash is not None,
            has_user_data=has_user_data,
            instances=len(self._board.store.list(INSTANCES, index="template", value=record.id)),
            owner=record.owner,
            created_at=record.created_at,
        )
        self._board.template_names[record.id] = record.name
        self._table.put(view)
        return view


def template_routes() -> list[Route]:
    """Return the public API of templates."""
    example = {
        "name": "web",
        "description": "Two processors and a data disk",
        "values": {"vcpus": 2, "memory_bytes": 2147483648, "disks": [{"size_bytes": 10737418240, "name": "data"}]},
    }
    return [
        Route("GET", "/templates", ListTemplates, "List templates", is_list=True, item=Template),
        Route(
            "POST",
            "/templates",
            CreateTemplate,
            "Keep answers for creating instances",
            example,
            status=201,
            location="/templates/{id}",
        ),
        Route("GET", "/templates/{id}", GetTemplate, "Get a template", item=Template),
        Route("PATCH", "/templates/{id}", UpdateTemplate, "Change a template", {"description": "Small and cheap"}),
        Route("DELETE", "/templates/{id}", DeleteTemplate, "Delete a template", status=204),
    ]


def _without_password(values: InstanceValues) -> tuple[InstanceValues, str | None]:
    cloud_init = values.cloud_init
    if cloud_init is None or cloud_init.password is None:
        return values, None
    hidden = structs.replace(cloud_init, password=None)
    return structs.replace(values, cloud_init=hidden), hash_password(cloud_init.password)


def _with_values(record: TemplateRecord, values: InstanceValues) -> TemplateRecord:
    """Return ``record`` with other values: who read them without secrets and sends them back loses none."""
    kept, password_hash = _without_password(values)
    before: NewCloudInit | None = record.values.cloud_init
    if kept.cloud_init is not None:
        password_hash = password_hash or record.password_hash
        if kept.cloud_init.user_data is None and before is not None:
            kept = structs.replace(kept, cloud_init=structs.replace(kept.cloud_init, user_data=before.user_data))
    return structs.replace(record, values=kept, password_hash=password_hash)


def _resource(message: GetTemplate | UpdateTemplate | DeleteTemplate) -> ResourceRef:
    return ResourceRef(kind="template", id=message.id)
