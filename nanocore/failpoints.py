"""Named points at which a test lets the process die, as a power cut would.

``NANO_FAIL_POINT=<name>`` arms one point: the process that reaches it ends by ``SIGKILL``. With
``NANO_FAIL_POINT_LOG=<file>`` every point reached appends its name, so that a harness learns them all by one clean
run. Names: ``<operation kind>/<step>/intended|done|undoing|undone`` on the core, ``cell/<op>/received|done`` on a cell.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path


def fail_point(name: str) -> None:
    """Die here if ``name`` is armed; note it if points are being recorded."""
    record = os.environ.get("NANO_FAIL_POINT_LOG")
    if record:
        with Path(record).open("a", encoding="utf-8") as file:
            file.write(name + "\n")
    if os.environ.get("NANO_FAIL_POINT") == name:
        os.kill(os.getpid(), signal.SIGKILL)
