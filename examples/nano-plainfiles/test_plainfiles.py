"""The driver keeps what every storage driver must keep."""

from __future__ import annotations

from pathlib import Path

from nano_plainfiles.driver import PlainFiles

from nanocore.capabilities.storage import StorageDriver
from nanocore.testing.storage_suite import StorageSuite, SuiteImage

MIB = 1024**2


class TestPlainFiles(StorageSuite):
    """Collected by pytest: one test a promise."""

    def driver(self, folder: Path) -> StorageDriver:
        """Return a driver on a folder of its own."""
        pool = folder / "pool"
        pool.mkdir(exist_ok=True)
        return PlainFiles(pool, reserve_bytes=0)

    def full_driver(self, folder: Path) -> StorageDriver:
        """Return one that must leave more free than any disk has."""
        pool = folder / "full"
        pool.mkdir()
        return PlainFiles(pool, reserve_bytes=2**62)

    def image(self, folder: Path) -> SuiteImage:
        """Return a raw image with something in it."""
        path = folder / "image.raw"
        path.write_bytes(bytes(range(256)) * 4096 * 8)
        return SuiteImage(path, "raw", 8 * MIB)
