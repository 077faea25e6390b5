"""Snapshots inside volumes that no guest uses: all volumes of an instance, or none."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nanocore.errors import ErrorCode, NanoError
from nanocore.failpoints import fail_point
from nanocore.ids import SnapshotId, VolumeId
from nanoplugins.storage_local import qemu_img


@dataclass(frozen=True, slots=True)
class File:
    """A volume's file and the snapshots that were seen in it."""

    id: VolumeId
    path: Path
    file_bytes: int
    snapshots: Sequence[SnapshotId]


async def create(files: Sequence[File], snapshot_id: SnapshotId) -> None:
    """Make the snapshot in every file that lacks it; take back what was made if one refuses."""
    made: list[File] = []
    try:
        for file in files:
            if snapshot_id not in file.snapshots:
                made.append(file)
                await qemu_img.change_snapshot(file.path, "-c", snapshot_id, file_bytes=file.file_bytes)
                fail_point("cell/storage_local/one_snapshot_made")
    except BaseException:
        for file in made:
            with suppress(NanoError):
                await qemu_img.change_snapshot(file.path, "-d", snapshot_id, file_bytes=file.file_bytes)
        raise


async def restore(files: Sequence[File], snapshot_id: SnapshotId) -> None:
    """Bring every file back, after a look whether all can be."""
    for file in files:
        if snapshot_id not in file.snapshots:
            raise NanoError(
                ErrorCode.NOT_FOUND,
                f"volume {file.id} has no snapshot {snapshot_id}; nothing was restored",
                reason="storage_local.no_snapshot",
            )
    for file in files:
        await qemu_img.change_snapshot(file.path, "-a", snapshot_id, file_bytes=file.file_bytes)
        fail_point("cell/storage_local/one_snapshot_restored")


async def delete(files: Sequence[File], snapshot_id: SnapshotId) -> None:
    """Remove it where it is."""
    for file in files:
        if snapshot_id in file.snapshots:
            await qemu_img.change_snapshot(file.path, "-d", snapshot_id, file_bytes=file.file_bytes)
