"""The connection to libvirt: calls in a bounded pool of threads, events on the loop, reconnection by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import libvirt
import structlog

from nanocore.errors import ErrorCode, NanoError
from nanoplugins.kvm.errors import translated
from nanoplugins.kvm.events import EventPump
from nanoplugins.kvm.threads import ThreadPool

T = TypeVar("T")

CONNECT_TIMEOUT_SECONDS = 10.0
LEAVE_TIMEOUT_SECONDS = 1.0
MISSED_KEEPALIVES = 3
CHANGED = -1
"""Number of a ``LifecycleEvent`` that libvirt has none for: something inside a guest changed by itself."""
_CHANGES = (
    libvirt.VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE,
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
    libvirt.VIR_DOMAIN_EVENT_ID_TRAY_CHANGE,
)
MOST_RECONNECT_SECONDS = 5.0
READERS = 4
CHANGERS = 8
ASKERS = 4


@dataclass(frozen=True, slots=True)
class LifecycleEvent:
    """What libvirt told of one domain; numbers as in ``states``."""

    id: str
    event: int
    detail: int


class Host:
    """One libvirt connection for the life of a driver.

    ``on_event`` is called on the loop for every lifecycle event, in libvirt's order. ``on_reconnected`` is awaited
    after a lost connection is back and events flow again, so that what was missed can be looked up.
    """

    def __init__(
        self,
        uri: str,
        *,
        pump: EventPump,
        log: structlog.stdlib.BoundLogger,
        reconnect_seconds: float = 0.5,
        keepalive_seconds: int = 5,
    ) -> None:
        self.uri = uri
        self._pump = pump
        self._log = log
        self._reconnect_seconds = reconnect_seconds
        self._keepalive_seconds = keepalive_seconds
        self._connection: libvirt.virConnect | None = None
        self._callback_ids: list[int] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._readers: ThreadPool | None = None
        self._changers: ThreadPool | None = None
        self._askers: ThreadPool | None = None
        self._reconnecting: asyncio.Task[None] | None = None
        self._on_event: Callable[[LifecycleEvent], None] = lambda _event: None
        self._on_reconnected: Callable[[], Awaitable[None]] | None = None

    @property
    def is_connected(self) -> bool:
        """Whether calls have a chance now."""
        return self._connection is not None

    async def open(
        self, on_event: Callable[[LifecycleEvent], None], on_reconnected: Callable[[], Awaitable[None]]
    ) -> None:
        """Connect; raises ``unavailable`` with the remedy, and then holds nothing, so that it can be tried again."""
        self._loop = asyncio.get_running_loop()
        self._on_event, self._on_reconnected = on_event, on_reconnected
        # Looking at guests must stay possible while changes of others hang in a stuck QEMU.
        self._readers = ThreadPool(READERS, "kvm-read")
        self._changers = ThreadPool(CHANGERS, "kvm-change")
        # A guest's agent answers when it likes.
        self._askers = ThreadPool(ASKERS, "kvm-ask")
        self._pump.acquire()
        try:
            await self._connect()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Disconnect and end all threads; safe to call twice. Calls still in libvirt end on their own."""
        if self._readers is None or self._changers is None or self._askers is None:
            return
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            await asyncio.gather(self._reconnecting, return_exceptions=True)
            self._reconnecting = None
        pools = (self._readers, self._changers, self._askers)
        self._readers = self._changers = self._askers = None
        connection, self._connection = self._connection, None
        leave = ThreadPool(1, "kvm-leave")
        try:
            # Calls that are stuck in libvirt must not keep the node from stopping.
            async with asyncio.timeout(LEAVE_TIMEOUT_SECONDS):
                await leave.run(partial(self._leave, connection))
        except TimeoutError:
            self._log.warning("kvm.disconnect_stuck", uri=self.uri)
        finally:
            for pool in (*pools, leave):
                pool.close()

    def _leave(self, connection: libvirt.virConnect | None) -> None:
        if connection is not None:
            self._disconnect(connection)
        self._pump.release()

    async def read(self, what: str, call: Callable[[libvirt.virConnect], T]) -> T:
        """Run ``call`` with the connection in a thread; ``what`` begins the message of its errors."""
        return await self._run(self._readers, what, call)

    async def change(self, what: str, call: Callable[[libvirt.virConnect], T]) -> T:
        """As ``read``, for what may take seconds."""
        return await self._run(self._changers, what, call)

    async def ask(self, what: str, call: Callable[[libvirt.virConnect], T]) -> T:
        """As ``read``, for what waits for the inside of a guest."""
        return await self._run(self._askers, what, call)

    async def _run(self, pool: ThreadPool | None, what: str, call: Callable[[libvirt.virConnect], T]) -> T:
        connection = self._connection
        if connection is None or pool is None:
            message = f"{what}: libvirt at {self.uri} can't be reached just now; it is being tried again"
            raise NanoError(ErrorCode.UNAVAILABLE, message, reason="kvm.not_connected")
        with translated(what):
            return await pool.run(partial(call, connection))

    async def _connect(self) -> None:
        pool = self._readers
        assert pool is not None  # noqa: S101  only called between open and close
        what = f"libvirt at {self.uri} can't be reached; see that libvirtd runs and [kvm] uri is right"
        try:
            with translated(what):
                self._connection = await asyncio.wait_for(pool.run(self._open_connection), CONNECT_TIMEOUT_SECONDS)
        except TimeoutError:
            message = f"{what}: no answer within {CONNECT_TIMEOUT_SECONDS:g} s"
            raise NanoError(ErrorCode.UNAVAILABLE, message, reason="kvm.connect_timeout") from None
        except NanoError as error:
            raise NanoError(ErrorCode.UNAVAILABLE, error.message, reason=error.reason) from error

    def _open_connection(self) -> libvirt.virConnect:
        connection = libvirt.open(self.uri)
        try:
            # libvirt's in-process test driver has no connection that could be kept alive.
            if connection.getType() != "TEST":
                connection.setKeepAlive(self._keepalive_seconds, MISSED_KEEPALIVES)
            connection.registerCloseCallback(self._closed, None)
            register = connection.domainEventRegisterAny
            ids = [register(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, None)]
            ids += [register(None, kind, self._changed, None) for kind in _CHANGES]
            self._callback_ids = ids
        except libvirt.libvirtError:
            connection.close()
            raise
        return connection

    def _disconnect(self, connection: libvirt.virConnect) -> None:
        for call in (
            *(partial(connection.domainEventDeregisterAny, id) for id in self._callback_ids),
            connection.unregisterCloseCallback,
            connection.close,
        ):
            try:
                call()
            except libvirt.libvirtError as error:
                self._log.debug("kvm.disconnect", error=str(error))

    def _lifecycle(self, _connection: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:  # noqa: ANN401
        self._hop(self._on_event, LifecycleEvent(domain.UUIDString(), event, detail))

    def _changed(self, _connection: Any, domain: Any, *_details: Any) -> None:  # noqa: ANN401
        self._hop(self._on_event, LifecycleEvent(domain.UUIDString(), CHANGED, 0))

    def _closed(self, connection: Any, reason: int, _opaque: Any) -> None:  # noqa: ANN401
        self._hop(self._lost, connection, reason)

    def _hop(self, call: Callable[..., None], *arguments: object) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(call, *arguments)

    def _lost(self, connection: libvirt.virConnect, reason: int) -> None:
        if self._connection is None or connection.c_pointer() != self._connection.c_pointer():
            return  # we closed it ourselves, or know already
        lost, self._connection = self._connection, None
        self._log.warning("kvm.libvirt_lost", uri=self.uri, reason=reason)
        self._reconnecting = asyncio.create_task(self._reconnect(lost), name="kvm.reconnect")

    async def _reconnect(self, lost: libvirt.virConnect) -> None:
        assert self._changers is not None  # noqa: S101  only called between open and close
        await self._changers.run(partial(self._disconnect, lost))
        del lost
        wait = self._reconnect_seconds
        while True:
            try:
                await self._connect()
                break
            except NanoError as error:
                self._log.info("kvm.libvirt_not_back", error=error.message, retry_seconds=wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, MOST_RECONNECT_SECONDS)
        self._log.info("kvm.libvirt_back", uri=self.uri)
        if self._on_reconnected is not None:
            try:
                await self._on_reconnected()
            except NanoError as error:
                # Lost again while looking: the next reconnection looks again.
                self._log.warning("kvm.relist_failed", error=error.message)
