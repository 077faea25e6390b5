from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanocore.contracts.handler import Reply
from nanocore.errors import ErrorCode, NanoError
from nanocore.kernel.requests import Deadlines, KeptReplies, KeptReply, Pending, PendingRequests
from nanocore.testing.cluster import wait_for
from nanocore.testing.fake_clock import FakeClock


def pending(id: str, hop: str = "core", *, is_idempotent: bool = False) -> Pending:
    future: asyncio.Future[Reply[Any]] = asyncio.get_running_loop().create_future()
    return Pending(id, "test.op", "far", hop, is_idempotent, future)


def code_of(future: asyncio.Future[Reply[Any]]) -> ErrorCode:
    error = future.exception()
    assert isinstance(error, NanoError)
    return error.code


def test_only_the_hop_that_carried_a_request_can_answer_it() -> None:
    async def main() -> None:
        requests = PendingRequests()
        mine = pending("1")
        requests.add(mine)
        assert requests.settle("1", "elsewhere") is None
        assert requests.settle("2", "core") is None
        assert requests.settle("1", "core") is mine
        assert requests.settle("1", "core") is None

    asyncio.run(main())


def test_an_id_waits_once() -> None:
    async def main() -> None:
        requests = PendingRequests()
        requests.add(pending("1"))
        with pytest.raises(NanoError) as caught:
            requests.add(pending("1"))
        assert caught.value.code is ErrorCode.CONFLICT

    asyncio.run(main())


def test_a_lost_link_fails_what_went_over_it_and_nothing_else() -> None:
    async def main() -> None:
        requests = PendingRequests()
        a, b, c = pending("a", is_idempotent=True), pending("b"), pending("c", "other")
        for one in (a, b, c):
            requests.add(one)
        for lost in requests.take_lost("core"):
            lost.lose("cut")
        assert code_of(a.future) is ErrorCode.UNAVAILABLE
        assert code_of(b.future) is ErrorCode.UNKNOWN_OUTCOME
        assert not c.future.done()
        assert requests.hops() == {"other"}

    asyncio.run(main())


def test_time_up_says_whether_it_may_be_repeated() -> None:
    async def main() -> None:
        a, b = pending("a", is_idempotent=True), pending("b")
        a.expire()
        b.expire()
        assert code_of(a.future) is ErrorCode.DEADLINE_EXCEEDED
        assert code_of(b.future) is ErrorCode.UNKNOWN_OUTCOME
        b.lose("later")
        assert code_of(b.future) is ErrorCode.UNKNOWN_OUTCOME

    asyncio.run(main())


def test_deadlines_expire_by_the_clock_and_not_when_discarded() -> None:
    class Thing:
        expired = 0

        def expire(self) -> None:
            self.expired += 1

    async def main() -> None:
        clock = FakeClock()
        deadlines = Deadlines(clock)
        soon, discarded, later = Thing(), Thing(), Thing()
        deadlines.add(soon, 1.0)
        deadlines.add(discarded, 1.0)
        deadlines.add(later, 5.0)
        deadlines.discard(discarded)
        clock.advance(2)
        await wait_for(lambda: soon.expired, "expiry")
        clock.advance(4)
        await wait_for(lambda: later.expired, "expiry")
        assert (soon.expired, discarded.expired, later.expired) == (1, 0, 1)
        deadlines.stop()

    asyncio.run(main())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), max_size=200))
def test_kept_replies_are_bounded_for_each_source_and_in_all(keeps: list[tuple[str, int]]) -> None:
    kept = KeptReplies(per_source=5, in_all=12)
    for source, number in keeps:
        key = (source, "", str(number))
        kept.keep(key, KeptReply("op", Reply(number)))
        found = kept.find(key)
        assert found is not None
        assert isinstance(found.outcome, Reply)
        assert found.outcome.body == number
        assert len(kept) <= 12


def test_one_source_does_not_push_out_another() -> None:
    kept = KeptReplies(per_source=5, in_all=100)
    kept.keep(("quiet", "", "1"), KeptReply("op", Reply(1)))
    for number in range(50):
        kept.keep(("loud", "", str(number)), KeptReply("op", Reply(number)))
    assert kept.find(("quiet", "", "1")) is not None
    assert len(kept) == 6
