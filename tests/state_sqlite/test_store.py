"""The SQLite store: the conformance suite, and what only a file can get wrong."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from nanocore.contracts.state_store import Change, Collection, Put, StateStore
from nanocore.errors import ErrorCode, NanoError
from nanocore.testing.state_store_suite import PETS, TOYS, Pet, StateStoreSuite
from nanocore.wire import Struct, encode
from nanoplugins.state_sqlite.errors import MEANINGS, OURS, translate
from nanoplugins.state_sqlite.migrations import APPLICATION_ID, MIGRATIONS
from nanoplugins.state_sqlite.store import MAX_RECORD_BYTES, SqliteStateStore


def make_store(path: Path) -> SqliteStateStore:
    return SqliteStateStore(path, structlog.stdlib.get_logger())


class TestConformance(StateStoreSuite):
    def make_store(self, folder: Path) -> StateStore:
        return make_store(folder / "nano.db")


def fill(path: Path, count: int = 1) -> None:
    async def main() -> None:
        store = make_store(path)
        await store.open([PETS, TOYS])
        await asyncio.gather(*(store.commit(Put(PETS, str(n), Pet(name=f"pet-{n}"))) for n in range(count)))
        await store.close()

    asyncio.run(main())


def open_error(path: Path) -> NanoError:
    async def main() -> NanoError:
        store = make_store(path)
        with pytest.raises(NanoError) as caught:
            await store.open([PETS, TOYS])
        await store.close()
        return caught.value

    return asyncio.run(main())


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def test_files_are_for_the_owner_only(tmp_path: Path) -> None:
    async def main() -> None:
        store = make_store(tmp_path / "nano.db")
        await store.open([PETS])
        await store.commit(Put(PETS, "1", Pet(name="rex")))
        modes = modes_in(tmp_path)
        await store.close()
        assert modes == {"nano.db": 0o600, "nano.db-wal": 0o600}

    previous = os.umask(0)
    try:
        asyncio.run(main())
    finally:
        os.umask(previous)


def test_nothing_of_an_open_store_is_left_after_close(tmp_path: Path) -> None:
    fill(tmp_path / "nano.db")
    assert [path.name for path in tmp_path.iterdir()] == ["nano.db"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("state-sqlite")]


@pytest.mark.parametrize("offset", [0, 4096])
def test_a_damaged_file_stops_the_start_and_names_the_remedy(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "nano.db"
    fill(path, 500)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * 8192)
    error = open_error(path)
    assert error.code is ErrorCode.UNAVAILABLE
    assert str(path) in error.message
    assert "restore a backup" in error.message
    assert error.reason == "state_sqlite.damaged"


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "nano.db"
    path.write_text("somebody's notes\n" * 100)
    assert open_error(path).reason == "state_sqlite.damaged"
    assert path.read_text().startswith("somebody's notes")


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nano.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    assert open_error(path).reason == "state_sqlite.foreign"


def test_a_file_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nano.db"
    fill(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    assert open_error(path).reason == "state_sqlite.newer"


def test_a_record_that_no_longer_fits_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nano.db"
    fill(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE record SET value = ?", (encode({"name": 7}),))
    message = open_error(path).message
    assert "'0' of pets" in message
    assert str(path) in message


def test_a_second_core_on_the_same_file_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        first, second = make_store(tmp_path / "nano.db"), make_store(tmp_path / "nano.db")
        await first.open([PETS])
        with pytest.raises(NanoError, match="another process uses it"):
            await second.open([PETS])
        await first.commit(Put(PETS, "1", Pet(name="rex")))
        await first.close()

    asyncio.run(main())


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "absent" / "nano.db") in open_error(tmp_path / "absent" / "nano.db").message


def test_a_file_that_stopped_half_way_into_a_migration_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "nano.db"
    path.touch()
    fill(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
        assert connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID


def test_collections_that_are_not_in_use_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "nano.db"
    fill(path)

    async def main() -> list[str]:
        store = make_store(path)
        await store.open([TOYS])
        await store.commit(Put(TOYS, "ball", Pet(name="ball")))
        await store.close()
        await store.open([PETS, TOYS])
        names = [entry.value.name for kind in (PETS, TOYS) for entry in store.list(kind)]
        await store.close()
        return names

    assert asyncio.run(main()) == ["pet-0", "ball"]


def test_a_record_that_is_too_big_harms_nobody_else(tmp_path: Path) -> None:
    async def main() -> None:
        store = make_store(tmp_path / "nano.db")
        await store.open([PETS])
        big, small = await asyncio.gather(
            store.commit(Put(PETS, "big", Pet(name="x" * MAX_RECORD_BYTES))),
            store.commit(Put(PETS, "small", Pet(name="x"))),
            return_exceptions=True,
        )
        assert isinstance(big, NanoError)
        assert big.code is ErrorCode.INVALID_ARGUMENT
        assert store.revision == small
        await store.close()

    asyncio.run(main())


def test_an_index_function_that_raises_fails_its_caller_only(tmp_path: Path) -> None:
    class Odd(Struct, frozen=True):
        number: int

    odd = Collection("odd", Odd, (("half", lambda record: str(1 // record.number)),))

    async def main() -> None:
        store = make_store(tmp_path / "nano.db")
        await store.open([odd])
        bad, good = await asyncio.gather(
            store.commit(Put(odd, "bad", Odd(0))), store.commit(Put(odd, "good", Odd(1))), return_exceptions=True
        )
        assert isinstance(bad, ZeroDivisionError)
        assert store.revision == good
        await store.close()

    asyncio.run(main())


def test_a_closed_store_refuses_writes(tmp_path: Path) -> None:
    async def main() -> None:
        store = make_store(tmp_path / "nano.db")
        await store.open([PETS])
        pending = asyncio.ensure_future(store.commit(Put(PETS, "1", Pet(name="rex"))))
        await asyncio.sleep(0)
        await store.close()
        assert pending.done()
        assert await pending == 1
        with pytest.raises(NanoError, match="not open"):
            await store.commit(Put(PETS, "2", Pet(name="tom")))
        await store.close()

    asyncio.run(main())


FULL_DISK = """
import asyncio, resource, signal, sys
from pathlib import Path
import structlog
from nanocore.contracts.state_store import Put
from nanocore.errors import NanoError
from nanocore.testing.state_store_suite import PETS, Pet
from nanoplugins.state_sqlite.store import SqliteStateStore

