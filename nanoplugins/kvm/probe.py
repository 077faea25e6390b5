"""Whether hardware acceleration really works here: asked by running a guest, never by looking for a file.

``/dev/kvm`` may exist, answer and still hang every guest kernel, or run it slower than software emulation does. So a
boot sector of nine bytes runs through the firmware under QEMU with a deadline; its only act is to end QEMU with a known
exit code.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from nanocore.errors import ErrorCode, NanoError

KVM_DEVICE = Path("/dev/kvm")
QEMU = "qemu-system-x86_64"
PROBE_TIMEOUT_SECONDS = 15.0

_EXIT_VALUE = 0x10
_EXIT_CODE = (_EXIT_VALUE << 1) | 1
"""isa-debug-exit ends QEMU with this code when the guest writes ``_EXIT_VALUE`` to its port."""
_PORT = 0xF4
# mov dx, port; mov al, value; out dx, al; hlt; jmp back to hlt
_CODE = bytes([0xBA, _PORT, 0x00, 0xB0, _EXIT_VALUE, 0xEE, 0xF4, 0xEB, 0xFD])
_DISK_BYTES = 1024 * 1024
"""The firmware refuses to boot from a disk too small to have a geometry."""
_SLOWER_FACTOR = 2.0
_SLOWER_SLACK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Acceleration:
    """What guests run with. ``reason`` says why it is not ``kvm``, or is empty."""

    name: str
    reason: str = ""


def probe(wanted: str, cache_file: Path | None = None, *, device: Path = KVM_DEVICE) -> Acceleration:
    """Return the acceleration to use; ``wanted`` is ``auto``, ``kvm`` or ``tcg``. Blocks for up to some seconds.

    Called in a worker thread when the driver opens, and by ``libvirtd`` before it starts one. A result is kept in
    ``cache_file`` until the machine or QEMU changes. Raises ``unavailable`` if ``kvm`` is wanted and there is no
    device at all.
    """
    if wanted == "tcg":
        return Acceleration("tcg", "the configuration says [kvm] acceleration = 'tcg'")
    if wanted == "kvm":
        if not device.exists():
            raise NanoError(
                ErrorCode.UNAVAILABLE,
                f"[kvm] acceleration is 'kvm' but {device} does not exist; load the kvm module, enable "
                "virtualisation in the firmware, or set it to 'auto'",
                reason="kvm.no_device",
            )
        return Acceleration("kvm")
    key = _cache_key(device)
    cached = _read_cache(cache_file, key)
    if cached is not None:
        return cached
    reason = why_not_kvm(device)
    result = Acceleration("tcg", reason) if reason else Acceleration("kvm")
    if cache_file is not None:
        cache_file.write_text(json.dumps({"key": key, "result": asdict(result)}), encoding="utf-8")
    return result


def why_not_kvm(device: Path = KVM_DEVICE) -> str:
    """Return why KVM can't be used on this machine, or an empty string if it can."""
    if not device.exists():
        return f"{device} does not exist"
    if not _has_virtualisation_flag():
        return "the processor shows neither vmx nor svm (nested virtualisation is off)"
    with_kvm = boot_seconds("kvm")
    if with_kvm is None:
        return f"a test guest did not run under KVM within {PROBE_TIMEOUT_SECONDS:g} s"
    with_tcg = boot_seconds("tcg")
    if with_tcg is not None and with_kvm > with_tcg * _SLOWER_FACTOR + _SLOWER_SLACK_SECONDS:
        return f"a test guest took {with_kvm:.1f} s under KVM and {with_tcg:.1f} s under software emulation"
    return ""


def boot_seconds(accelerator: str, timeout_seconds: float = PROBE_TIMEOUT_SECONDS) -> float | None:
    """Return how long QEMU takes to boot the test sector, or ``None`` if it does not get there."""
    sector = _CODE.ljust(510, b"\0") + b"\x55\xaa"
    with tempfile.NamedTemporaryFile(prefix="nano-probe-", suffix=".img") as disk:
        disk.write(sector.ljust(_DISK_BYTES, b"\0"))
        disk.flush()
        command = [QEMU, "-accel", accelerator, "-machine", "q35", "-m", "16", "-display", "none", "-nodefaults"]
        command += ["-no-user-config", "-no-reboot", "-device", f"isa-debug-exit,iobase={_PORT:#x},iosize=1"]
        command += [
            "-drive",
            f"file={disk.name},format=raw,if=none,id=disk,snapshot=on",
            "-device",
            "ide-hd,drive=disk",
        ]
        began = time.monotonic()
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_seconds, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return time.monotonic() - began if done.returncode == _EXIT_CODE else None


def _has_virtualisation_flag() -> bool:
    for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("flags"):
            return bool({"vmx", "svm"} & set(line.split()))
    return False


def _cache_key(device: Path) -> list[str]:
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return [boot_id, str(device.exists()), *_qemu_stamp()]


def _qemu_stamp() -> list[str]:
    try:
        stat = Path("/usr/bin", QEMU).stat()
    except OSError:
        return []
    return [str(stat.st_mtime_ns), str(stat.st_size)]


def _read_cache(cache_file: Path | None, key: list[str]) -> Acceleration | None:
    if cache_file is None:
        return None
    try:
        data = json.loads(cache_file.read_text(encoding="utf-8"))
        return Acceleration(**data["result"]) if data["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
