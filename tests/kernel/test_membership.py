from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.ids import NodeId
from nanocore.kernel.membership import CHECK_SECONDS, Membership

START = datetime(2030, 1, 1, tzinfo=UTC)


def info(name: str) -> NodeInfo:
    return NodeInfo(id=NodeId(name), name=name, roles=[NodeRole.CELL])


class Timed:
    """Membership with a clock that the test moves by checks."""

    def __init__(self, **settings: int) -> None:
        self.members = Membership(**settings)
        self.now = 0.0
        self.lost: list[tuple[str, float]] = []

    @property
    def at(self) -> datetime:
        return START + timedelta(seconds=self.now)

    def hello(self, name: str, *, is_watched: bool = True) -> bool:
        return self.members.hello(info(name), now=self.now, at=self.at, is_watched=is_watched)

    def beat(self, name: str) -> NodeInfo | None:
        return self.members.heard(name, now=self.now, at=self.at)

    def run(self, seconds: float, *, beating: tuple[str, ...] = ()) -> None:
        end = self.now + seconds
        next_beat = self.now
        while self.now < end:
            self.now += CHECK_SECONDS
            if self.now >= next_beat:
                next_beat += 0.75
                for name in beating:
                    self.beat(name)
            self.lost += [(lost.name, self.now) for lost in self.members.check(now=self.now, at=self.at)]


def test_a_silent_peer_is_lost_within_two_seconds_and_only_once() -> None:
    timed = Timed()
    timed.hello("a")
    timed.hello("b")
    timed.run(5, beating=("b",))
    assert [name for name, _ in timed.lost] == ["a"]
    assert 1.5 <= timed.lost[0][1] < 2.0
    assert not timed.members.is_reachable("a")
    assert timed.members.is_reachable("b")


def test_a_beat_brings_it_back_once() -> None:
    timed = Timed()
    timed.hello("a")
    timed.run(3)
    assert timed.beat("a") == info("a")
    assert timed.beat("a") is None
    assert timed.members.is_reachable("a")
    timed.run(3)
    assert [name for name, _ in timed.lost] == ["a", "a"]


def test_a_stranger_who_beats_is_nobody() -> None:
    timed = Timed()
    assert timed.beat("x") is None
    assert timed.members.find("x") is None


def test_hello_says_whether_the_peer_was_away() -> None:
    timed = Timed()
    assert timed.hello("a")
    assert not timed.hello("a")
    timed.run(3)
    assert timed.hello("a")


def test_good_bye_is_a_loss_at_once_and_no_missed_beats_follow() -> None:
    timed = Timed()
    timed.hello("a")
    assert timed.members.leave("a", at=timed.at) == info("a")
    assert timed.members.leave("a", at=timed.at) is None
    timed.run(5)
    assert timed.lost == []


def test_a_dialled_core_is_not_expected_to_beat() -> None:
    timed = Timed()
    timed.hello("core", is_watched=False)
    timed.run(10)
    assert timed.lost == []
    assert timed.members.is_reachable("core")


def test_since_is_the_time_of_the_last_change() -> None:
    timed = Timed()
    timed.hello("a")
    timed.run(1, beating=("a",))
    peer = timed.members.peer("a")
    assert peer is not None
    assert peer.since == START
    timed.run(3)
    peer = timed.members.peer("a")
    assert peer is not None
    assert not peer.is_reachable
    assert peer.since is not None
    assert peer.since > START


def test_a_node_that_stood_still_itself_loses_nobody() -> None:
    timed = Timed()
    timed.hello("a")
    timed.run(1, beating=("a",))
    timed.now += 30
    assert timed.members.check(now=timed.now, at=timed.at) == []
    timed.run(0.5, beating=("a",))
    assert timed.lost == []
    timed.run(3)
    assert [name for name, _ in timed.lost] == ["a"]


def test_many_nodes_beat_threefold_more_rarely() -> None:
    members = Membership(0.75, stretch_above=10)
    for number in range(10):
        members.hello(info(f"n{number}"), now=0, at=START, is_watched=True)
    assert members.beat_seconds == 0.75
    members.hello(info("n10"), now=0, at=START, is_watched=True)
    assert members.beat_seconds == 2.25
    members.leave("n3", at=START)
    assert members.beat_seconds == 0.75


Steps = st.lists(
    st.tuples(st.sampled_from(["hello", "beat", "leave", "check"]), st.sampled_from("abc"), st.floats(0, 1)),
    max_size=60,
)


@given(Steps)
def test_joins_and_losses_alternate_for_every_peer(steps: list[tuple[str, str, float]]) -> None:
    members = Membership()
    now = 0.0
    there: dict[str, bool] = {}
    for what, name, wait in steps:
        now += wait
        if what == "hello":
            assert members.hello(info(name), now=now, at=START, is_watched=True) == (not there.get(name, False))
            there[name] = True
        elif what == "beat":
            back = members.heard(name, now=now, at=START)
            assert (back is not None) == (there.get(name) is False)
            if name in there:
                there[name] = True
        elif what == "leave":
            gone = members.leave(name, at=START)
            assert (gone is not None) == there.get(name, False)
            if name in there:
                there[name] = False
        else:
            for lost in members.check(now=now, at=START):
                assert there[lost.name]
                there[lost.name] = False
        assert {peer.name for peer in members.reachable()} == {name for name, is_there in there.items() if is_there}