async def main(path):
    store = SqliteStateStore(path, structlog.stdlib.get_logger())
    await store.open([PETS])
    await store.commit(Put(PETS, "first", Pet(name="first")))
    # A file that may not grow fails as a full disk does; the soft limit can be raised again.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = Path(str(path) + "-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4096, resource.RLIM_INFINITY))
    seen = []
    store.watch(seen.extend)
    try:
        await store.commit(Put(PETS, "first", Pet(name="changed")), Put(PETS, "big", Pet(name="x" * 100_000)))
    except NanoError as error:
        print(error.code.value, "|", error.message)
    print([entry.value.name for entry in store.list(PETS)], store.revision, seen)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(await store.commit(Put(PETS, "first", Pet(name="again"))))
    await store.close()
    await store.open([PETS])
    print([entry.value.name for entry in store.list(PETS)])
    await store.close()

asyncio.run(main(Path(sys.argv[1])))
"""


def test_a_disk_that_refuses_changes_nothing_and_writing_goes_on_later(tmp_path: Path) -> None:
    path = tmp_path / "nano.db"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, timeout=30, check=True
    )
    lines = [line for line in done.stdout.splitlines() if "state not written" not in line]
    assert lines[0].startswith("unavailable | ")
    assert str(path) in lines[0]
    assert lines[1:] == ["['first'] 1 []", "2", "['again']"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_really_full_disk(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(tmp_path)], check=True)
    try:
        asyncio.run(_fill_the_disk(tmp_path))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


async def _fill_the_disk(folder: Path) -> None:
    store = make_store(folder / "nano.db")
    await store.open([PETS])
    count = 0
    with pytest.raises(NanoError) as caught:
        while count < 1000:
            await store.commit(Put(PETS, str(count), Pet(name="x" * 10_000)))
            count += 1
    assert caught.value.code is ErrorCode.UNAVAILABLE
    assert caught.value.reason == "state_sqlite.full"
    assert len(store.list(PETS)) == store.revision == count > 0
    await store.close()
    await store.open([PETS])
    assert len(store.list(PETS)) == store.revision == count
    await store.close()


WRITER = """
import asyncio, itertools, sys
from pathlib import Path
import structlog
from nanocore.contracts.state_store import Put
from nanocore.testing.state_store_suite import PETS, Pet
from nanoplugins.state_sqlite.store import SqliteStateStore

