"""Whether the node forwards packets, for each IP version; switched on when a network needs it, and off again.

IPv6 is the whole node's: the kernel asks its ``all`` only. A node that forwards no longer listens to routers, so
devices that did are told to go on (``accept_ra`` 2) before, and are put back after.
"""

from __future__ import annotations

from pathlib import Path

from nanocore.errors import ErrorCode, NanoError

MARK, IPV6_MARK = "forwarding-enabled", "ipv6-forwarding-enabled"
"""Exist while forwarding is on because of us; the second names the devices that were told."""
IPV4 = Path("/proc/sys/net/ipv4/ip_forward")
IPV6 = Path("/proc/sys/net/ipv6/conf/all/forwarding")
DEVICES = Path("/proc/sys/net/ipv6/conf")
LISTENS, LISTENS_THOUGH_FORWARDING = "1", "2"


def ensure(folder: Path, *, with_ipv6: bool) -> None:
    """Let the node forward, and mark in ``folder`` that it was us. Raises ``unavailable``."""
    if not _is_on(IPV4):
        (folder / MARK).touch()
        _switch(IPV4, "net.ipv4.ip_forward")
    if with_ipv6 and not _is_on(IPV6):
        told = [path.parent.name for path in DEVICES.glob("*/accept_ra") if _read(path) == LISTENS]
        (folder / IPV6_MARK).write_text("\n".join(told), encoding="utf-8")
        _set_accept_ra(told, LISTENS, LISTENS_THOUGH_FORWARDING)
        _switch(IPV6, "net.ipv6.conf.all.forwarding")


def restore(folder: Path) -> None:
    """Take back what ``ensure`` did."""
    if (folder / MARK).exists():
        IPV4.write_text("0", encoding="ascii")
        (folder / MARK).unlink()
    mark = folder / IPV6_MARK
    if mark.exists():
        IPV6.write_text("0", encoding="ascii")
        _set_accept_ra(mark.read_text(encoding="utf-8").splitlines(), LISTENS_THOUGH_FORWARDING, LISTENS)
        mark.unlink()


def _set_accept_ra(devices: list[str], before: str, after: str) -> None:
    for device in devices:
        path = DEVICES / device / "accept_ra"
        if path.exists() and _read(path) == before:
            path.write_text(after, encoding="ascii")


def _is_on(path: Path) -> bool:
    return path.exists() and _read(path) == "1"


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()


def _switch(path: Path, name: str) -> None:
    try:
        path.write_text("1", encoding="ascii")
    except OSError as error:
        raise NanoError(
            ErrorCode.UNAVAILABLE,
            f"guests can't reach out: {path} is off and can't be set ({error.strerror}); "
            f"run `sysctl -w {name}=1` on this node",
            reason="network_bridge.forwarding",
        ) from error
