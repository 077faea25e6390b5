"""Storage pools and their paths: what users ask of the core."""

from __future__ import annotations

from typing import Annotated, ClassVar

from nanocore.contracts.listing import ListQuery, PageInfo
from nanocore.contracts.operation import Operation
from nanocore.ids import NodeId, StoragePoolId
from nanocore.model.instance import InstanceName
from nanocore.model.storage_pool import PathText, StoragePool
from nanocore.wire import Command, Meta, Query

Description = Annotated[str, Meta(description="Free text", max_length=2000)]
PathId = Annotated[str, Meta(description="Id of one of its paths", max_length=64)]


class ListStoragePools(ListQuery, Query[PageInfo], frozen=True, kw_only=True):
    """A page of storage pools."""

    op: ClassVar[str] = "storage_pools.list_storage_pools"
    permission: ClassVar[str | None] = "storage_pool.read"


class GetStoragePool(Query[PageInfo], frozen=True, kw_only=True):
    """One storage pool, as a page of one."""

    op: ClassVar[str] = "storage_pools.get_storage_pool"
    permission: ClassVar[str | None] = "storage_pool.read"

    id: StoragePoolId


class CreateStoragePool(Command[StoragePool], frozen=True, kw_only=True):
    """Make a storage pool without paths."""

    op: ClassVar[str] = "storage_pools.create_storage_pool"
    permission: ClassVar[str | None] = "storage_pool.create"

    name: InstanceName
    description: Description = ""


class UpdateStoragePool(Command[StoragePool], frozen=True, kw_only=True):
    """Change what is given."""

    op: ClassVar[str] = "storage_pools.update_storage_pool"
    permission: ClassVar[str | None] = "storage_pool.update"

    id: StoragePoolId
    name: InstanceName | None = None
    description: Description | None = None


class DeleteStoragePool(Command[None], frozen=True, kw_only=True):
    """Delete a storage pool that has no paths; ``default`` stays."""

    op: ClassVar[str] = "storage_pools.delete_storage_pool"
    permission: ClassVar[str | None] = "storage_pool.delete"

    id: StoragePoolId


class AddPath(Command[StoragePool], frozen=True, kw_only=True):
    """Let a storage pool use a folder of a cell; ``invalid_argument`` says why it can't."""

    op: ClassVar[str] = "storage_pools.add_path"
    permission: ClassVar[str | None] = "storage_pool.update"
    timeout_seconds: ClassVar[float] = 60

    id: StoragePoolId
    node_id: NodeId
    path: PathText


class RemovePath(Command[StoragePool], frozen=True, kw_only=True):
    """Take an empty path out of its storage pool; the folder itself stays."""

    op: ClassVar[str] = "storage_pools.remove_path"
    permission: ClassVar[str | None] = "storage_pool.update"
    timeout_seconds: ClassVar[float] = 60

    id: StoragePoolId
    path_id: PathId


class ActOnPath(Command[StoragePool], frozen=True, kw_only=True):
    """Let new volumes go to a path, or not; enabling a path also ends its draining."""

    op: ClassVar[str] = "storage_pools.act_on_path"
    permission: ClassVar[str | None] = "storage_pool.update"
    timeout_seconds: ClassVar[float] = 60

    id: StoragePoolId
    path_id: PathId
    action: Annotated[str, Meta(description="enable or disable")]


class DrainPath(Command[Operation], frozen=True, kw_only=True):
    """Move every volume of a path to the other paths of its cell and pool; those of running guests once they stop."""

    op: ClassVar[str] = "storage_pools.drain_path"
    permission: ClassVar[str | None] = "storage_pool.update"
    timeout_seconds: ClassVar[float] = 60

    id: StoragePoolId
    path_id: PathId
    idempotency_key: Annotated[str | None, Meta(description="Set from the Idempotency-Key header")] = None
