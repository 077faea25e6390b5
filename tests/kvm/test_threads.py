"""The pool is bounded, passes errors on, and never holds up the end of a process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from nanoplugins.kvm.threads import ThreadPool

STUCK = """
import asyncio, threading
from nanoplugins.kvm.threads import ThreadPool

async def main():
    pool = ThreadPool(1, "stuck")
    task = asyncio.create_task(pool.run(threading.Event().wait))
    await asyncio.sleep(0)
    task.cancel()
    pool.close()

asyncio.run(main())
"""


def test_calls_run_side_by_side_up_to_the_bound() -> None:
    async def main() -> None:
        pool = ThreadPool(3, "test")
        together, names = threading.Barrier(3, timeout=10), set()

        def meet() -> None:
            names.add(threading.current_thread().name)
            together.wait()

        await asyncio.gather(*(pool.run(meet) for _ in range(9)))
        assert len(names) == 3
        pool.close()

    asyncio.run(main())


def test_errors_and_results_come_back() -> None:
    async def main() -> None:
        pool = ThreadPool(1, "test")
        assert await pool.run(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 // 0)
        assert await pool.run(lambda: 8) == 8
        pool.close()

    asyncio.run(main())


def test_a_call_nobody_waits_for_any_more_is_not_begun() -> None:
    async def main() -> None:
        pool = ThreadPool(1, "test")
        gate, begun = threading.Event(), []
        first = asyncio.create_task(pool.run(gate.wait))
        second = asyncio.create_task(pool.run(lambda: begun.append(1)))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        gate.set()
        await first
        await pool.run(lambda: None)
        assert begun == []
        pool.close()

    asyncio.run(main())


def test_threads_end_with_the_pool() -> None:
    async def main() -> list[threading.Thread]:
        pool = ThreadPool(2, "ending")
        await asyncio.gather(*(pool.run(lambda: None) for _ in range(4)))
        pool.close()
        return [thread for thread in threading.enumerate() if thread.name.startswith("ending")]

    for thread in asyncio.run(main()):
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_a_stuck_call_does_not_keep_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], timeout=20, check=False)
    assert done.returncode == 0
