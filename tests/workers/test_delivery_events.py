"""Events beside chat messages: same order and doubles rules, counters of their own."""

from pathlib import Path

import msgspec
import pytest

from shared.record import Record
from shared.reports import LOST_NO_TOPIC
from shared.seen_ids import key_of, key_of_record
from shared.spool import leave_rest
from tests.shared.handoff_loop import record
from tests.workers.test_delivery import Desk, ScriptedSink
from workers.outage import SPOOL_AFTER_SECONDS


def event(number: int) -> Record:
    return msgspec.structs.replace(record(number), type="privmsg")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path, ScriptedSink(), takes_events=True)
    desk.work()
    return desk


def told(records: list[Record]) -> list[tuple[str, str]]:
    return [(one.id, one.type) for one in records]


def test_an_event_is_no_double_of_the_message_with_the_same_id(desk: Desk) -> None:
    desk.take_in(record(1), event(1), record(1), event(1))
    desk.sink.append()
    desk.work()
    assert told(desk.sink.topic) == [("id-1", ""), ("id-1", "privmsg")]
    assert len(desk.durable) == 4
    assert desk.delivery.counts["xqc"] == {
        "delivered": 1,
        "events_delivered": 1,
        "duplicate": 1,
        "events_duplicate": 1,
    }


def test_only_messages_are_in_the_histogram_of_delivery_times(desk: Desk) -> None:
    desk.take_in(event(1), record(2), event(2))
    desk.sink.append()
    desk.work()
    assert sum(desk.delivery.delivery_buckets) == 1


def test_events_keep_their_place_among_the_messages_through_an_outage(desk: Desk) -> None:
    desk.take_in(record(1), event(1))
    desk.work(SPOOL_AFTER_SECONDS)
    desk.take_in(record(2), event(2), record(3))
    desk.work(0.2)
    assert len(desk.durable) == 5
    desk.sink.append()
    for _ in range(5):
        desk.work(0.3)
        desk.sink.append()
    desk.work(0.3)
    assert told(desk.sink.topic) == [
        ("id-1", ""),
        ("id-1", "privmsg"),
        ("id-2", ""),
        ("id-2", "privmsg"),
        ("id-3", ""),
    ]
    assert desk.spool.messages == 0


def test_what_is_in_one_topic_says_nothing_of_the_other(tmp_path: Path) -> None:
    sink = ScriptedSink(reachable=False, tail={key_of("xqc", "id-1"), key_of_record(event(2))})
    sink.uncounted = {key_of_record(event(2)): "xqc"}
    desk = Desk(tmp_path, sink, takes_events=True)
    desk.take_in(record(1), event(1), record(2), event(2))
    sink.reachable = True
    desk.work()
    sink.append()
    desk.work()
    assert told(sink.topic) == [("id-1", "privmsg"), ("id-2", "")]
    assert len(desk.durable) == 4
    assert desk.delivery.counts["xqc"] == {"delivered": 2, "events_delivered": 2}


def test_events_that_wait_when_their_topic_is_switched_off_are_counted_and_told_durable(
    tmp_path: Path,
) -> None:
    before = Desk(tmp_path, ScriptedSink(reachable=False), takes_events=True)
    before.outage()
    before.take_in(record(1), event(1), event(2))
    before.work(0.2)
    assert before.spool.messages == 3
    before.spool.close()
    leave_rest(tmp_path / "spool.sqlite3", 2**30, "reader-xqc", [event(3), record(4)])

    desk = Desk(tmp_path, ScriptedSink())
    desk.take_in(event(5))
    assert len(desk.durable) == 1
    for _ in range(5):
        desk.work(0.3)
        desk.sink.append()
    assert told(desk.sink.topic) == [("id-1", ""), ("id-4", "")]
    assert desk.spool.messages == 0
    assert desk.delivery.lost == {("xqc", LOST_NO_TOPIC): 4}
