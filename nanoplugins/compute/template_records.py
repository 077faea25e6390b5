"""What is kept of templates."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from nanocore.capabilities.compute import InstanceValues
from nanocore.contracts.state_store import Collection
from nanocore.ids import TemplateId
from nanocore.wire import Struct
from nanoplugins.compute.records import NameRecord


class TemplateRecord(Struct, frozen=True, kw_only=True):
    """``values`` hold no password: only its hash is kept."""

    id: TemplateId
    name: str
    description: str = ""
    values: InstanceValues
    password_hash: str | None = None
    owner: str = ""
    created_at: datetime


TEMPLATES: Collection[TemplateRecord] = Collection("templates", TemplateRecord)
TEMPLATE_NAMES: Collection[NameRecord] = Collection("template_names", NameRecord)

ALL: list[Collection[Any]] = [TEMPLATES, TEMPLATE_NAMES]