async def main(path):
    store = SqliteStateStore(path, structlog.stdlib.get_logger())
    await store.open([PETS])
    async def write(producer):
        for turn in itertools.count():
            await store.commit(Put(PETS, f"{producer}", Pet(name="x", age=turn)))
            sys.stdout.write(f"{producer} {turn}\\n")
            sys.stdout.flush()
    await asyncio.gather(*(write(producer) for producer in range(20)))

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("lines", [1, 50, 700])
def test_kill_loses_no_acknowledged_commit(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "nano.db"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        read = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        read.extend(process.stdout.read().splitlines(keepends=True))
    acknowledged: dict[str, int] = {}
    for line in read:
        if line.endswith("\n"):
            producer, turn = line.split()
            acknowledged[producer] = int(turn)

    async def main() -> dict[str, int]:
        store = make_store(path)
        await store.open([PETS])
        found = {entry.key: entry.value.age for entry in store.list(PETS)}
        await store.close()
        return found

    found = asyncio.run(main())
    assert acknowledged
    assert all(found[producer] >= turn for producer, turn in acknowledged.items())


def test_every_sqlite_code_has_a_meaning() -> None:
    # Codes above 26 (NOTICE, WARNING, ROW, DONE) are no errors.
    names = [name for name in dir(sqlite3) if name.startswith("SQLITE_") and name.count("_") == 1]
    codes = {getattr(sqlite3, name) for name in names if isinstance(getattr(sqlite3, name), int)}
    primary = {
        sqlite3.SQLITE_ERROR, sqlite3.SQLITE_INTERNAL, sqlite3.SQLITE_PERM, sqlite3.SQLITE_ABORT, sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTFOUND, sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_EMPTY, sqlite3.SQLITE_SCHEMA,
        sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_MISUSE,
        sqlite3.SQLITE_NOLFS, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_RANGE, sqlite3.SQLITE_NOTADB,
    }  # fmt: skip
    assert primary <= codes
    assert primary == set(MEANINGS) | OURS
    assert set(range(1, 27)) == primary


def test_a_code_of_our_own_making_is_internal() -> None:
    error = sqlite3.OperationalError("no such table")
    error.sqlite_errorcode = sqlite3.SQLITE_ERROR
    assert translate(error, Path("/x")).code is ErrorCode.INTERNAL


def test_a_refused_write_is_logged(tmp_path: Path) -> None:
    async def main() -> None:
        store = make_store(tmp_path / "nano.db")
        await store.open([PETS])
        assert store._thread is not None
        # The file's table vanishes: the nearest thing to a statement of ours that SQLite refuses.
        loop = asyncio.get_running_loop()
        connection = store._database._connection
        assert connection is not None
        await loop.run_in_executor(store._thread, connection.execute, "DROP TABLE record")
        with capture_logs() as logs, pytest.raises(NanoError) as caught:
            await store.commit(Put(PETS, "1", Pet(name="rex")))
        assert caught.value.code is ErrorCode.INTERNAL
        assert [line["event"] for line in logs] == ["state not written"]
        assert store.list(PETS) == []
        await store.close()

    asyncio.run(main())


def test_a_failing_watcher_harms_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        store = make_store(tmp_path / "nano.db")
        await store.open([PETS])
        seen: list[str] = []

        def broken(changes: Sequence[Change]) -> None:
            raise RuntimeError(changes)

        store.watch(broken)
        store.watch(lambda changes: seen.extend(change.key for change in changes))
        with capture_logs() as logs:
            await store.commit(Put(PETS, "1", Pet(name="rex")))
        assert seen == ["1"]
        assert [line["event"] for line in logs] == ["state watcher failed"]
        await store.close()

    asyncio.run(main())
