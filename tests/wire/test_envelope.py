from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import Query, Result, decode, encode, field
from nanocore.wire.envelope import MAGIC, MAX_HEADER_BYTES, ErrorBody, Header, Kind, pack, unpack

texts = st.text(max_size=40)
headers = st.builds(
    Header,
    kind=st.sampled_from(Kind),
    id=texts,
    op=texts,
    schema=st.integers(0, 2**31),
    src=texts,
    dst=texts,
    ttl_ms=st.integers(-(2**31), 2**31),
    hops=st.integers(0, 255),
    actor=texts,
    trace=texts,
    vouched=texts,
)


class Thing(Query[None], frozen=True, kw_only=True):
    op: ClassVar[str] = "test.thing"

    name: str
    count: int = 0
    tags: list[str] = field(default_factory=list)


class Inner(Result, frozen=True, kw_only=True):
    sizes: list[int]


class Outer(Result, frozen=True, kw_only=True):
    inner: Inner


def outcome(work: Callable[[], object]) -> object:
    """Return the type of what ``work`` gives, or the code of the error that it raises."""
    try:
        return type(work())
    except NanoError as error:
        return error.code


@given(headers, st.binary(max_size=200))
def test_what_is_packed_is_unpacked(header: Header, body: bytes) -> None:
    found, rest = unpack(pack(header, body))
    assert found == header
    assert bytes(rest) == body
    again, _ = unpack(memoryview(pack(header, memoryview(body))))
    assert again == header


@given(st.binary(max_size=300))
def test_rubbish_is_refused_and_nothing_else_happens(frame: bytes) -> None:
    with pytest.raises(NanoError) as caught:
        unpack(frame)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


@given(headers, st.data())
def test_a_broken_frame_never_crashes(header: Header, data: st.DataObject) -> None:
    frame = bytearray(pack(header, b"body"))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    frame = frame[: data.draw(st.integers(0, len(frame)))]
    assert outcome(lambda: unpack(bytes(frame))[0]) in {Header, ErrorCode.INVALID_ARGUMENT}


@pytest.mark.parametrize("length", [MAX_HEADER_BYTES + 1, 65535])
def test_a_header_has_a_largest_size(length: int) -> None:
    frame = MAGIC + b"\x01" + length.to_bytes(2, "big") + b"\x90" * length
    with pytest.raises(NanoError, match="header length"):
        unpack(frame)


def test_nesting_does_not_exhaust_the_stack() -> None:
    deep = b"\x91" * 4000
    with pytest.raises(NanoError) as caught:
        unpack(MAGIC + b"\x01" + len(deep).to_bytes(2, "big") + deep)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    with pytest.raises(NanoError):
        decode(b"\x91" * 100_000, Thing)


def test_another_protocol_version_is_refused() -> None:
    frame = bytearray(pack(Header(kind=Kind.BEAT, id="")))
    frame[4] += 1
    with pytest.raises(NanoError) as caught:
        unpack(bytes(frame))
    assert caught.value.reason == "wire.magic"


def test_the_layout_of_a_frame_does_not_change() -> None:
    frame = pack(Header(kind=Kind.REQUEST, id="1", op="a.b", src="s", dst="d"), b"body")
    assert frame == (b"NANO\x01\x00\x14" + b"\x9b\x01\xa11\xa3a.b\x01\xa1s\xa1d\xcd\x27\x10\x04\xa0\xa0\xa0" + b"body")


def test_headers_of_older_nodes_are_read() -> None:
    """A header without the field that came last: appended fields have defaults."""
    old = b"\x9a\x01\xa11\xa3a.b\x01\xa1s\xa1d\xcd\x27\x10\x04\xa0\xa0"
    header, body = unpack(b"NANO\x01" + len(old).to_bytes(2, "big") + old + b"x")
    assert header == Header(kind=Kind.REQUEST, id="1", op="a.b", src="s", dst="d")
    assert bytes(body) == b"x"


def test_headers_of_newer_nodes_are_read() -> None:
    new = b"\x9c\x01\xa11\xa3a.b\x01\xa1s\xa1d\xcd\x27\x10\x04\xa0\xa0\xa0\xa3new"
    header, _ = unpack(b"NANO\x01" + len(new).to_bytes(2, "big") + new)
    assert header.op == "a.b"


@given(st.sampled_from(ErrorCode), texts, st.none() | texts, st.dictionaries(st.sampled_from(["field", "n"]), texts))
def test_errors_cross_the_wire_whole(
    code: ErrorCode, message: str, reason: str | None, details: dict[str, str]
) -> None:
    error = decode(
        encode(ErrorBody.from_error(NanoError(code, message, reason=reason, **details))), ErrorBody
    ).to_error()
    assert (error.code, error.message, error.reason, error.details) == (code, message, reason, details)


@given(st.text(), st.integers(-(2**63), 2**63 - 1), st.lists(st.text()))
def test_messages_survive_the_codec(name: str, count: int, tags: list[str]) -> None:
    thing = Thing(name=name, count=count, tags=tags)
    assert decode(encode(thing), Thing) == thing


@pytest.mark.parametrize(
    ("body", "where"),
    [({"name": 7}, "name"), ({"name": "a", "count": "x"}, "count"), ({"name": "a", "tags": ["x", 3]}, "tags[1]")],
)
def test_a_wrong_field_is_named_by_its_path(body: dict[str, object], where: str) -> None:
    with pytest.raises(NanoError) as caught:
        decode(encode(body), Thing)
    assert caught.value.details["field"] == where


def test_a_wrong_field_deep_inside_is_named_by_its_path() -> None:
    with pytest.raises(NanoError) as caught:
        decode(encode({"inner": {"sizes": [1, "2"]}}), Outer)
    assert caught.value.details["field"] == "inner.sizes[1]"


@given(st.binary(max_size=300))
def test_random_bodies_are_a_message_or_refused(body: bytes) -> None:
    assert outcome(lambda: decode(body, Thing)) in {Thing, ErrorCode.INVALID_ARGUMENT}
