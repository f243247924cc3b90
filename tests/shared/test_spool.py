"""The spool on a real SQLite file."""

import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from shared import spool as spool_module
from shared import spool_file
from shared.errors import SpoolError
from shared.record import Record
from shared.seen_ids import key_of, key_of_record
from shared.spool import Spool, leave_rest
from tests.shared.handoff_loop import record

PLENTY = 1024**3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.sqlite3"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    spool = Spool(path, PLENTY)
    yield spool
    spool.close()


def fill(spool: Spool, records: list[Record]) -> list[int]:
    numbers: list[int] = []
    while len(numbers) < len(records):
        numbers += spool.append(records[len(numbers) :])
    return numbers


def ids(found: list[tuple[int, Record]]) -> list[str]:
    return [one.id for _number, one in found]


def test_messages_come_back_in_order_each_once_and_whole(spool: Spool) -> None:
    source = Record("xqc", "a", 123, 456, "s", "r", "ü😀".encode())
    fill(spool, [source, *(record(number) for number in range(10))])
    first = spool.read_on(4)
    assert first[0][1] == source
    assert ids(first + spool.read_on(100)) == ["a", *(f"id-{number}" for number in range(10))]
    assert spool.read_on(100) == []
    assert spool.unsent == 0
    assert spool.messages == 11


def test_what_was_not_removed_is_there_after_a_restart(path: Path) -> None:
    first = Spool(path, PLENTY)
    numbers = fill(first, [record(number) for number in range(10)])
    first.read_on(6)
    first.remove([(number, "xqc") for number in numbers[:3]])
    first.close()
    second = Spool(path, PLENTY)
    assert second.newest_keys(100) == [key_of("xqc", f"id-{number}") for number in range(3, 10)]
    assert second.messages == second.unsent == 7
    assert ids(second.read_on(100)) == [f"id-{number}" for number in range(3, 10)]
    second.close()


def test_the_keys_of_the_newest_tell_messages_and_events_apart_and_leave_out_what_has_no_id(
    spool: Spool,
) -> None:
    event = msgspec.structs.replace(record(2), type="privmsg")
    fill(spool, [record(1), record(2), event, Record("xqc", "", 1, 1, "", "", b"no id")])
    assert spool.newest_keys(3) == [key_of("xqc", "id-2"), key_of("xqc", "id-2", is_event=True)]


def test_the_keys_of_many_take_no_memory_for_what_they_are_of(spool: Spool) -> None:
    fill(spool, [record(number, size=10_000) for number in range(2_000)])
    tracemalloc.start()
    found = spool.newest_keys(2_000)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 2_000
    assert most_bytes < 2 * 1024 * 1024


def test_numbers_grow_also_after_everything_was_removed(spool: Spool) -> None:
    numbers = fill(spool, [record(1)])
    spool.read_on(10)
    spool.remove([(numbers[0], "xqc")])
    fill(spool, [record(2)])
    assert ids(spool.read_on(10)) == ["id-2"]


def test_what_is_on_its_way_already_is_stored_and_not_given(spool: Spool) -> None:
    sent = spool.append([record(1)], sent=True)
    fill(spool, [record(2)])
    assert ids(spool.read_on(10)) == ["id-2"]
    assert spool.messages == 2
    spool.remove([(sent[0], "xqc")])
    assert spool.messages == 1


