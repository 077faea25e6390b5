"""Accounts on a real node with a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from nanocore.capabilities.identity import (
    CreateSession,
    CreateToken,
    DeleteSession,
    DeleteToken,
    GetSession,
    ListTokens,
    NewSession,
)
from nanocore.contracts.authorizer import ANONYMOUS, LOCAL, SYSTEM, Authorizer
from nanocore.contracts.state_store import StateStore
from nanocore.errors import ErrorCode, NanoError
from nanocore.kernel.node import Node
from nanocore.loader.discover import PluginSource
from nanocore.logs import make_logger
from nanoplugins.identity_local.accounts import csrf_token
from nanoplugins.identity_local.attempts import MAX_KEYS, Attempts
from nanoplugins.identity_local.passwords import MAX_WAITING, Passwords
from nanoplugins.identity_local.plugin import Plugin
from nanoplugins.identity_local.records import SESSIONS
from nanoplugins.identity_local.roles import ROLES, covers, is_permitted, permissions_of
from nanoplugins.state_sqlite.plugin import Plugin as StateSqlite


class Clock:
    """The machine's monotonic clock; the wall clock is ours to move."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


Start = Callable[..., AbstractAsyncContextManager[tuple[Node, Plugin]]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(tmp_path: Path, clock: Clock) -> Start:
    @asynccontextmanager
    async def started(**settings: Any) -> AsyncIterator[tuple[Node, Plugin]]:
        plugin = Plugin()
        plugins: dict[str, object] = {"identity_local": plugin, "state_sqlite": StateSqlite()}
        node = Node(
            tmp_path,
            log=make_logger(StringIO()),
            clock=clock,
            settings={
                "kernel": {
                    "name": "node-1",
                    "roles": ["core"],
                    "plugins": list(plugins),
                    "listen_address": "127.0.0.1",
                    "message_port": 0,
                    "stream_port": 0,
                    "strict": True,
                },
                "identity_local": settings,
            },
            sources=[PluginSource.in_process(name, item) for name, item in plugins.items()],
        )
        await node.start()
        try:
            yield node, plugin
        finally:
            await node.stop()

    return started


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(45):
            await main()

    asyncio.run(bounded())


async def ask(node: Node, message: Any, credential: str | None = ANONYMOUS) -> Any:
    return (await node.call_reply(message, credential=credential)).body


async def refused(node: Node, message: Any, credential: str) -> ErrorCode:
    with pytest.raises(NanoError) as caught:
        await ask(node, message, credential)
    return caught.value.code


async def login(node: Node, root: Path) -> NewSession:
    password = (root / "var/lib/nano/identity_local/admin-password").read_text().strip()
    session: NewSession = await ask(node, CreateSession(username="admin", password=password))
    return session


def test_the_administrator_is_made_once(start: Start, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "var/lib/nano/identity_local/admin-password"
        async with start() as (node, _):
            password = path.read_text()
            assert len(password.strip()) == 20
            assert path.stat().st_mode & 0o777 == 0o600
            session = await login(node, tmp_path)
            assert session.user.permissions == ["*"]
        async with start() as (node, _):
            assert path.read_text() == password
            # Sessions outlive the kernel, with the same CSRF token.
            info = await ask(node, GetSession(), session.credential)
            assert (info.user.username, info.csrf_token) == ("admin", session.csrf_token)
            # The administrator may delete the file; nothing makes another.
            path.unlink()
        async with start():
            assert not path.exists()

    run(main)


def test_sessions_end(start: Start, tmp_path: Path, clock: Clock) -> None:
    async def main() -> None:
        async with start(session_idle_seconds=600.0, session_seconds=3600.0) as (node, plugin):
            session = await login(node, tmp_path)
            for _ in range(4):  # in use, it lives beyond the idle limit
                clock.ahead += timedelta(seconds=500)
                await ask(node, ListTokens(), session.credential)
            clock.ahead += timedelta(seconds=601)
            assert await refused(node, GetSession(), session.credential) is ErrorCode.UNAUTHENTICATED
            watched = await login(node, tmp_path)
            clock.ahead += timedelta(seconds=500)
            await ask(node, GetSession(), watched.credential)  # asking who one is, is no use of it
            clock.ahead += timedelta(seconds=101)
            assert await refused(node, GetSession(), watched.credential) is ErrorCode.UNAUTHENTICATED
            busy = await login(node, tmp_path)
            for _ in range(7):
                clock.ahead += timedelta(seconds=500)
                await ask(node, ListTokens(), busy.credential)
            clock.ahead += timedelta(seconds=101)  # 3,601 s: over, however busy
            assert await refused(node, GetSession(), busy.credential) is ErrorCode.UNAUTHENTICATED
            service = plugin._service
            assert service is not None
            while node.chosen(StateStore).list(SESSIONS):  # a session that is just being written waits for the next run
                await service.sweep()
                await asyncio.sleep(0.01)
            ended = await login(node, tmp_path)
            await ask(node, DeleteSession(), ended.credential)
            assert await refused(node, GetSession(), ended.credential) is ErrorCode.UNAUTHENTICATED

    run(main)


def test_tokens(start: Start, tmp_path: Path, clock: Clock) -> None:
    async def main() -> None:
        async with start() as (node, _):
            session = await login(node, tmp_path)
            made = await ask(node, CreateToken(name="a", expires_in_seconds=60), session.credential)
            credential = f"token:{made.token}"
            assert (await ask(node, GetSession(), credential)).csrf_token is None
            assert await refused(node, DeleteSession(), credential) is ErrorCode.WRONG_STATE
            listed = await ask(node, ListTokens(), session.credential)
            assert [(token.id, token.token, token.last_used_at is None) for token in listed] == [(made.id, None, False)]
            # A token's own tokens end with it.
            child = await ask(node, CreateToken(name="b"), credential)
            assert child.expires_at == made.expires_at
            grandchild = await ask(node, CreateToken(name="b2"), f"token:{child.token}")
            await ask(node, DeleteToken(id=child.id), session.credential)
            assert await refused(node, GetSession(), f"token:{grandchild.token}") is ErrorCode.UNAUTHENTICATED
            assert (await ask(node, GetSession(), credential)).user.username == "admin"
            clock.ahead += timedelta(seconds=61)
            assert await refused(node, GetSession(), credential) is ErrorCode.UNAUTHENTICATED
            lasting = await ask(node, CreateToken(name="c"), session.credential)
            await ask(node, DeleteToken(id=lasting.id), session.credential)
            assert await refused(node, GetSession(), f"token:{lasting.token}") is ErrorCode.UNAUTHENTICATED
            # Root on the core's own host handles the administrator's.
            by_root = await ask(node, CreateToken(name="d"), LOCAL)
            assert by_root.user_id == session.user.id
            assert (await ask(node, GetSession(), f"token:{by_root.token}")).user.username == "admin"

    run(main)


def test_credentials_of_the_node_count_on_the_node_only(start: Start) -> None:
    async def main() -> None:
        async with start() as (node, _):
            authorizer = node.chosen(Authorizer)
            for credential in (LOCAL, SYSTEM):
                principal = await authorizer.resolve(credential, is_local=True)
                assert principal is not None
                assert principal.roles == ["admin"]
                with pytest.raises(NanoError):
                    await authorizer.resolve(credential, is_local=False)
            assert await authorizer.resolve(ANONYMOUS, is_local=False) is None
            for rubbish in ("admin", "session:", "token:", "session:x", "token:nano_x", "user:admin"):
                with pytest.raises(NanoError) as caught:
                    await authorizer.resolve(rubbish, is_local=True)
                assert caught.value.code is ErrorCode.UNAUTHENTICATED
            with pytest.raises(NanoError) as caught:
                await authorizer.authorize(None, "instance.read", None)
            assert caught.value.code is ErrorCode.UNAUTHENTICATED

    run(main)


def test_roles() -> None:
    viewer, operator = permissions_of(["viewer"]), permissions_of(["operator"])
    assert is_permitted(viewer, "instance.read")
    assert is_permitted(viewer, "session.own")
    assert not is_permitted(viewer, "instance.power")
    assert not is_permitted(viewer, "instance.console")
    assert is_permitted(operator, "instance.console")
    assert not is_permitted(operator, "node.invite")
    assert not is_permitted(operator, "node.delete")
    assert is_permitted(permissions_of(["admin"]), "anything.at_all")
    assert permissions_of(["unknown"]) == []
    assert [role for role in ROLES if covers(["operator"], role)] == ["operator", "viewer"]
    assert [role for role in ROLES if covers(["viewer"], role)] == ["viewer"]
    assert all(covers(["admin"], role) for role in ROLES)
    assert not covers(["admin"], "unknown")
    assert set(permissions_of(ROLES)) >= set(viewer) | set(operator)
    assert csrf_token("a") != csrf_token("b")


def test_attempts_in_a_window() -> None:
    attempts = Attempts(per_user=2, per_address=3, window_seconds=10)
    attempts.begin("a", "x", 0)
    attempts.begin("a", "x", 1)
    with pytest.raises(NanoError) as caught:
        attempts.begin("a", "x", 2)
    assert (caught.value.code, caught.value.details["retry_after_seconds"]) == (ErrorCode.BUSY, 8)
    attempts.begin("a", "y", 2)  # from elsewhere it is another count: nobody locks others out
    attempts.begin("b", "x", 2)
    with pytest.raises(NanoError):
        attempts.begin("c", "x", 2)  # the address has used up its own
    attempts.begin("a", "x", 11.5)
    attempts.succeed("a", "x")
    attempts.begin("a", "x", 12)
    for number in range(2 * MAX_KEYS):
        attempts.begin(str(number), str(number), 12)
    assert len(attempts._times) <= MAX_KEYS + 1


def test_a_flood_of_logins_is_bounded() -> None:
    async def main() -> None:
        passwords = Passwords(parallel=2)
        await passwords.open()
        try:
            guesses = [passwords.is_right(None, "x") for _ in range(MAX_WAITING + 5)]
            results = await asyncio.gather(*guesses, return_exceptions=True)
            busy = [error for error in results if isinstance(error, NanoError)]
            assert len(busy) == 5
            assert {error.code for error in busy} == {ErrorCode.BUSY}
            assert results.count(False) == MAX_WAITING
            # One letter composed in two ways is one password.
            composed = await passwords.hash("caf\u00e9")
            assert await passwords.is_right(composed, "cafe\u0301")
            assert "$argon2id$v=19$m=65536,t=2,p=1$" in composed
        finally:
            passwords.close()

    run(main)
