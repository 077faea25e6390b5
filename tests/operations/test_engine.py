"""The engine on a real store: order, failure, undo, cancel, time, locks, keys, restarts, lists."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nanocore.clock import Deadline, SystemClock
from nanocore.contracts.authorizer import Principal, ResourceRef
from nanocore.contracts.handler import Call
from nanocore.contracts.listing import ResourceChanged
from nanocore.contracts.node import NodeInfo
from nanocore.contracts.operation import (
    CancelOperation,
    GetOperation,
    ListOperations,
    Operation,
    OperationState,
    StepContext,
)
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import NodeId, OperationId
from nanocore.operations import engine as engine_module
from nanocore.operations import journal as operations_journal
from nanocore.wire import decode_json
from tests.operations.kit import Behaviour, Bench, Toy, ToyInput, engine_on, until

ANN = Principal(user_id="u-ann", username="ann")
BOB = Principal(user_id="u-bob", username="bob")
TOY = ResourceRef(kind="toy", id="a")


def failing(code: ErrorCode, message: str = "no", *, times: int = 10**9) -> Behaviour:
    left = times

    async def act(context: StepContext) -> Any:
        nonlocal left
        left -= 1
        if left >= 0:
            raise NanoError(code, message)
        return "at last"

    return act


def waiting(gate: asyncio.Event) -> Behaviour:
    async def act(context: StepContext) -> Any:
        await gate.wait()
        return "waited"

    return act


async def finish(bench: Bench, id: str = "a", **kwargs: Any) -> Operation:
    operation = await bench.engine.run("toy.make", ToyInput(id=id), **kwargs)
    assert operation.state is OperationState.PENDING
    return await ended(bench, operation.id)


async def ended(bench: Bench, id: OperationId) -> Operation:
    operation = await bench.engine.wait(id, 20)
    assert operation.state.is_final, operation
    return operation


class Clock(SystemClock):
    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.offset)

    def monotonic(self) -> float:
        return super().monotonic() + self.offset


def test_success(tmp_path: Path) -> None:
    async def main() -> None:
        toy = Toy()
        async with engine_on(tmp_path / "db", toy) as bench:
            operation = await finish(bench, requested_by=ANN)
            assert operation.state is OperationState.SUCCEEDED
            outcomes = {name: f"{name} done" for name in toy.names}
            assert operation.result == {"id": "a", "outcomes": outcomes}
            assert operation.requested_by == "ann"
            assert operation.error is None
            assert operation.progress.done == operation.progress.total == 3
            assert operation.started_at is not None
            assert operation.ended_at is not None
            assert toy.calls == ["do one", "do two", "do three"]
            assert toy.seen["do three"] == {"one": "one done", "two": "two done"}
            assert bench.engine.find_running(TOY) is None
            await until(lambda: bool(bench.events))
            assert {type(event) for event in bench.events} == {ResourceChanged}
            assert {(event.noun, event.id) for event in bench.events} == {("operations", operation.id)}

    asyncio.run(main())


def test_failure_undoes_in_reverse(tmp_path: Path) -> None:
    async def main() -> None:
        toy = Toy(do={"three": failing(ErrorCode.NO_CAPACITY, "full")})
        async with engine_on(tmp_path / "db", toy) as bench:
            operation = await finish(bench)
            assert operation.state is OperationState.FAILED
            assert operation.error is not None
            assert (operation.error.code, operation.error.message) == (ErrorCode.NO_CAPACITY, "full")
            assert toy.calls == ["do one", "do two", "do three", "undo three", "undo two", "undo one"]
            assert toy.seen["undo one"] == {"one": "one done", "two": "two done"}

    asyncio.run(main())


def test_a_mistake_in_a_step_is_internal_with_an_incident(tmp_path: Path) -> None:
    async def broken(context: StepContext) -> Any:
        raise RuntimeError("the password is 1234")

    async def main() -> None:
        async with engine_on(tmp_path / "db", Toy(do={"two": broken})) as bench:
            error = (await finish(bench)).error
            assert error is not None
            assert error.code is ErrorCode.INTERNAL
            assert error.details["incident"] in error.message
            assert "1234" not in error.message

    asyncio.run(main())


@pytest.mark.parametrize("outcome", [object(), {"x": {1, 2, object()}}, "x" * 300_000, 2**70])
def test_an_outcome_that_can_not_be_journalled_fails_the_step(tmp_path: Path, outcome: Any) -> None:
    async def odd(context: StepContext) -> Any:
        return outcome

    async def main() -> None:
        toy = Toy(do={"two": odd})
        async with engine_on(tmp_path / "db", toy) as bench:
            error = (await finish(bench)).error
            assert error is not None
            assert error.reason == "operations.outcome"
            assert toy.calls[-1] == "undo one"

    asyncio.run(main())


def test_details_that_can_not_be_journalled_are_dropped(tmp_path: Path) -> None:
    async def odd(context: StepContext) -> Any:
        raise NanoError(ErrorCode.CONFLICT, "odd", thing=object())

    async def main() -> None:
        async with engine_on(tmp_path / "db", Toy(do={"two": odd})) as bench:
            error = (await finish(bench)).error
            assert error is not None
            assert (error.code, error.message, error.details) == (ErrorCode.CONFLICT, "odd", {})

    asyncio.run(main())


def test_a_cell_that_is_away_for_a_moment_is_asked_again(tmp_path: Path) -> None:
    async def main() -> None:
        toy = Toy(do={"two": failing(ErrorCode.UNAVAILABLE, times=2)})
        async with engine_on(tmp_path / "db", toy) as bench:
            assert (await finish(bench)).state is OperationState.SUCCEEDED
            assert toy.calls == ["do one", "do two", "do two", "do two", "do three"]

    asyncio.run(main())


def test_a_step_that_is_unavailable_for_all_its_time_fails(tmp_path: Path) -> None:
    async def main() -> None:
        toy = Toy(do={"two": failing(ErrorCode.UNAVAILABLE, "cell is away")}, seconds={"two": 0.5})
        async with engine_on(tmp_path / "db", toy) as bench:
            operation = await finish(bench)
            assert operation.error is not None
            assert operation.error.message == "cell is away"
            assert toy.calls[-2:] == ["undo two", "undo one"]

    asyncio.run(main())


def test_a_step_that_hangs_is_cut_and_undone(tmp_path: Path) -> None:
    async def main() -> None:
        toy = Toy(do={"two": waiting(asyncio.Event())}, seconds={"two": 0.2})
        async with engine_on(tmp_path / "db", toy) as bench:
            operation = await finish(bench)
            assert operation.error is not None
            assert operation.error.code is ErrorCode.DEADLINE_EXCEEDED
            assert "step two of toy.make took longer than 0.2 s" in operation.error.message
            assert toy.calls[-2:] == ["undo two", "undo one"]

    asyncio.run(main())


def test_a_step_that_ignores_its_cancellation_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "INTERRUPT_GRACE_SECONDS", 0.1)

    async def main() -> None:
        gate = asyncio.Event()

        async def stubborn(context: StepContext) -> Any:
            task = asyncio.current_task()
            assert task is not None
            task.set_name("left behind")
            while not gate.is_set():
                try:
                    await gate.wait()
                except asyncio.CancelledError:
                    continue

        toy = Toy(do={"two": stubborn}, seconds={"two": 0.1})
        async with engine_on(tmp_path / "db", toy) as bench:
            operation = await finish(bench)
            assert operation.error is not None
            assert operation.error.code is ErrorCode.DEADLINE_EXCEEDED
            assert toy.calls[-1] == "undo one"
            gate.set()

    asyncio.run(main())


def test_an_undo_is_repeated_while_the_cell_is_away(tmp_path: Path) -> None:
    async def main() -> None:
        toy = Toy(
            do={"three": failing(ErrorCode.NO_CAPACITY)}, undo={"two": failing(ErrorCode.DEADLINE_EXCEEDED, times=3)}
        )
        async with engine_on(tmp_path / "db", toy) as bench:
            assert (await finish(bench)).state is OperationState.FAILED
            assert toy.calls[4:] == ["undo two"] * 4 + ["undo one"]

    asyncio.run(main())


def test_what_could_not_be_undone_is_said_and_tried_again_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations_journal, "UNDO_PATIENCE_SECONDS", 0.1)

    async def main() -> None:
        toy = Toy(
            do={"three": failing(ErrorCode.NO_CAPACITY, "full")},
            undo={"two": failing(ErrorCode.UNAVAILABLE, "cell is away")},
        )
        async with engine_on(tmp_path / "db", toy) as bench:
            first = await finish(bench)
            assert first.error is not None
            assert first.error.message.startswith("full; step two could not be undone (nor, after it, one)")
            assert "cell is away" in first.error.message
            assert bench.engine.find_running(TOY) is None
            assert await bench.engine.delete_ended(datetime.now(UTC) + timedelta(days=1)) == 0
        again = Toy()
        async with engine_on(tmp_path / "db", again) as bench:
            await until(lambda: bench.engine.find_running(TOY) is None)
            assert again.calls == ["undo two", "undo one"]
            second = bench.engine.get(first.id)
            assert second.error is not None
            assert (second.state, second.error.message, second.ended_at) == (
                OperationState.FAILED,
                "full",
                first.ended_at,
            )
        idle = Toy()
        async with engine_on(tmp_path / "db", idle):
            assert idle.calls == []

    asyncio.run(main())


def test_what_was_left_is_not_undone_under_a_later_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations_journal, "UNDO_PATIENCE_SECONDS", 0.1)

    async def main() -> None:
        toy = Toy(do={"two": failing(ErrorCode.CONFLICT)}, undo={"one": failing(ErrorCode.UNAVAILABLE)})
        async with engine_on(tmp_path / "db", toy) as bench:
            assert (await finish(bench)).state is OperationState.FAILED
            toy.do.clear()
            assert (await finish(bench)).state is OperationState.SUCCEEDED
        later = Toy()
        async with engine_on(tmp_path / "db", later):
            assert later.calls == []

    asyncio.run(main())


def test_after_the_final_commit_it_is_carried_to_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        toy = Toy(final="one", do={"two": failing(ErrorCode.INTERNAL, "oops")})
        async with engine_on(tmp_path / "db", toy) as bench:
            operation = await finish(bench)
            assert toy.calls == ["do one", "do two", "do three"]
            assert operation.state is OperationState.FAILED
            assert operation.error is not None
            assert "step two failed: oops" in operation.error.message
        again = Toy(final="one")
        async with engine_on(tmp_path / "db", again) as bench:
            await until(lambda: bench.engine.find_running(TOY) is None)
            assert again.calls == ["do two"]

    asyncio.run(main())


def test_cancel_interrupts_and_undoes(tmp_path: Path) -> None:
    async def main() -> None:
        toy = Toy(do={"two": waiting(asyncio.Event())})
        async with engine_on(tmp_path / "db", toy) as bench:
            operation = await bench.engine.run("toy.make", ToyInput(id="a"))
            await until(lambda: toy.calls[-1:] == ["do two"])
            first, second = await asyncio.gather(bench.engine.cancel(operation.id), bench.engine.cancel(operation.id))
            assert {first.id, second.id} == {operation.id}
            operation = await ended(bench, operation.id)
            assert operation.state is OperationState.CANCELLED
            assert toy.calls == ["do one", "do two", "undo two", "undo one"]
            assert (await bench.engine.cancel(operation.id)).state is OperationState.CANCELLED

    asyncio.run(main())


def test_cancel_between_two_attempts(tmp_path: Path) -> None:
    async def main() -> None:
        toy = Toy(do={"two": failing(ErrorCode.UNAVAILABLE)})
        async with engine_on(tmp_path / "db", toy) as bench:
            operation = await bench.engine.run("toy.make", ToyInput(id="a"))
            await until(lambda: toy.calls.count("do two") == 3)
            await bench.engine.cancel(operation.id)
            assert (await ended(bench, operation.id)).state is OperationState.CANCELLED

    asyncio.run(main())


def test_cancel_right_after_the_start(tmp_path: Path) -> None:
    async def main() -> None:
        toy = Toy(do={"one": waiting(asyncio.Event())})
        async with engine_on(tmp_path / "db", toy) as bench:
            for turn in range(20):
                operation = await bench.engine.run("toy.make", ToyInput(id=f"{turn}"))
                await bench.engine.cancel(operation.id)
                assert (await ended(bench, operation.id)).state is OperationState.CANCELLED
            assert toy.calls.count("undo one") == 20

    asyncio.run(main())


def test_cancel_is_refused_when_it_is_too_late(tmp_path: Path) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        toy = Toy(final="two", do={"two": waiting(gate)})
        async with engine_on(tmp_path / "db", toy) as bench:
            operation = await bench.engine.run("toy.make", ToyInput(id="a"))
            await until(lambda: toy.calls[-1:] == ["do two"])
            with pytest.raises(NanoError, match="past the point") as caught:
                await bench.engine.cancel(operation.id)
            assert caught.value.code is ErrorCode.WRONG_STATE
            gate.set()
            assert (await ended(bench, operation.id)).state is OperationState.SUCCEEDED
            with pytest.raises(NanoError, match="already ended"):
                await bench.engine.cancel(operation.id)
            with pytest.raises(NanoError) as caught:
                await bench.engine.cancel(OperationId("nobody"))
            assert caught.value.code is ErrorCode.NOT_FOUND

    asyncio.run(main())


def test_one_resource_has_one_change_at_a_time(tmp_path: Path) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        toy = Toy(do={"one": waiting(gate)})
        async with engine_on(tmp_path / "db", toy) as bench:
            first = await bench.engine.run("toy.make", ToyInput(id="a"))
            found = bench.engine.find_running(TOY)
            assert found is not None
            assert found.id == first.id
            with pytest.raises(NanoError) as caught:
                await bench.engine.run("toy.make", ToyInput(id="a"))
            assert caught.value.code is ErrorCode.BUSY
            assert caught.value.details["operation_id"] == first.id
            assert first.id in caught.value.message
            other = await bench.engine.run("toy.make", ToyInput(id="b"))
            gate.set()
            await ended(bench, other.id)
            await ended(bench, first.id)
            assert (await finish(bench)).state is OperationState.SUCCEEDED

    asyncio.run(main())


def test_of_many_at_once_on_one_resource_one_begins(tmp_path: Path) -> None:
    async def main() -> None:
        toy = Toy()
        async with engine_on(tmp_path / "db", toy) as bench:
            results = await asyncio.gather(
                *(bench.engine.run("toy.make", ToyInput(id="a")) for _ in range(20)), return_exceptions=True
            )
            started = [result for result in results if isinstance(result, Operation)]
            assert len(started) == 1
            await ended(bench, started[0].id)
            assert toy.calls == ["do one", "do two", "do three"]

    asyncio.run(main())


def test_an_idempotency_key_begins_one_operation(tmp_path: Path) -> None:
    async def main() -> None:
        clock = Clock()
        toy = Toy()
        async with engine_on(tmp_path / "db", toy, clock=clock) as bench:
            run = bench.engine.run
            first, twin = await asyncio.gather(
                run("toy.make", ToyInput(id="a"), requested_by=ANN, idempotency_key="k"),
                run("toy.make", ToyInput(id="a"), requested_by=ANN, idempotency_key="k"),
            )
            assert first.id == twin.id
            other = await run("toy.make", ToyInput(id="b"), requested_by=BOB, idempotency_key="k")
            assert other.id != first.id
            await ended(bench, first.id)
            await ended(bench, other.id)
        async with engine_on(tmp_path / "db", toy, clock=clock) as bench:
            again = await bench.engine.run("toy.make", ToyInput(id="z"), requested_by=ANN, idempotency_key="k")
            assert (again.id, again.state) == (first.id, OperationState.SUCCEEDED)
            found = bench.engine.find_repeated("toy.make", requested_by=ANN, idempotency_key="k")
            assert found is not None
            assert found.id == first.id
            assert bench.engine.find_repeated("toy.make", requested_by=ANN, idempotency_key="other") is None
            assert bench.engine.find_repeated("toy.make", requested_by=ANN) is None
            clock.offset = 24 * 3600 + 1
            later = await bench.engine.run("toy.make", ToyInput(id="a"), requested_by=ANN, idempotency_key="k")
            assert later.id != first.id
            await ended(bench, later.id)

    asyncio.run(main())


def test_a_caller_that_goes_away_does_not_stop_it(tmp_path: Path) -> None:
    async def main() -> None:
        toy = Toy()
        async with engine_on(tmp_path / "db", toy) as bench:
            asked = asyncio.ensure_future(bench.engine.run("toy.make", ToyInput(id="a")))
            await asyncio.sleep(0)
            asked.cancel()
            await until(lambda: len(toy.calls) == 3 and bench.engine.find_running(TOY) is None)

    asyncio.run(main())


def test_an_unknown_kind_is_unimplemented(tmp_path: Path) -> None:
    async def main() -> None:
        async with engine_on(tmp_path / "db", Toy()) as bench:
            with pytest.raises(NanoError, match=r"there are: toy\.make") as caught:
                await bench.engine.run("toy.unmake", ToyInput(id="a"))
            assert caught.value.code is ErrorCode.UNIMPLEMENTED

    asyncio.run(main())


def test_beyond_the_limit_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "MAX_RUNNING", 3)

    async def main() -> None:
        gate = asyncio.Event()
        async with engine_on(tmp_path / "db", Toy(do={"one": waiting(gate)})) as bench:
            begun = [await bench.engine.run("toy.make", ToyInput(id=str(n))) for n in range(3)]
            with pytest.raises(NanoError) as caught:
                await bench.engine.run("toy.make", ToyInput(id="more"))
            assert caught.value.code is ErrorCode.BUSY
            gate.set()
            for operation in begun:
                await ended(bench, operation.id)

    asyncio.run(main())


@pytest.mark.parametrize("where", ["one", "two", "three"])
def test_a_stop_in_the_middle_is_carried_on_at_the_next_start(tmp_path: Path, where: str) -> None:
    async def main() -> None:
        toy = Toy(do={where: waiting(asyncio.Event())})
        async with engine_on(tmp_path / "db", toy) as bench:
            operation = await bench.engine.run("toy.make", ToyInput(id="a"), requested_by=ANN)
            await until(lambda: toy.calls[-1:] == [f"do {where}"])
        with pytest.raises(NanoError):
            await bench.engine.run("toy.make", ToyInput(id="b"))
        again = Toy()
        async with engine_on(tmp_path / "db", again) as bench:
            assert bench.engine.find_running(TOY) is not None
            operation = await ended(bench, operation.id)
            assert operation.state is OperationState.SUCCEEDED
            assert operation.requested_by == "ann"
            first = toy.names.index(where)
            assert again.calls == [f"do {name}" for name in toy.names[first:]]
            assert operation.result == {"id": "a", "outcomes": {name: f"{name} done" for name in toy.names}}

    asyncio.run(main())


def test_a_stop_in_the_middle_of_an_undo_goes_on_undoing(tmp_path: Path) -> None:
    async def main() -> None:
        toy = Toy(do={"three": failing(ErrorCode.CONFLICT, "taken")}, undo={"two": waiting(asyncio.Event())})
        async with engine_on(tmp_path / "db", toy) as bench:
            operation = await bench.engine.run("toy.make", ToyInput(id="a"))
            await until(lambda: toy.calls[-1:] == ["undo two"])
        again = Toy()
        async with engine_on(tmp_path / "db", again) as bench:
            operation = await ended(bench, operation.id)
            assert operation.error is not None
            assert (operation.state, operation.error.message) == (OperationState.FAILED, "taken")
            assert again.calls == ["undo two", "undo one"]

    asyncio.run(main())


@pytest.mark.parametrize("changed", ["absent", "other steps", "steps raises"])
def test_an_operation_that_can_not_go_on_is_suspended_with_the_reason(tmp_path: Path, changed: str) -> None:
    class Broken(Toy):
        def steps(self, input: ToyInput) -> Any:
            raise RuntimeError("bug")

    async def main() -> None:
        toy = Toy(do={"two": waiting(asyncio.Event())})
        async with engine_on(tmp_path / "db", toy) as bench:
            operation = await bench.engine.run("toy.make", ToyInput(id="a"))
            await until(lambda: toy.calls[-1:] == ["do two"])
        now = {"absent": [], "other steps": [Toy(names=("first", "two"))], "steps raises": [Broken()]}[changed]
        async with engine_on(tmp_path / "db", *now, Toy(kind="toy.other")) as bench:
            shown = bench.engine.get(operation.id)
            assert not shown.state.is_final
            assert shown.error is not None
            assert shown.error.message.startswith("suspended: ")
            with pytest.raises(NanoError) as caught:
                await bench.engine.run("toy.other", ToyInput(id="a"))
            assert caught.value.code is ErrorCode.BUSY
            with pytest.raises(NanoError) as caught:
                await bench.engine.cancel(operation.id)
            assert caught.value.code is ErrorCode.WRONG_STATE
        back = Toy()
        async with engine_on(tmp_path / "db", back) as bench:
            assert (await ended(bench, operation.id)).state is OperationState.SUCCEEDED
            assert back.calls == ["do two", "do three"]

    asyncio.run(main())


def test_a_store_that_refuses_begins_nothing_and_pauses_what_runs(tmp_path: Path) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        toy = Toy(do={"one": waiting(gate)})
        async with engine_on(tmp_path / "db", toy) as bench:
            operation = await bench.engine.run("toy.make", ToyInput(id="a"))
            await until(lambda: toy.calls == ["do one"])
            write = bench.store._database.write

            def refuse(*args: Any) -> None:
                raise NanoError(ErrorCode.UNAVAILABLE, "the disk is full")

            bench.store._database.write = refuse  # type: ignore[method-assign]
            with pytest.raises(NanoError, match="disk is full"):
                await bench.engine.run("toy.make", ToyInput(id="b"))
            assert bench.engine.find_running(ResourceRef(kind="toy", id="b")) is None
            gate.set()
            assert not (await bench.engine.wait(operation.id, 0.6)).state.is_final
            assert toy.calls == ["do one"]
            bench.store._database.write = write  # type: ignore[method-assign]
            assert (await ended(bench, operation.id)).state is OperationState.SUCCEEDED

    asyncio.run(main())


def test_progress_is_shown(tmp_path: Path) -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def copying(context: StepContext) -> Any:
            context.progress(30, 100, "bytes")
            await gate.wait()

        async with engine_on(tmp_path / "db", Toy(do={"two": copying})) as bench:
            operation = await bench.engine.run("toy.make", ToyInput(id="a"))

            def shown(unit: str) -> bool:
                view = decode_json(list_of(bench, ListOperations())[0], Operation)
                progress = view.progress
                return (progress.step, progress.done, progress.total, progress.unit) == ("two", 30, 100, unit)

            await until(lambda: shown("bytes"))
            assert bench.engine.get(operation.id).state is OperationState.RUNNING
            gate.set()
            await ended(bench, operation.id)

    asyncio.run(main())


def list_of(bench: Bench, query: ListOperations) -> list[bytes]:
    return [bytes(blob) for blob in bench.engine._table.page(query).blobs]


def call_of(seconds: float = 60) -> Call:
    node = NodeInfo(id=NodeId("n"), name="n", roles=[])
    return Call(id="r", source=node, deadline=Deadline.after(seconds, SystemClock()), trace="t")


def handler(bench: Bench, op: str) -> Callable[[Any], Any]:
    found = {one.op: one for one in bench.engine.handlers()}[op]
    return lambda message: found.call(message, call_of())


def test_handlers(tmp_path: Path) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        async with engine_on(tmp_path / "db", Toy(do={"one": waiting(gate)})) as bench:
            ids = [(await bench.engine.run("toy.make", ToyInput(id=str(n)))).id for n in range(3)]
            reply = await handler(bench, "operations.list_operations")(ListOperations(limit=2))
            assert reply.body.total == 3
            assert [decode_json(blob, Operation).id for blob in reply.blobs] == [ids[2], ids[1]]
            shown = await handler(bench, "operations.get_operation")(GetOperation(id=ids[0], wait_seconds=0.05))
            assert not shown.state.is_final
            waiter = asyncio.ensure_future(
                handler(bench, "operations.get_operation")(GetOperation(id=ids[0], wait_seconds=30))
            )
            cancelled = await handler(bench, "operations.cancel_operation")(CancelOperation(id=ids[1]))
            assert cancelled.id == ids[1]
            gate.set()
            assert (await waiter).state is OperationState.SUCCEEDED
            with pytest.raises(NanoError) as caught:
                await handler(bench, "operations.get_operation")(GetOperation(id=OperationId("nobody")))
            assert caught.value.code is ErrorCode.NOT_FOUND

    asyncio.run(main())


def test_delete_ended_deletes_in_store_and_list(tmp_path: Path) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        toy = Toy()
        async with engine_on(tmp_path / "db", toy) as bench:
            old = await finish(bench)
            toy.do["one"] = waiting(gate)
            running = await bench.engine.run("toy.make", ToyInput(id="b"))
            assert await bench.engine.delete_ended(datetime.now(UTC) - timedelta(days=1)) == 0
            assert await bench.engine.delete_ended(datetime.now(UTC) + timedelta(days=1)) == 1
            with pytest.raises(NanoError):
                bench.engine.get(old.id)
            gate.set()
            await ended(bench, running.id)
        with closing(sqlite3.connect(tmp_path / "db")) as connection:
            assert connection.execute("SELECT key FROM record").fetchall() == [(running.id,)]

    asyncio.run(main())


def test_a_waiter_is_answered_when_the_engine_stops(tmp_path: Path) -> None:
    async def main() -> None:
        async with engine_on(tmp_path / "db", Toy(do={"one": waiting(asyncio.Event())})) as bench:
            operation = await bench.engine.run("toy.make", ToyInput(id="a"))
            waiter = asyncio.ensure_future(bench.engine.wait(operation.id, 60))
            await asyncio.sleep(0)
        assert not (await waiter).state.is_final

    asyncio.run(main())


def test_a_thousand_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        toy = Toy(do={"two": failing(ErrorCode.NO_CAPACITY, times=500)})
        async with engine_on(tmp_path / "db", toy) as bench:
            begun = await asyncio.gather(*(bench.engine.run("toy.make", ToyInput(id=str(n))) for n in range(1000)))
            states = [(await ended(bench, operation.id)).state for operation in begun]
            assert states.count(OperationState.SUCCEEDED) == 500
            assert states.count(OperationState.FAILED) == 500
            assert toy.calls.count("undo one") == toy.calls.count("undo two") == 500
            assert toy.calls.count("do three") == 500

    asyncio.run(main())


def test_a_caller_whose_intent_is_not_yet_durable_is_answered_when_the_engine_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "STOP_SECONDS", 0.1)

    async def main() -> None:
        gate = asyncio.Event()
        async with engine_on(tmp_path / "db", Toy()) as bench:
            commit = bench.store.commit

            async def slow(*changes: Any) -> int:
                await gate.wait()
                return await commit(*changes)

            bench.store.commit = slow  # type: ignore[method-assign]
            asked = asyncio.ensure_future(bench.engine.run("toy.make", ToyInput(id="a")))
            await asyncio.sleep(0)
        with pytest.raises(NanoError) as caught:
            await asked
        assert caught.value.code is ErrorCode.UNKNOWN_OUTCOME

    asyncio.run(main())