def test_a_kill_in_the_middle_leaves_what_was_committed(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from shared.spool import Spool\n"
        "from tests.shared.handoff_loop import record\n"
        "spool, number = Spool(Path(sys.argv[1]), 1024**3), 0\n"
        "while True:\n"
        "    spool.append([record(number)]); print(number, flush=True); number += 1\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, cwd=Path.cwd()
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == b"50\n":
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    committed = 50 + len(process.stdout.read().split())
    process.stdout.close()
    spool = Spool(path, PLENTY)
    found = ids(spool.read_on(10_000)) if spool.newest_keys(1) else []
    assert found == [f"id-{number}" for number in range(len(found))]
    # One more may have been committed and not printed.
    assert len(found) - 1 - committed in (0, 1)
    spool.close()


def test_at_the_bound_the_oldest_are_dropped_and_counted_by_channel(path: Path) -> None:
    spool = Spool(path, 1024 * 1024)
    records = [record(number, channel=("a", "b")[number % 2], size=900) for number in range(3000)]
    fill(spool, records)
    files = sum(one.stat().st_size for one in path.parent.iterdir() if not one.name.endswith("-shm"))
    assert files <= 1024 * 1024
    kept = ids(spool.read_on(10_000))
    assert kept == [f"id-{number}" for number in range(3000 - len(kept), 3000)]
    assert len(kept) > 500
    assert spool.lost.total() == 3000 - len(kept)
    assert abs(spool.lost["a", "spool_full"] - spool.lost["b", "spool_full"]) <= 1
    spool.close()


def test_what_is_on_its_way_is_never_dropped(path: Path) -> None:
    spool = Spool(path, 1024 * 1024)
    fill(spool, [record(number, size=900) for number in range(500)])
    given = spool.read_on(500)
    with pytest.raises(SpoolError, match="SPOOL_MAX_BYTES"):
        fill(spool, [record(number, size=900) for number in range(500, 2000)])
        spool.read_on(10_000)
        fill(spool, [record(number, size=900) for number in range(2000, 4000)])
    assert set(spool.newest_keys(10_000)) >= {key_of_record(one) for _number, one in given}
    spool.close()


def test_the_disk_is_given_back_when_everything_was_delivered(path: Path) -> None:
    spool = Spool(path, PLENTY)
    fill(spool, [record(number, size=1000) for number in range(20_000)])
    before = path.stat().st_size
    assert before > 16 * 1024 * 1024
    while rows := spool.read_on(5000):
        spool.remove([(number, one.channel) for number, one in rows])
    assert spool.messages == 0
    assert path.stat().st_size < 100_000
    fill(spool, [record(1)])
    assert ids(spool.read_on(1)) == ["id-1"]
    spool.close()


@pytest.mark.parametrize("how", ["no database", "header", "middle"])
def test_a_damaged_file_is_moved_aside_and_the_service_goes_on(path: Path, how: str) -> None:
    before = Spool(path, PLENTY)
    fill(before, [record(number, size=1000) for number in range(300)])
    before.close()
    content = bytearray(path.read_bytes())
    if how == "no database":
        content = bytearray(b"this is no database at all" * 1000)
    elif how == "header":
        content[20:60] = b"\xff" * 40
    else:
        content[20_000:200_000] = b"\xff" * 180_000
    path.write_bytes(content)
    spool = Spool(path, PLENTY)
    fill(spool, [record(1000)])
    assert ids(spool.read_on(1000))[-1] == "id-1000"
    aside = [one for one in path.parent.iterdir() if ".damaged-" in one.name and "-wal" not in one.name]
    assert [one.read_bytes() for one in aside] == [bytes(content)]
    spool.close()


def test_damage_under_way_counts_what_is_lost_and_goes_on(path: Path) -> None:
    spool = Spool(path, PLENTY)
    fill(spool, [record(number, channel="abc", size=1000) for number in range(2000)])
    on_their_way = spool.read_on(100)
    spool.close()
    with path.open("r+b") as file:
        file.seek(16_384)
        file.write(b"\xff" * 1_500_000)
    while spool.unsent:
        spool.read_on(500)
    assert spool.lost["abc", "spool_damaged"] == 1900
    fill(spool, [record(5000, channel="abc")])
    # Of the old file: nothing of the new one may go with it.
    spool.remove([(number, one.channel) for number, one in on_their_way])
    assert spool.messages == 1
    assert ids(spool.read_on(10)) == ["id-5000"]
    spool.close()


def test_a_record_that_cannot_be_read_is_counted_and_the_others_come(path: Path, spool: Spool) -> None:
    fill(spool, [record(number) for number in range(3)])
    spool.close()
    with sqlite3.connect(path) as other:
        other.execute("UPDATE message SET record = x'00ff' WHERE number = 2")
    other.close()
    assert ids(spool.read_on(10)) == ["id-0", "id-2"]
    assert spool.lost["", "spool_damaged"] == 1


def test_a_rest_that_cannot_be_read_is_counted_and_goes(path: Path, spool: Spool) -> None:
    leave_rest(path, PLENTY, "reader-xqc", [record(number) for number in range(3)])
    with sqlite3.connect(path) as other:
        other.execute("UPDATE rest SET record = x'00ff' WHERE number = 2")
    other.close()
    assert [one.id for _number, _reader, one in spool.rests(10)] == ["id-0", "id-2"]
    assert [one.id for _number, _reader, one in spool.rests(10)] == ["id-0", "id-2"]
    assert spool.lost["", "spool_damaged"] == 1


def test_a_full_disk_is_one_error_and_nothing_is_half_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(path, PLENTY)
    fill(spool, [record(number, size=1000) for number in range(100)])
    connect = spool_file.connect

    def connect_to_small_disk(*arguments: object) -> sqlite3.Connection:
        database = connect(*arguments)  # type: ignore[arg-type]
        # SQLite's own bound gives the same error as a disk that is full.
        database.execute("PRAGMA max_page_count=60")
        return database

    monkeypatch.setattr(spool_module, "connect", connect_to_small_disk)
    spool.close()
    with pytest.raises(SpoolError, match=r"full.*free some disk"):
        fill(spool, [record(number, size=1000) for number in range(100, 1000)])
    monkeypatch.setattr(spool_module, "connect", connect)
    stored = spool.messages
    fill(spool, [record(1000)])
    assert ids(spool.read_on(10_000)) == [f"id-{number}" for number in (*range(stored), 1000)]
    spool.close()


def test_a_place_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "spool.sqlite3").mkdir()
    with pytest.raises(SpoolError, match=r"spool\.sqlite3 cannot be used") as caught:
        Spool(tmp_path / "spool.sqlite3", PLENTY).append([record(1)])
    assert "\n" not in str(caught.value)


