"""The programs of the node that this plugin runs: ``nft`` and ``dnsmasq``."""

from __future__ import annotations

import asyncio
import os
import pwd
import select
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import decode_json, encode_json
from nanoplugins.network_bridge.nft import Expr

TIMEOUT_SECONDS = 10.0
PACKAGES = {"nft": "nftables", "dnsmasq": "dnsmasq-base"}
DNSMASQ_USERS = ("dnsmasq", "nobody")


def check_programs() -> None:
    """Raise ``unavailable`` naming the package of a program that is not there."""
    for program, package in PACKAGES.items():
        if shutil.which(program, path=_PATH) is None:
            raise NanoError(
                ErrorCode.UNAVAILABLE,
                f"program {program} is not installed on this node; install the package {package}",
                reason="network_bridge.program",
            )


def unprivileged_user() -> str:
    """Return the account that dnsmasq changes to."""
    for name in DNSMASQ_USERS:
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise NanoError(ErrorCode.UNAVAILABLE, f"this node has none of the accounts {', '.join(DNSMASQ_USERS)} for dnsmasq")


async def apply_rules(commands: list[Expr]) -> None:
    """Give ``commands`` to nftables as one transaction."""
    await _run("nft", "-j", "-f", "-", data=encode_json({"nftables": commands}))


async def list_rules() -> bytes:
    """Return the node's whole ruleset as JSON."""
    return await _run("nft", "-j", "list", "ruleset")


async def list_tables() -> set[tuple[str, str]]:
    """Return family and name of every table of this node."""
    listed = decode_json(await _run("nft", "-j", "list", "tables"), dict[str, list[dict[str, Any]]])
    return {(item["table"]["family"], item["table"]["name"]) for item in listed["nftables"] if "table" in item}


async def start_dnsmasq(configuration: Path) -> None:
    """Start dnsmasq; returns once it answers, as it goes to the background only then."""
    await _run("dnsmasq", f"--conf-file={configuration}")


def find_dnsmasq(configuration: Path) -> int | None:
    """Return the process id of the dnsmasq that runs ``configuration``, whoever started it."""
    with suppress(OSError, ValueError):
        pid = int((configuration.parent / "dnsmasq.pid").read_text(encoding="ascii"))
        # The id may have gone to another program since; a zombie has no arguments.
        if f"--conf-file={configuration}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return pid
    return None


async def stop_dnsmasq(configuration: Path) -> None:
    """End the dnsmasq that runs ``configuration``; return when it has."""
    pid = find_dnsmasq(configuration)
    if pid is not None:
        with suppress(ProcessLookupError):
            await asyncio.to_thread(_end, pid)


def _end(pid: int) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        for sent in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(pidfd, sent)
            if select.select([pidfd], [], [], TIMEOUT_SECONDS / 4)[0]:
                return
    finally:
        os.close(pidfd)


_PATH = os.defpath + ":/usr/local/sbin:/usr/sbin:/sbin"


async def _run(*command: str, data: bytes = b"") -> bytes:
    # In a thread: cancelling an asyncio subprocess whose grandchild holds the pipes can hang the loop's end.
    try:
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            input=data,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
            env={"PATH": _PATH, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise NanoError(
            ErrorCode.UNAVAILABLE,
            f"{command[0]} did not end within {TIMEOUT_SECONDS:g} s",
            reason=f"network_bridge.{command[0]}",
        ) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise NanoError(
            ErrorCode.UNAVAILABLE,
            f"{' '.join(command)} failed: {said[0][:300]}",
            reason=f"network_bridge.{command[0]}",
        )
    return done.stdout
