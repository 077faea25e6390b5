"""``python -m nanoplugins.network_bridge down|remove --state-dir DIR``: networks without a running kernel.

``down`` keeps the records, so that the next kernel brings the networks back; ``remove`` does not. For ``quickstart``.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from nanocore.errors import NanoError
from nanoplugins.network_bridge.teardown import take_down_all


def main() -> int:
    """Run one command; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m nanoplugins.network_bridge")
    parser.add_argument("command", choices=["down", "remove"])
    parser.add_argument("--state-dir", type=Path, required=True, help="<root>/var/lib/nano/network_bridge")
    chosen = parser.parse_args()
    try:
        names = asyncio.run(take_down_all(chosen.state_dir, forget=chosen.command == "remove"))
    except NanoError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    sys.stdout.write("".join(f"{name}\n" for name in names))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
