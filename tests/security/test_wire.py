"""The ports for nodes, from outside: strangers, a valid node's key in bad hands, an invite's key, a revoked one."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest
import zmq

from nanocore.capabilities.compute import CreateInstance
from nanocore.capabilities.hypervisor import AgentReady, CellReport, CellReported, GuestObserved
from nanocore.contracts.listing import ResourceChanged
from nanocore.contracts.node import CreateInvite, Hello, Join, NodeInfo, NodeRole
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId, NodeId, new_id
from nanocore.kernel.trust import JOINING_PREFIX, Identity, JoinToken
from nanocore.model.instance import InstanceUsage
from nanocore.testing.kernel_process import KernelProcess, wait_until
from nanocore.transport.curve import KeyPair
from nanocore.wire import encode
from nanocore.wire.envelope import Header, Kind, pack
from tests.security.attacker import Attacker, all_requests, plausible, public_key, turned
from tests.security.conftest import node_named
from tests.security.site import Site

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

FOR_CELLS = {"membership.hello", "images.read_image", "images.list_needed_images"}
"""All that a cell may ask of a core."""
PUBLIC_FOR_FRONTENDS = {"identity.create_session"}


@pytest.fixture(scope="session")
def stolen(besieged: Site) -> Identity:
    """The key of a cell."""
    return turned(besieged, "turned")


@pytest.fixture(scope="session")
def stolen_frontend(besieged: Site) -> Identity:
    """The key of a frontend."""
    return turned(besieged, "turned-frontend", "frontend")


@pytest.fixture
def mallory(site: Site, stolen: Identity) -> Iterator[Attacker]:
    """Speaks with the key of a cell."""
    with Attacker(site, stolen.keys, stolen.node_id) as attacker:
        yield attacker


def refusal(answer: object) -> ErrorCode:
    assert isinstance(answer, NanoError), answer
    return answer.code


@pytest.mark.parametrize("what", ["stranger", "no key", "PLAIN", "NULL", "another core's key", "the core's name"])
def test_strangers_get_nothing_on_either_port(site: Site, what: str) -> None:
    keys = KeyPair.generate()

    def prepare(socket: zmq.Socket[bytes]) -> None:
        if what == "PLAIN":
            socket.plain_username, socket.plain_password = b"admin", site.password.encode()
        elif what == "the core's name":
            socket.setsockopt(zmq.ROUTING_ID, site.node_id.encode())

    has_keys = what in {"stranger", "another core's key", "the core's name"}
    server_key = KeyPair.generate().public if what == "another core's key" else None
    for port in (site.message_port, site.stream_port):
        with Attacker(
            site, keys if has_keys else None, new_id(), port=port, prepare=prepare, server_key=server_key
        ) as attacker:
            attacker.socket.immediate = 0
            attacker.say("membership.list_peers")
            attacker.say("membership.create_invite", encode(CreateInvite()), actor="system")
            assert attacker.hear(0.4) is None
    if what == "stranger":
        site.wait_for_log(lambda line: line.get("public_key") == keys.public, "the stranger named by its key")


def test_bytes_that_are_no_zeromq(site: Site) -> None:
    for port in (site.message_port, site.stream_port):
        for data in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\xff" * 100_000,
            b"\xff\0\0\0\0\0\0\0\1\x7f\3\1NULL" + b"\0" * 48,
            b"\x16\3\1",
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
                try:
                    plain.sendall(data)
                    plain.settimeout(0.1)
                    plain.recv(4096)
                except (TimeoutError, ConnectionError):
                    pass


def test_a_cell_asks_for_what_cells_may_and_nothing_else(site: Site, mallory: Attacker) -> None:
    kinds = list(all_requests())
    assert len(kinds) > 60
    nodes = site.kernel.client.get("/nodes")["total"]
    refused = 0
    for kind in kinds:
        for actor in ("", "system", "local", "anonymous"):
            answer = mallory.ask(kind.op, plausible(kind), actor=actor)
            if kind.op in FOR_CELLS:
                continue
            assert isinstance(answer, NanoError), (kind.op, actor, bytes(answer))
            assert answer.code in {ErrorCode.PERMISSION_DENIED, ErrorCode.UNIMPLEMENTED}, (kind.op, actor, answer)
            refused += answer.code is ErrorCode.PERMISSION_DENIED
    assert refused > 100
    assert site.kernel.client.get("/nodes")["total"] == nodes


def test_a_frontend_is_not_its_users(site: Site, stolen_frontend: Identity) -> None:
    with Attacker(site, stolen_frontend.keys, stolen_frontend.node_id) as frontend:
        for kind in all_requests():
            for actor in ("", "system", "local", "anonymous", "session:x", "token:x", "token:local"):
                answer = frontend.ask(kind.op, plausible(kind), actor=actor)
                if kind.op == "membership.hello" or kind.op in PUBLIC_FOR_FRONTENDS:
                    continue
                assert isinstance(answer, NanoError), (kind.op, actor, bytes(answer))
                expected = {ErrorCode.UNAUTHENTICATED, ErrorCode.PERMISSION_DENIED, ErrorCode.UNIMPLEMENTED}
                if "is opened as a stream" in answer.message:
                    continue
                assert answer.code in expected, (kind.op, actor, answer)
        # With a user's own credential it may what they may.
        viewer = f"token:{site.viewer}"
        message = CreateInstance(name="evil", image_id=ImageId(new_id()), memory_bytes=64 * 1024**2)
        assert refusal(frontend.call(message, actor=viewer)) is ErrorCode.PERMISSION_DENIED
        assert not isinstance(frontend.ask("compute.list_instances", actor=viewer), NanoError)
    assert not site.instance_names()


def test_speaking_for_others(site: Site, mallory: Attacker, victim: KernelProcess) -> None:
    others = [node_named(site, "victim")["id"], site.node_id, "", "x" * 1000, f"{JOINING_PREFIX}{new_id()}"]
    for src in others:
        for kind in (CreateInvite(), Hello(node=NodeInfo(id=NodeId(src), name="victim", roles=[NodeRole.CORE]))):
            assert refusal(mallory.call(kind, src=src)) is ErrorCode.UNAUTHENTICATED
    line = site.wait_for_log(lambda line: "claims to be node" in str(line.get("reason")), "the spoofer named")
    assert (line["peer"], line["name"]) == (mallory.name, "turned")
    assert node_named(site, "victim")["state"] == "online"


def test_beats_through_the_core_are_nobodys_word(site: Site, mallory: Attacker, victim: KernelProcess) -> None:
    """Passed on, a good-bye would be the core's own, and a beat's interval its command."""
    node = node_named(site, "victim")
    for op, ttl_ms in (("good-bye", 0), ("", 2**31), ("", 0)):
        mallory.say(op, b"", kind=Kind.BEAT, dst=node["id"], ttl_ms=ttl_ms)
        mallory.say("", b"", kind=Kind.STREAM, dst=node["id"])
    site.wait_for_log(lambda line: "through this one" in str(line.get("reason")), "named")
    time.sleep(2.5)  # longer than two beats: a victim that believed it would be counted out by now
    assert not [line for line in victim.log_lines() if line["event"] == "peer lost"]
    assert node_named(site, "victim")["state"] == "online"
    assert node_named(site, "victim")["since"] == node["since"]


def test_events_beyond_the_role(site: Site, mallory: Attacker, stolen_frontend: Identity) -> None:
    before = site.kernel.client.get("/instances")
    forged = ResourceChanged(noun="instances", id=new_id(), revision=10**9, is_deleted=True)
    mallory.say(forged.op, encode(forged), kind=Kind.EVENT)
    line = site.wait_for_log(lambda line: forged.op in str(line.get("reason")), "the forger named")
    assert (line["peer"], line["name"]) == (mallory.name, "turned")
    with Attacker(site, stolen_frontend.keys, stolen_frontend.node_id) as frontend:
        for event in (CellReported(report=CellReport()), AgentReady(node_id=NodeId(site.node_id))):
            frontend.say(event.op, encode(event), kind=Kind.EVENT)
            site.wait_for_log(
                lambda line, op=event.op: op in str(line.get("reason")) and line.get("name") == "turned-frontend",  # type: ignore[misc]
                "the frontend named",
            )
    for rubbish in (b"", b"\xc1", b"\x80", encode({"report": {"usage": 7}}), b"\x91" * 3000):
        mallory.say(CellReported.op, rubbish, kind=Kind.EVENT)
        mallory.say(GuestObserved.op, rubbish, kind=Kind.EVENT)
    assert site.kernel.client.get("/instances") == before


def test_a_cell_lies_about_itself_only(site: Site, mallory: Attacker) -> None:
    wait_until(lambda: node_named(site, "turned"), what="the node listed, although it never said hello")
    lies = [
        CellReport(memory_bytes=2**63),
        CellReport(disk_bytes=2**64 - 1),
        CellReport(cores=-1),
        CellReport(cores=2**62, cpu_percent=1e300),
        CellReport(cpu_percent=float("nan")),
        CellReport(usage={str(number): InstanceUsage() for number in range(20_000)}),
        CellReport(cores=2**56, memory_bytes=2**56, cpu_percent=1e6),
    ]
    for report in lies:
        mallory.say(CellReported.op, encode(CellReported(report=report)), kind=Kind.EVENT)
        assert refusal(mallory.ask("membership.list_peers")) is ErrorCode.PERMISSION_DENIED  # all before was taken
        with site.client(site.admin) as client:
            for path in ("/nodes", "/system", "/compute-pools", "/instances"):
                answer = client.get(path)
                assert answer.status_code == 200, (report, path, answer.text)
    line = site.wait_for_log(lambda line: "can't be read" in str(line.get("reason")), "the liar named")
    assert (line["peer"], line["name"]) == (mallory.name, "turned")
    honest = CellReported(report=CellReport())
    mallory.say(honest.op, encode(honest), kind=Kind.EVENT)


@pytest.mark.parametrize("size", [5 * 1024**2, 64 * 1024**2])
def test_oversized_frames_end_the_link_of_who_sends_them(site: Site, mallory: Attacker, size: int) -> None:
    mallory.ask("membership.list_peers")
    mallory.send(b"x" * size)
    fits = ("sent a frame of", "frame") if size < 8 * 1024**2 else ("connection ended", "ended")
    site.wait_for_log(
        lambda line: line.get("peer") == mallory.name and any(text in str(line) for text in fits), "named and cut"
    )


def test_malformed_frames(site: Site, mallory: Attacker) -> None:
    good = pack(Header(kind=Kind.REQUEST, id=new_id(), op="membership.list_peers", src=mallory.name, dst=site.node_id))
    frames = [b"", b"NANO", good[:7], good[:-1], b"NANX" + good[4:], good[:4] + b"\xff" + good[5:], b"\0" * 4000]
    frames += [good[:5] + b"\xff\xff" + good[7:], good[:7] + b"\xdc\xff\xff", good[:7] + b"\x9a" * 400]
    for position in range(0, len(good), 5):
        frames.append(good[:position] + bytes([good[position] ^ 0xFF]) + good[position + 1 :])
    for frame in frames:
        mallory.send(frame)
    mallory.send(*[b"x"] * 900)
    for fields in (
        {"ttl_ms": 2**63 - 1},
        {"ttl_ms": -(2**63)},
        {"hops": -1},
        {"schema": 10**6},
        {"trace": "\n\x1b[2J"},
        {"id": ""},
    ):
        mallory.say("compute.list_instances", **fields)
    wait_until(
        lambda: refusal(mallory.ask("compute.list_instances")) is ErrorCode.PERMISSION_DENIED, what="still heard"
    )


def test_replayed_ids(site: Site, mallory: Attacker) -> None:
    id = mallory.say(
        "membership.hello", encode(Hello(node=NodeInfo(id=NodeId(mallory.name), name="turned", roles=[NodeRole.CELL])))
    )
    assert mallory.hear() is not None
    assert refusal(mallory.ask("images.read_image", plausible_read(), id=id)) in {
        ErrorCode.CONFLICT,
        ErrorCode.INVALID_ARGUMENT,
        ErrorCode.NOT_FOUND,
    }
    for kind in (Kind.REPLY, Kind.ERROR, Kind.CANCEL):
        mallory.say("membership.hello", kind=kind, id=id)


def plausible_read() -> bytes:
    return plausible(next(kind for kind in all_requests() if kind.op == "images.read_image"))


def test_an_invites_key_joins_and_nothing_else(site: Site) -> None:
    token = JoinToken.parse(site.invite()["token"])
    name = JOINING_PREFIX + token.invite_id
    with Attacker(site, KeyPair.from_secret(token.secret_key), name) as attacker:
        for kind in all_requests():
            if kind is Join:
                continue
            answer = attacker.ask(kind.op, plausible(kind))
            assert isinstance(answer, NanoError), kind.op
            assert answer.code in {ErrorCode.PERMISSION_DENIED, ErrorCode.UNIMPLEMENTED}, (kind.op, answer)
        attacker.say(CellReported.op, encode(CellReported(report=CellReport())), kind=Kind.EVENT)
        attacker.say("", b"", kind=Kind.BEAT)
        assert refusal(attacker.ask("membership.list_peers", dst=new_id())) is ErrorCode.NOT_FOUND
        bad = [
            Join(id=NodeId("../../etc"), name="x", public_key=KeyPair.generate().public),
            Join(id=NodeId(site.node_id), name="x", public_key=KeyPair.generate().public),
            Join(id=NodeId(new_id()), name="core-1", public_key=KeyPair.generate().public),
            Join(id=NodeId(new_id()), name="../x", public_key=KeyPair.generate().public),
            Join(id=NodeId(new_id()), name="x", public_key=public_key(site)),
            Join(id=NodeId(new_id()), name="x", public_key="short"),
        ]
        for message in bad:
            assert refusal(attacker.call(message)) in {ErrorCode.INVALID_ARGUMENT, ErrorCode.ALREADY_EXISTS}
        assert not node_named(site, "x")
    site.kernel.client.request("DELETE", f"/node-invites/{token.invite_id}")
    with Attacker(site, KeyPair.from_secret(token.secret_key), name) as late:
        late.say(
            "membership.join", encode(Join(id=NodeId(new_id()), name="late", public_key=KeyPair.generate().public))
        )
        assert late.hear(0.5) is None
    assert not node_named(site, "late")


def test_revocation_cuts_a_live_link(site: Site) -> None:
    bad = turned(site, "revoked")
    with (
        Attacker(site, bad.keys, bad.node_id) as message_link,
        Attacker(site, bad.keys, bad.node_id, port=site.stream_port) as stream_link,
    ):
        for link in (message_link, stream_link):
            assert refusal(link.ask("membership.list_peers")) in {
                ErrorCode.PERMISSION_DENIED,
                ErrorCode.INVALID_ARGUMENT,
            }
        wait_until(lambda: node_named(site, "revoked"), what="the node listed")
        site.kernel.client.request("DELETE", f"/nodes/{bad.node_id}")
        for link in (message_link, stream_link):
            with contextlib.suppress(zmq.Again):  # nobody is there to take it
                link.socket.sndtimeo = 0
                link.socket.send(pack(Header(kind=Kind.REQUEST, id="late", src=bad.node_id, dst=site.node_id)))
            assert link.hear(0.5) is None
    assert not node_named(site, "revoked")
    with Attacker(site, bad.keys, bad.node_id) as again:
        again.say("membership.list_peers")
        assert again.hear(0.5) is None
    site.wait_for_log(lambda line: line.get("public_key") == bad.keys.public, "refused when it dials again")
