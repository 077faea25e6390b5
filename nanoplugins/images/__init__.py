"""Disk images: upload, inspection, storage on the core, caches on cells."""
