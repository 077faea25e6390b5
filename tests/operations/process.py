"""A process that runs one toy operation, or carries on what an earlier one left; started by test_operations_kill.

Arguments: a folder, ``begin`` or ``go-on``, and ``good`` or ``bad`` (the third step fails). Each step makes a file,
each undo removes it; both note every call in ``calls``. Prints the operation as JSON when it has ended.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from nanocore.contracts.operation import ListOperations, Operation, StepContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import decode_json
from tests.operations.kit import Behaviour, Toy, ToyInput, engine_on


def acts(folder: Path, *, is_bad: bool) -> tuple[dict[str, Behaviour], dict[str, Behaviour]]:
    def note(text: str) -> None:
        with (folder / "calls").open("a") as file:
            file.write(text + "\n")

    def make(name: str) -> tuple[Behaviour, Behaviour]:
        async def do(context: StepContext) -> dict[str, str]:
            note(f"do {name} {context.key.removeprefix(context.operation_id)}")
            if is_bad and name == "three":
                (folder / "half").touch()
                raise NanoError(ErrorCode.NO_CAPACITY, "full")
            (folder / name).touch()
            return {"made": name}

        async def undo(context: StepContext) -> None:
            note(f"undo {name} {context.key.removeprefix(context.operation_id)}")
            (folder / name).unlink(missing_ok=True)
            if name == "three":
                (folder / "half").unlink(missing_ok=True)

        return do, undo

    made = {name: make(name) for name in ("one", "two", "three")}
    return {name: act[0] for name, act in made.items()}, {name: act[1] for name, act in made.items()}


async def main(folder: Path, command: str, fate: str) -> None:
    do, undo = acts(folder, is_bad=fate == "bad")
    async with engine_on(folder / "db", Toy(do=do, undo=undo)) as bench:
        if command == "begin":
            await bench.engine.run("toy.make", ToyInput(id="a"), idempotency_key="k")
        for blob in bench.engine._table.page(ListOperations()).blobs:
            ended = await bench.engine.wait(decode_json(bytes(blob), Operation).id, 20)
            sys.stdout.write(bytes(bench.engine._table.reply(ended.id).blobs[0]).decode() + "\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
