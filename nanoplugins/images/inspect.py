"""The inspection process: ``python -m nanoplugins.images.inspect KIND MAX_VIRTUAL_BYTES CPU_SECONDS < IMAGE``.

Started by ``inspection`` for every upload. The image is already open as standard input, so that the process can give
up everything else before it reads the first byte: it opens no file and no socket any more (descriptor limit), writes
no file, and is nobody where it was root. The verdict is one line of JSON.
"""

from __future__ import annotations

import os
import resource
import sys

from nanocore.model.image import ImageKind
from nanocore.wire import encode_json
from nanoplugins.images.formats import examine, examine_media

MEMORY_BYTES = 512 * 1024**2
NOBODY = 65534


def confine(cpu_seconds: int, *, max_written_bytes: int = 0) -> None:
    """Give up what an inspection does not need; called after all imports."""
    for kind, limit in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, max_written_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 3),
    ):
        resource.setrlimit(kind, (limit, limit))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def main(arguments: list[str]) -> None:
    """Print the verdict on standard input."""
    kind = ImageKind(arguments[0])
    max_virtual_bytes, cpu_seconds = (int(argument) for argument in arguments[1:])
    import oslo_utils.imageutils.format_inspector  # noqa: F401  imported while files can still be opened

    confine(cpu_seconds)
    with os.fdopen(0, "rb") as image:
        size_bytes = os.fstat(0).st_size
        if kind is ImageKind.MEDIA:
            verdict = examine_media(image, size_bytes)
        else:
            verdict = examine(image, size_bytes, max_virtual_bytes)
    sys.stdout.buffer.write(encode_json(verdict))


if __name__ == "__main__":
    main(sys.argv[1:])
