from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanocore.errors import ErrorCode, NanoError
from nanocore.kernel.routing import Routes, forwarded
from nanocore.wire.envelope import Header, Kind


def test_a_linked_node_is_its_own_next_hop() -> None:
    routes = Routes()
    routes.link_up("a")
    assert routes.next_hop("a") == "a"


def test_a_cell_sends_everything_through_its_core() -> None:
    routes = Routes("core")
    routes.link_up("core")
    assert routes.next_hop("core") == "core"
    assert routes.next_hop("cell-2") == "core"


@pytest.mark.parametrize(("uplink", "text"), [(None, "node a is not connected"), ("core", "core, the way to a")])
def test_without_a_way_it_says_which_link_is_missing(uplink: str | None, text: str) -> None:
    with pytest.raises(NanoError, match=text) as caught:
        Routes(uplink).next_hop("a")
    assert caught.value.code is ErrorCode.UNAVAILABLE


def test_answers_go_back_through_the_relay_until_it_is_lost() -> None:
    routes = Routes()
    routes.link_up("relay")
    routes.learn("cell", "relay")
    assert routes.next_hop("cell") == "relay"
    routes.link_down("relay")
    with pytest.raises(NanoError):
        routes.next_hop("cell")
    routes.link_up("relay")
    with pytest.raises(NanoError):
        routes.next_hop("cell")


def test_a_link_of_its_own_wins_over_a_relay() -> None:
    routes = Routes()
    routes.link_up("relay")
    routes.learn("cell", "relay")
    routes.link_up("cell")
    routes.learn("cell", "relay")
    assert routes.next_hop("cell") == "cell"


@given(hops=st.integers(0, 6), ttl_ms=st.integers(-5, 50))
def test_a_message_goes_on_only_with_hops_and_time_left(hops: int, ttl_ms: int) -> None:
    header = Header(kind=Kind.REQUEST, id="1", dst="a", hops=hops, ttl_ms=ttl_ms)
    if hops > 1 and ttl_ms > 1:
        onward = forwarded(header)
        assert (onward.hops, onward.ttl_ms) == (hops - 1, ttl_ms - 1)
        assert (onward.id, onward.dst) == ("1", "a")
        return
    with pytest.raises(NanoError) as caught:
        forwarded(header)
    assert caught.value.code is (ErrorCode.UNAVAILABLE if hops <= 1 else ErrorCode.DEADLINE_EXCEEDED)
