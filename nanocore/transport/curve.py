"""CURVE keys on disk, and the authenticator that decides which key is whom.

libzmq asks over ZAP (RFC 27) at every handshake. Without an answer it would let strangers in, so that every bound
socket also enforces its domain: a dead authenticator means that nobody gets in.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import struct
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import structlog
import zmq
from zmq.utils import z85

from nanocore.clock import Clock
from nanocore.errors import ErrorCode, NanoError
from nanocore.transport.base import Authenticate

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
ZAP_ENFORCE_DOMAIN = 93
"""Socket option of libzmq 4.3 that pyzmq has no name for in every build."""

_NOBLOCK = int(zmq.NOBLOCK)
_NOBLOCK_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_LOG_EVERY_SECONDS = 60.0
_LOGGED_KEYS = 1024


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair, each half 40 characters of Z85."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public!r})"

    @classmethod
    def generate(cls) -> KeyPair:
        """Return a new pair from the system's randomness."""
        public, secret = zmq.curve_keypair()
        return cls(public.decode(), secret.decode())

    @classmethod
    def from_secret(cls, secret: str) -> KeyPair:
        """Return the pair of ``secret``; raises ``invalid_argument``."""
        try:
            return cls(zmq.curve_public(secret.encode()).decode(), secret)
        except (zmq.ZMQError, ValueError, UnicodeEncodeError) as error:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, "not a CURVE secret key", reason="trust.key") from error


def parse_public_key(text: str, *, field: str = "public_key") -> str:
    """Return ``text`` if it is a CURVE public key in Z85, else raise ``invalid_argument`` naming ``field``."""
    try:
        if len(text) == 40 and len(z85.decode(text.encode("ascii"))) == 32:  # noqa: PLR2004  RFC 32: 5 letters for 4 bytes
            return text
    except (ValueError, KeyError, struct.error):
        pass
    raise NanoError(ErrorCode.INVALID_ARGUMENT, f"{field} is not a public key", field=field)


def write_private(path: Path, content: bytes) -> None:
    """Create ``path`` with mode 0600 and all of ``content``, or not at all; raises ``FileExistsError``."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A link, not a rename: it fails if somebody else made the file meanwhile.
        os.link(draft, path)
    finally:
        draft.unlink()


def read_private(path: Path) -> bytes:
    """Return the content of ``path``; raise ``permission_denied`` if anybody but its owner may open it."""
    with path.open("rb") as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode) or stat.S_IMODE(info.st_mode) & 0o077 or info.st_uid != os.geteuid():
            mode = f"{stat.S_IMODE(info.st_mode):04o}"
            message = f"{path} holds a secret key but has mode {mode}, owner {info.st_uid}; run: chmod 600 {path}"
            raise NanoError(ErrorCode.PERMISSION_DENIED, message, reason="trust.key_mode")
        return file.read()


def descriptor(socket: zmq.Socket[bytes]) -> int:
    """Return the descriptor that signals events of ``socket``; readable only after a failed read."""
    return int(socket.get(zmq.FD))


class Authenticator:
    """Answers ZAP on the loop. No answer, an exception or an unknown key all mean no."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], clock: Clock, log: structlog.stdlib.BoundLogger
    ) -> None:
        self._context = context
        self._clock = clock
        self._log = log
        self._domains: dict[str, Authenticate] = {}
        self._socket: zmq.Socket[bytes] | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._logged: OrderedDict[str, float] = OrderedDict()

    def allow(self, domain: str, authenticate: Authenticate) -> None:
        """Let ``authenticate`` decide for the sockets of ``domain``; every other domain is refused."""
        self._domains[domain] = authenticate

    def start(self) -> None:
        """Listen for libzmq's questions; must run before the first bind."""
        socket = self._context.socket(zmq.ROUTER)
        socket.linger = 0
        socket.bind(ZAP_ENDPOINT)
        self._socket = socket
        asyncio.get_running_loop().add_reader(descriptor(socket), self._drain)
        self._watch()

    def stop(self) -> None:
        """Stop answering: from here on nobody gets in."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(descriptor(self._socket))
            self._socket.close()
            self._socket = None

    def _watch(self) -> None:
        """Look once a second, whatever was signalled: a lost wake-up must not lock everybody out."""
        self._drain()
        self._watchdog = asyncio.get_running_loop().call_later(1.0, self._watch)

    def _drain(self) -> None:
        while self._socket is not None:
            try:
                frames = self._socket.recv_multipart(_NOBLOCK)
            except zmq.Again:
                return
            except zmq.ZMQError:
                self._log.exception("authenticator can't read; retrying in a second")
                return
            try:
                self._answer(frames)
            except Exception:  # noqa: BLE001  one bad request must not end the authenticator
                self._log.exception("authenticator failed on one request; it was refused")

    def _answer(self, frames: list[bytes]) -> None:
        """Reply to one request: frames are route, empty, version, id, domain, address, identity, mechanism, key."""
        if len(frames) < 8 or frames[2] != b"1.0":  # noqa: PLR2004  as listed above
            return
        user = None
        try:
            user = self._decide(frames)
        except Exception:  # noqa: BLE001  as above; the answer is no
            self._log.exception("key look-up failed; the connection was refused")
        status = (b"200", b"OK", user.encode()) if user else (b"400", b"unknown key", b"")
        with contextlib.suppress(zmq.Again):
            assert self._socket is not None  # noqa: S101  only called while draining it
            for frame in (*frames[:2], b"1.0", frames[3], *status):
                self._socket.send(frame, _NOBLOCK_MORE)
            self._socket.send(b"", _NOBLOCK)

    def _decide(self, frames: list[bytes]) -> str | None:
        domain, address, mechanism = (frames[index].decode("utf-8", "replace") for index in (4, 5, 7))
        authenticate = self._domains.get(domain)
        if mechanism != "CURVE" or len(frames) != 9 or authenticate is None:  # noqa: PLR2004  one credential: the key
            self._refused(f"{mechanism}@{address}", domain=domain, address=address, mechanism=mechanism)
            return None
        key = z85.encode(frames[8]).decode()
        user = authenticate(key)
        if user is None:
            self._refused(key, domain=domain, address=address, public_key=key)
        return user

    def _refused(self, what: str, **facts: str) -> None:
        """Log a refusal, at most once a minute for the same stranger."""
        now = self._clock.monotonic()
        last = self._logged.get(what)
        if last is not None and now - last < _LOG_EVERY_SECONDS:
            return
        self._logged[what] = now
        self._logged.move_to_end(what)
        if len(self._logged) > _LOGGED_KEYS:
            self._logged.popitem(last=False)
        self._log.warning("refused a connection: its key is not registered here, or was revoked", **facts)
