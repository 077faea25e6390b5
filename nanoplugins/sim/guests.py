"""Simulated guests and the file that lets them outlive a killed node, as real guests would. No event loop here."""

from __future__ import annotations

from io import BufferedWriter
from pathlib import Path

from nanocore.capabilities.hypervisor import GuestSpec, Observed
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId
from nanocore.model.instance import ObservedState
from nanocore.wire import Struct, decode_json, encode_json

COMPACT_LINES = 1024
"""Lines beyond two a guest that the file may grow before it is written anew."""


class SimCopy(Struct, frozen=True, kw_only=True):
    """A copy of its disks: how long it takes from when on (wall-clock seconds)."""

    targets: list[str]
    began_at: float
    seconds: float


class SimGuest(Struct, frozen=True, kw_only=True):
    """One guest. A changed ``spec`` becomes ``live`` at the next start, as with a real hypervisor."""

    spec: GuestSpec
    live: GuestSpec
    state: ObservedState = ObservedState.STOPPED
    reason: str | None = None
    is_managed: bool = True
    started_at: float = 0.0
    """Wall-clock seconds; 0 while it does not run."""
    booted_memory_bytes: int = 0
    """What it was started with: memory that is added later waits for the next start."""
    hostname: str | None = None
    """What its agent was told to call it."""
    frozen_until: float = 0.0
    """Wall-clock seconds until which its file systems are frozen."""
    copy: SimCopy | None = None

    def observed(self) -> Observed:
        """Return it as a driver reports it."""
        return Observed(
            id=self.spec.id,
            name=self.spec.name,
            state=self.state,
            reason=self.reason,
            is_managed=self.is_managed,
            step_key=self.spec.step_key if self.is_managed else None,
            vcpus=self.live.vcpus,
            memory_bytes=self.live.memory_bytes,
            disks=[disk.volume_id for disk in self.live.disks],
            nics=[nic.id for nic in self.live.nics],
            media=self.live.media,
            firmware=self.live.firmware,
            has_tpm=self.live.has_tpm,
            qos=self.live.qos,
        )


class _Line(Struct, frozen=True, kw_only=True):
    id: InstanceId
    guest: SimGuest | None


class GuestFile:
    """Every change as one appended line: cheap with thousands of guests, whole after ``kill -9``.

    ``None`` as path keeps nothing. Not synced to disk: a power cut would end real guests as well.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: BufferedWriter | None = None
        self._lines = 0

    def load(self) -> dict[InstanceId, SimGuest]:
        """Read all guests and begin to write; a last line cut short by a kill does not count."""
        guests: dict[InstanceId, SimGuest] = {}
        if self._path is None:
            return guests
        if self._path.exists():
            for text in self._path.read_bytes().split(b"\n")[:-1]:
                try:
                    line = decode_json(text, _Line)
                except NanoError as error:
                    message = f"{self._path} can't be read: {error.message}; remove it to begin without guests"
                    raise NanoError(ErrorCode.UNAVAILABLE, message, reason="sim.guest_file") from error
                if line.guest is None:
                    guests.pop(line.id, None)
                else:
                    guests[line.id] = line.guest
        self._rewrite(guests)
        return guests

    def save(self, id: InstanceId, guest: SimGuest | None, guests: dict[InstanceId, SimGuest]) -> None:
        """Append what became of one guest; ``guests`` are all, for the times when the file is written anew."""
        if self._file is None:
            return
        if self._lines > 2 * len(guests) + COMPACT_LINES:
            self._rewrite(guests)
        self._append(id, guest)
        self._file.flush()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, id: InstanceId, guest: SimGuest | None) -> None:
        assert self._file is not None  # noqa: S101  both callers opened it
        self._file.write(encode_json(_Line(id=id, guest=guest)) + b"\n")
        self._lines += 1

    def _rewrite(self, guests: dict[InstanceId, SimGuest]) -> None:
        assert self._path is not None  # noqa: S101  load and save return early without one
        self.close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(".part")
        self._file = part.open("wb")
        self._lines = 0
        for id, guest in guests.items():
            self._append(id, guest)
        self._file.flush()
        part.replace(self._path)