def test_the_file_is_for_its_owner_only(path: Path, spool: Spool) -> None:
    fill(spool, [record(1)])
    for name in ("", "-wal", "-shm"):
        assert stat.S_IMODE(path.with_name(path.name + name).stat().st_mode) == 0o600


def _leave(path: Path, start: int) -> None:
    leave_rest(path, PLENTY, f"reader-{start}", [record(start + number) for number in range(100)])


def test_rests_of_many_readers_are_taken_over_in_their_order(path: Path, spool: Spool) -> None:
    fill(spool, [record(1)])
    assert spool.changed_by_others()
    assert not spool.changed_by_others()
    context = multiprocessing.get_context("spawn")
    leavers = [context.Process(target=_leave, args=(path, 1000 * number)) for number in range(1, 6)]
    for leaver in leavers:
        leaver.start()
    for leaver in leavers:
        leaver.join(30)
        assert leaver.exitcode == 0
    assert spool.changed_by_others()
    rests = spool.rests(1000)
    assert len(rests) == 500
    for number in range(1, 6):
        of_one = [one.id for _number, reader, one in rests if reader == f"reader-{1000 * number}"]
        assert of_one == [f"id-{1000 * number + place}" for place in range(100)]
    taken = [one for _number, _reader, one in rests[:10]]
    spool.take_over(rests[-1][0], taken)
    assert spool.rests(1000) == []
    assert ids(spool.read_on(1000)) == ["id-1", *(one.id for one in taken)]


def test_a_rest_waits_for_its_turn_longer_than_the_producer_does(path: Path, spool: Spool) -> None:
    """As when some hundred readers stop at once."""
    fill(spool, [record(1)])
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(spool_file.BUSY_SECONDS + 0.5, other.execute, ["ROLLBACK"])
    release.start()
    leave_rest(path, PLENTY, "reader-xqc", [record(2)])
    release.join()
    other.close()
    assert [one.id for _number, _reader, one in spool.rests(10)] == ["id-2"]


def test_a_rest_beyond_the_bound_is_refused_whole(path: Path) -> None:
    with pytest.raises(SpoolError, match="SPOOL_MAX_BYTES"):
        leave_rest(path, 1024 * 1024, "reader-xqc", [record(number, size=1000) for number in range(2000)])
    spool = Spool(path, 1024 * 1024)
    assert spool.rests(10) == []
    spool.close()
