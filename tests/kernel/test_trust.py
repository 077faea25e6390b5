from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanocore.contracts.node import CreateInvite, Join, NodeInfo, NodeRole
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import NodeId, new_id
from nanocore.kernel.trust import (
    JOINING_PREFIX,
    TRUST_COLLECTIONS,
    CoreAddress,
    Identity,
    InviteRecord,
    JoinToken,
    Registry,
)
from nanocore.testing.fake_clock import FakeClock
from nanocore.testing.memory_store import MemoryStore
from nanocore.transport.curve import KeyPair


class Desk:
    """A core's registry over a store that outlives it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore()
        self.me = info("core", NodeRole.CORE)

    async def open(self) -> Registry:
        await self.store.open(TRUST_COLLECTIONS)
        registry = Registry(self.clock, self.store)
        await registry.open(self.me)
        return registry


def info(name: str, *roles: NodeRole) -> NodeInfo:
    return NodeInfo(id=NodeId(new_id()), name=name, roles=list(roles), public_key=KeyPair.generate().public)


def run(body: Callable[[Desk, Registry], Awaitable[None]]) -> None:
    async def main() -> None:
        desk = Desk()
        await body(desk, await desk.open())

    asyncio.run(main())


def newcomer(name: str = "cell-1", **changes: str) -> Join:
    fields = {"id": new_id(), "name": name, "public_key": KeyPair.generate().public, **changes}
    return Join(id=NodeId(fields["id"]), name=fields["name"], public_key=fields["public_key"])


async def use(registry: Registry, invite: InviteRecord, request: Join) -> None:
    await registry.join(JOINING_PREFIX + invite.id, request, "default")


async def refusal(work: Awaitable[object]) -> NanoError:
    with pytest.raises(NanoError) as caught:
        await work
    return caught.value


# -- identity


def test_an_identity_is_made_once(tmp_path: Path) -> None:
    first = Identity.load(tmp_path / "keys")
    assert Identity.load(tmp_path / "keys") == first
    assert (tmp_path / "keys" / "node.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_a_joined_core_is_remembered_and_replaced(tmp_path: Path) -> None:
    identity = Identity.load(tmp_path)
    for port in (1, 2):
        core = CoreAddress(
            id=NodeId(new_id()), name="core", public_key="k", host="h", message_port=port, stream_port=port + 1
        )
        identity.joined(tmp_path, core)
        assert Identity.load(tmp_path).core == core


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b'{"node_id": "x", "secret_key": "y"}'])
def test_a_broken_key_file_is_named_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    Identity.load(tmp_path)
    (tmp_path / "node.key").write_bytes(content)
    with pytest.raises(NanoError, match=r"broken key file.*join again"):
        Identity.load(tmp_path)


def test_a_key_file_that_others_may_read_stops_the_start(tmp_path: Path) -> None:
    Identity.load(tmp_path)
    (tmp_path / "node.key").chmod(0o644)
    with pytest.raises(NanoError, match="chmod 600"):
        Identity.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("other", ("other", 5860, 5861)), ("other:7000", ("other", 7000, 7001)), ("other:5860", ("other", 5860, 5861))],
)
def test_the_cores_address_may_be_configured(text: str, wanted: tuple[str, int, int]) -> None:
    core = CoreAddress(id=NodeId("c"), name="c", public_key="k", host="h", message_port=5860, stream_port=5861)
    moved = core.with_address(text)
    assert (moved.host, moved.message_port, moved.stream_port) == wanted


@pytest.mark.parametrize("text", [":5860", "host:", "host:port", ""])
def test_a_wrong_address_is_refused(text: str) -> None:
    core = CoreAddress(id=NodeId("c"), name="c", public_key="k", host="h", message_port=5860, stream_port=5861)
    if text == "host:":
        assert core.with_address(text).host == "host"
        return
    with pytest.raises(NanoError):
        core.with_address(text)


# -- the registry


def test_keys_are_whom_they_were_registered_for() -> None:
    async def body(desk: Desk, registry: Registry) -> None:
        assert registry.authenticate(desk.me.public_key) == desk.me.id
        assert registry.authenticate(KeyPair.generate().public) is None
        invite, keys = await registry.invite(CreateInvite())
        request = newcomer()
        assert registry.authenticate(keys.public) == JOINING_PREFIX + invite.id
        joining = registry.find(JOINING_PREFIX + invite.id)
        assert joining is not None
        assert joining.roles == [NodeRole.JOINING]
        await use(registry, invite, request)
        assert registry.authenticate(request.public_key) == request.id
        found = registry.find(request.id)
        assert found is not None
        assert (found.name, found.roles) == ("cell-1", [NodeRole.CELL])

    run(body)


def test_an_invite_is_used_once_and_its_user_may_repeat() -> None:
    async def body(desk: Desk, registry: Registry) -> None:
        invite, keys = await registry.invite(CreateInvite())
        request = newcomer()
        await use(registry, invite, request)
        await use(registry, invite, request)
        error = await refusal(use(registry, invite, newcomer("cell-2")))
        assert error.code is ErrorCode.PERMISSION_DENIED
        assert registry.invites() == []
        desk.clock.advance(61)
        assert registry.authenticate(keys.public) is None
        assert registry.find(JOINING_PREFIX + invite.id) is None

    run(body)


def test_two_at_once_with_one_invite_are_one() -> None:
    async def body(_: Desk, registry: Registry) -> None:
        invite, _keys = await registry.invite(CreateInvite())
        results = await asyncio.gather(
            use(registry, invite, newcomer("a")), use(registry, invite, newcomer("b")), return_exceptions=True
        )
        assert [type(result) for result in results] == [type(None), NanoError]

    run(body)


def test_an_invite_expires() -> None:
    async def body(desk: Desk, registry: Registry) -> None:
        invite, keys = await registry.invite(CreateInvite(expires_in_seconds=10))
        desk.clock.advance(11)
        assert registry.authenticate(keys.public) is None
        assert registry.invites() == []
        error = await refusal(use(registry, invite, newcomer()))
        assert error.code is ErrorCode.PERMISSION_DENIED

    run(body)


def test_a_withdrawn_invite_opens_nothing() -> None:
    async def body(_: Desk, registry: Registry) -> None:
        invite, keys = await registry.invite(CreateInvite())
        await registry.delete_invite(invite.id)
        assert registry.authenticate(keys.public) is None
        assert (await refusal(registry.delete_invite(invite.id))).code is ErrorCode.NOT_FOUND

    run(body)


def test_the_store_never_holds_an_invites_secret() -> None:
    async def body(desk: Desk, registry: Registry) -> None:
        _, keys = await registry.invite(CreateInvite())
        assert keys.secret not in repr([desk.store.list(collection) for collection in TRUST_COLLECTIONS])

    run(body)


@pytest.mark.parametrize("roles", [[NodeRole.JOINING], [NodeRole.CELL, NodeRole.CELL]])
def test_an_invite_is_for_real_roles(roles: list[NodeRole]) -> None:
    async def body(_: Desk, registry: Registry) -> None:
        error = await refusal(registry.invite(CreateInvite(roles=roles)))
        assert error.details["field"] == "roles"

    run(body)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "../etc"}, ErrorCode.INVALID_ARGUMENT),
        ({"name": "UPPER"}, ErrorCode.INVALID_ARGUMENT),
        ({"id": "../../x"}, ErrorCode.INVALID_ARGUMENT),
        ({"public_key": "short"}, ErrorCode.INVALID_ARGUMENT),
        ({"name": "core"}, ErrorCode.ALREADY_EXISTS),
    ],
)
def test_what_a_newcomer_says_of_itself_is_checked(changes: dict[str, str], code: ErrorCode) -> None:
    async def body(_: Desk, registry: Registry) -> None:
        invite, _keys = await registry.invite(CreateInvite())
        error = await refusal(use(registry, invite, newcomer(**changes)))
        assert error.code is code
        await use(registry, invite, newcomer())

    run(body)


def test_a_newcomer_takes_over_nobodys_id_or_key() -> None:
    async def body(desk: Desk, registry: Registry) -> None:
        invite, _keys = await registry.invite(CreateInvite())
        for changes in ({"id": str(desk.me.id)}, {"public_key": desk.me.public_key}):
            error = await refusal(use(registry, invite, newcomer(**changes)))
            assert error.code is ErrorCode.ALREADY_EXISTS
        assert registry.authenticate(desk.me.public_key) == desk.me.id

    run(body)


def test_a_named_invite_is_for_that_name() -> None:
    async def body(_: Desk, registry: Registry) -> None:
        invite, _keys = await registry.invite(CreateInvite(name="web"))
        error = await refusal(use(registry, invite, newcomer("other")))
        assert error.details["field"] == "name"
        await use(registry, invite, newcomer("web"))

    run(body)


def test_a_revoked_node_stays_out_for_good() -> None:
    async def body(desk: Desk, registry: Registry) -> None:
        invite, _keys = await registry.invite(CreateInvite())
        request = newcomer()
        await use(registry, invite, request)
        revoked = await registry.revoke(request.id)
        assert revoked.name == "cell-1"
        for known in (registry, await desk.open()):
            assert known.authenticate(request.public_key) is None
            assert known.find(request.id) is None
            again, _ = await known.invite(CreateInvite())
            error = await refusal(use(known, again, request))
            assert error.code is ErrorCode.PERMISSION_DENIED
            assert "revoked" in error.message
        second, _ = await registry.invite(CreateInvite())
        await use(registry, second, newcomer("cell-1"))

    run(body)


def test_everything_survives_a_restart() -> None:
    async def body(desk: Desk, registry: Registry) -> None:
        invite, _ = await registry.invite(CreateInvite())
        request = newcomer()
        await use(registry, invite, request)
        open_invite, keys = await registry.invite(CreateInvite())
        again = await desk.open()
        assert again.authenticate(request.public_key) == request.id
        assert again.authenticate(keys.public) == JOINING_PREFIX + open_invite.id
        assert (await refusal(use(again, invite, newcomer("cell-2")))).code is ErrorCode.PERMISSION_DENIED

    run(body)


def test_what_could_not_be_written_does_not_count() -> None:
    async def body(desk: Desk, registry: Registry) -> None:
        invite, _ = await registry.invite(CreateInvite())
        request = newcomer()
        desk.store.fails = True
        assert (await refusal(use(registry, invite, request))).code is ErrorCode.UNAVAILABLE
        assert registry.authenticate(request.public_key) is None
        desk.store.fails = False
        await use(registry, invite, request)
        assert registry.authenticate(request.public_key) == request.id

    run(body)


def test_a_node_without_a_store_knows_itself_and_its_core() -> None:
    async def main() -> None:
        me, core_keys = info("cell", NodeRole.CELL), KeyPair.generate()
        core = CoreAddress(
            id=NodeId(new_id()), name="core", public_key=core_keys.public, host="h", message_port=1, stream_port=2
        )
        registry = Registry(FakeClock())
        await registry.open(me, core)
        assert not registry.is_authority
        assert registry.authenticate(core_keys.public) == core.id
        found = registry.find(core.id)
        assert found is not None
        assert found.roles == [NodeRole.CORE]
        assert (await refusal(registry.invite(CreateInvite()))).code is ErrorCode.UNSUPPORTED

    asyncio.run(main())


# -- tokens


def token() -> JoinToken:
    clock = FakeClock()
    return JoinToken(
        invite_id=new_id(),
        core_id=NodeId(new_id()),
        core_name="core",
        core_key=KeyPair.generate().public,
        hosts=["192.0.2.7"],
        message_port=5860,
        stream_port=5861,
        secret_key=KeyPair.generate().secret,
        roles=[NodeRole.CELL],
        name=None,
        zone="default",
        expires_at=clock.now(),
    )


def test_a_token_is_what_it_was_and_easily_copied() -> None:
    made = token()
    text = made.encode()
    assert JoinToken.parse(f"  {text}\n") == made
    assert text.replace("-", "").replace("_", "").isalnum()
    assert made.core_at("192.0.2.7").message_port == 5860


@given(st.text(max_size=300))
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(NanoError) as caught:
        JoinToken.parse(text)
    assert caught.value.details["field"] == "token"


@pytest.mark.parametrize("cut", [1, 5, 50])
def test_half_a_token_is_refused(cut: int) -> None:
    with pytest.raises(NanoError, match="not an invite"):
        JoinToken.parse(token().encode()[:-cut])
