"""Templates: stored answers for creating an instance."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

from nanocore.capabilities.compute import Description, InstanceValues
from nanocore.contracts.listing import ListQuery, PageInfo
from nanocore.ids import TemplateId
from nanocore.model.instance import InstanceName
from nanocore.wire import Command, Meta, Query, Result

VALUES_TEXT = (
    "As for creating an instance, without the name. A password and user-data are kept, but never shown again; "
    "`cloud_init` without them leaves them as they are"
)


class Template(Result, frozen=True, kw_only=True):
    """A template as the API shows it: nothing in it is secret."""

    id: TemplateId
    name: str
    description: str = ""
    values: InstanceValues
    has_password: bool = False
    """Whether it holds a password for the user in the guest."""
    has_user_data: bool = False
    """Whether it holds user-data, which may hold secrets."""
    instances: int = 0
    """How many instances were made from it and are still there."""
    owner: str = ""
    created_at: datetime


class ListTemplates(ListQuery, Query[PageInfo], frozen=True, kw_only=True):
    """A page of templates."""

    op: ClassVar[str] = "templates.list_templates"
    permission: ClassVar[str | None] = "template.read"


class GetTemplate(Query[PageInfo], frozen=True, kw_only=True):
    """One template, as a page of one."""

    op: ClassVar[str] = "templates.get_template"
    permission: ClassVar[str | None] = "template.read"

    id: TemplateId


class CreateTemplate(Command[Template], frozen=True, kw_only=True):
    """Keep answers for creating instances; what they refer to has to be there."""

    op: ClassVar[str] = "templates.create_template"
    permission: ClassVar[str | None] = "template.create"

    name: InstanceName
    description: Description = ""
    values: Annotated[InstanceValues, Meta(description=VALUES_TEXT)]


class UpdateTemplate(Command[Template], frozen=True, kw_only=True):
    """Change what is given; ``values`` are replaced as a whole. Instances made from it stay as they are."""

    op: ClassVar[str] = "templates.update_template"
    permission: ClassVar[str | None] = "template.update"

    id: TemplateId
    name: InstanceName | None = None
    description: Description | None = None
    values: Annotated[InstanceValues | None, Meta(description=VALUES_TEXT)] = None


class DeleteTemplate(Command[None], frozen=True, kw_only=True):
    """Forget a template; instances made from it stay as they are."""

    op: ClassVar[str] = "templates.delete_template"
    permission: ClassVar[str | None] = "template.delete"

    id: TemplateId
