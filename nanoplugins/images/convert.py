"""The conversion process: ``python -m nanoplugins.images.convert FORMAT MAX_VIRTUAL MAX_BYTES CPU_SECONDS < IN > OUT``.

Started by ``inspection`` after a file of another format was inspected, and confined as an inspection is: both files are
open already, nothing else can be opened, no program is run. The verdict is one line of JSON on standard error.
"""

from __future__ import annotations

import errno
import os
import sys

from nanocore.wire import encode_json
from nanoplugins.images.foreign import open_foreign
from nanoplugins.images.formats import Verdict, check_virtual_size
from nanoplugins.images.inspect import confine
from nanoplugins.images.qcow2 import Refusal
from nanoplugins.images.qcow2_writer import Qcow2Writer

OUTPUT = 1
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def convert(format: str, max_virtual_bytes: int, max_bytes: int) -> Verdict:
    """Write standard input, which is of ``format``, to standard output as qcow2."""
    try:
        with os.fdopen(0, "rb") as file:
            disk = open_foreign(format, file, os.fstat(0).st_size)
            check_virtual_size(disk.virtual_bytes, max_virtual_bytes)
            writer = Qcow2Writer(OUTPUT, disk.virtual_bytes, max_bytes)
            writer.write(disk.parts())
            writer.finish()
    except Refusal as refusal:
        return Verdict(refusal=str(refusal))
    except OSError as error:
        if error.errno not in _FULL:
            raise
        return Verdict(refusal="the core's disk for images is full; free space on it and upload it again")
    return Verdict(format="qcow2", virtual_size_bytes=disk.virtual_bytes)


def main(arguments: list[str]) -> None:
    """Convert, and print the verdict."""
    format = arguments[0]
    max_virtual_bytes, max_bytes, cpu_seconds = (int(argument) for argument in arguments[1:])
    confine(cpu_seconds, max_written_bytes=max_bytes)
    sys.stderr.buffer.write(encode_json(convert(format, max_virtual_bytes, max_bytes)))


if __name__ == "__main__":
    main(sys.argv[1:])
