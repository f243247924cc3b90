"""What is durable when, and in which order records reach the topic, with a real spool and a scripted sink."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import SpoolError
from shared.handoff_server import PendingBatch, Session
from shared.record import Record
from shared.reports import BUCKET_SECONDS
from shared.seen_ids import key_of
from shared.spool import Spool, leave_rest
from tests.shared.handoff_loop import record
from workers.delivery import KEEP_TAIL_SECONDS, Delivery
from workers.kafka_sink import MAX_RECORDS, Outcome
from workers.kafka_tail import Tail
from workers.outage import SPOOL_AFTER_SECONDS

PLENTY = 1024**3


class ScriptedSink:
    """Kafka as the delivery sees it: what was sent is done when the test says so."""

    def __init__(self, reachable: bool = True, tail: set[str] | None = None) -> None:
        self.reachable = reachable
        self.connected = False
        self.full = False
        self.has_room = True
        self.tail = tail
        self.uncounted: dict[str, str] = {}
        self.counted: set[str] = set()
        self.sent: list[tuple[Record, object]] = []
        self.outcomes: list[Outcome] = []
        self.topic: list[Record] = []

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()

    def send(self, one: Record, token: object) -> None:
        self.sent.append((one, token))

    def collect(self) -> list[Outcome]:
        self.connected = self.reachable
        outcomes, self.outcomes = self.outcomes, []
        return outcomes

    def take_tail(self) -> Tail | None:
        if not self.connected or self.tail is None:
            return None
        tail, self.tail = self.tail, None
        return Tail(tail, self.uncounted, self.counted)

    def append(self, count: int = 1_000_000) -> None:
        """Kafka has the first ``count`` and acknowledges them."""
        done, self.sent = self.sent[:count], self.sent[count:]
        self.topic += [one for one, _token in done]
        self.outcomes += [Outcome(one, token, None) for one, token in done]


class Desk:
    """A delivery over a folder, with a clock of its own and a count of what is durable."""

    def __init__(
        self,
        folder: Path,
        sink: ScriptedSink,
        max_bytes: int = PLENTY,
        copies: int = 1,
        takes_events: bool = False,
        after_kill: bool = True,
    ) -> None:
        self.now = 1000.0
        self.sink = sink
        self.spool = Spool(folder / "spool.sqlite3", max_bytes)
        self.durable: list[PendingBatch] = []
        self.session = Session("reader-xqc")
        self.delivery = Delivery(
            sink,
            self.spool,
            self.durable.append,
            copies,
            takes_events,
            after_kill,
            clock=lambda: self.now,
            wall_clock_ms=lambda: int(self.now * 1000),
        )
        self.delivery.open()

    def take_in(self, *records: Record, session: Session | None = None) -> PendingBatch:
        batch = PendingBatch(session or self.session, 1, len(records))
        for one in records:
            self.delivery.take_in(one, batch)
        return batch

    def work(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.delivery.work()

    def outage(self) -> None:
        self.work()
        self.work(SPOOL_AFTER_SECONDS)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path, ScriptedSink())
    desk.work()
    yield desk
    desk.spool.close()


def ids(records: list[Record]) -> list[str]:
    return [one.id for one in records]


def test_a_record_is_durable_when_kafka_has_it_and_not_before(desk: Desk) -> None:
    batch = desk.take_in(record(1), record(2))
    desk.work()
    assert desk.durable == []
    desk.sink.append(1)
    desk.work()
    assert desk.durable == [batch]
    desk.sink.append()
    desk.work()
    assert desk.durable == [batch, batch]
    assert desk.spool.messages == 0


def test_after_some_seconds_what_is_on_its_way_and_what_is_new_go_to_the_spool(desk: Desk) -> None:
    desk.take_in(record(1))
    desk.work(SPOOL_AFTER_SECONDS / 2)
    desk.take_in(record(2))
    assert desk.durable == []
    desk.work(SPOOL_AFTER_SECONDS / 2)
    desk.take_in(record(3))
    desk.work(0.2)
    assert len(desk.durable) == 3
    assert desk.delivery.spooling
    assert desk.delivery.pending == 0
    assert ids([one for one, _token in desk.sink.sent]) == ["id-1", "id-2"]


def test_when_kafka_is_back_the_spool_is_sent_in_order_and_emptied(desk: Desk) -> None:
    desk.take_in(record(1))
    desk.outage()
    desk.take_in(record(2), record(3))
    desk.work(0.2)
    desk.sink.append()
    desk.work(0.2)
    desk.take_in(record(4))
    desk.sink.append()
    desk.work(0.2)
    desk.sink.append()
    desk.work(0.2)
    desk.work(0.2)
    assert ids(desk.sink.topic) == ["id-1", "id-2", "id-3", "id-4"]
    assert desk.spool.messages == 0
    assert not desk.delivery.spooling
    assert len(desk.durable) == 4


def test_a_kafka_that_was_never_there_is_waited_for_in_the_spool(tmp_path: Path) -> None:
    desk = Desk(tmp_path, ScriptedSink(reachable=False))
    desk.take_in(record(1))
    desk.work(1)
    assert desk.durable == []
    desk.work(SPOOL_AFTER_SECONDS)
    assert len(desk.durable) == 1
    desk.sink.reachable = True
    desk.work()
    desk.sink.append()
    assert ids(desk.sink.topic) == ["id-1"]
    desk.spool.close()


def test_a_copy_is_durable_only_when_the_first_one_is(desk: Desk) -> None:
    first = desk.take_in(record(1))
    second = desk.take_in(record(1))
    desk.work()
    assert desk.durable == []
    desk.sink.append()
    desk.work()
    assert desk.durable == [first, second]
    third = desk.take_in(record(1))
    assert desk.durable == [first, second, third]
    assert ids(desk.sink.topic) == ["id-1"]
    assert desk.delivery.counts["xqc"] == {"delivered": 1, "duplicate": 2}


def test_messages_without_an_id_are_all_kept(desk: Desk) -> None:
    nameless = Record("xqc", "", 1, 1, "", "", b"{}")
    desk.take_in(nameless, nameless)
    desk.outage()
    desk.sink.append()
    desk.work(0.2)
    assert len(desk.sink.topic) == 2
    desk.take_in(nameless)
    desk.sink.append()
    assert len(desk.sink.topic) == 3


def test_a_new_process_sends_what_is_in_the_spool_but_for_what_the_topic_has(tmp_path: Path) -> None:
    killed = Desk(tmp_path, ScriptedSink())
    killed.take_in(*(record(number) for number in range(5)))
    killed.outage()
    killed.spool.close()
    # Kafka had appended two of them, and nobody was told.
    tail = {key_of("xqc", "id-0"), key_of("xqc", "id-1")}
    desk = Desk(tmp_path, ScriptedSink(tail=tail))
    again = desk.take_in(record(3), record(1))
    assert desk.durable == [again, again]
    desk.work()
    desk.take_in(record(0), record(5))
    desk.work(0.2)
    desk.sink.append()
    desk.work(0.2)
    desk.sink.append()
    desk.work(0.2)
    assert ids(desk.sink.topic) == ["id-2", "id-3", "id-4", "id-5"]
    assert desk.spool.messages == 0
    desk.spool.close()


def test_what_was_taken_in_before_the_topic_was_read_back_is_not_sent_twice(tmp_path: Path) -> None:
    desk = Desk(tmp_path, ScriptedSink(reachable=False, tail={key_of("xqc", "id-1")}))
    batch = desk.take_in(record(1), record(2))
    desk.work()
    desk.sink.reachable = True
    desk.work()
    assert ids([one for one, _token in desk.sink.sent]) == ["id-2"]
    assert desk.durable == [batch]
    desk.spool.close()


def test_rests_of_readers_are_taken_over_once_and_behind_what_is_there(tmp_path: Path, desk: Desk) -> None:
    desk.take_in(record(1))
    desk.outage()
    place = tmp_path / "spool.sqlite3"
    # Two readers of the channel, and each lacks something.
    leave_rest(place, PLENTY, "reader-xqc", [record(1), record(2), record(4)])
    leave_rest(place, PLENTY, "reader-xqc-2", [record(2), record(3), record(4), record(5)])
    desk.delivery.look_after()
    late = desk.take_in(record(3))
    assert late in desk.durable
    desk.sink.append()
    desk.work(0.2)
    desk.sink.append()
    assert ids(desk.sink.topic) == ["id-1", "id-2", "id-3", "id-4", "id-5"]


def test_rests_that_come_while_records_are_on_their_way_break_nothing(tmp_path: Path, desk: Desk) -> None:
    desk.take_in(record(1))
    leave_rest(tmp_path / "spool.sqlite3", PLENTY, "reader-xqc", [record(2)])
    desk.delivery.look_after()
    desk.outage()
    assert len(desk.durable) == 1
    desk.sink.append()
    for _ in range(3):
        desk.work(0.3)
        desk.sink.append()
    desk.work(0.3)
    assert sorted(ids(desk.sink.topic)) == ["id-1", "id-2"]
    assert desk.spool.messages == desk.spool.unsent == 0


def test_a_spool_that_cannot_be_written_leaves_messages_with_the_readers_and_recovers(tmp_path: Path) -> None:
    place = tmp_path / "spool.sqlite3"
    place.mkdir()
    desk = Desk(tmp_path, ScriptedSink())
    desk.work()
    desk.take_in(record(1))
    desk.outage()
    desk.take_in(record(2))
    desk.work(0.2)
    assert desk.durable == []
    assert desk.delivery.pending == 2
    place.rmdir()
    desk.work(2)
    assert len(desk.durable) == 2
    desk.sink.append()
    desk.work(0.2)
    desk.sink.append()
    assert ids(desk.sink.topic) == ["id-1", "id-2"]
    desk.spool.close()


class FullDisk(Spool):
    """Takes nothing any more, not even what makes it smaller."""

    full = False

    def append(self, records: Sequence[Record], sent: bool = False) -> range:
        if self.full:
            raise SpoolError("disk full")
        return super().append(records, sent)

    def remove(self, messages: Iterable[tuple[int, str]]) -> None:
        if self.full:
            raise SpoolError("disk full")
        super().remove(messages)


def test_a_disk_that_is_full_when_kafka_comes_back_holds_up_nothing(desk: Desk) -> None:
    desk.spool.close()
    spool = FullDisk(desk.spool._path, PLENTY)
    desk.delivery._spool = desk.spool = spool
    desk.take_in(*(record(number) for number in range(7_000)))
    desk.outage()
    desk.take_in(*(record(number) for number in range(7_000, 14_000)))
    desk.work(0.2)
    assert len(desk.durable) == 14_000
    spool.full = True
    desk.sink.append()
    for number in range(14_000, 14_030):
        desk.take_in(record(number))
        desk.work(1.5)
        desk.sink.append()
    desk.work(1.5)
    assert ids(desk.sink.topic) == [f"id-{number}" for number in range(14_030)]
    assert len(desk.durable) == 14_030
    assert spool.messages == 14_000
    spool.full = False
    desk.work(1.5)
    assert spool.messages == 0


def test_too_much_at_once_pauses_the_readers_until_there_is_room(tmp_path: Path) -> None:
    desk = Desk(tmp_path, ScriptedSink(reachable=False))
    desk.take_in(*(record(number) for number in range(20_000)))
    assert desk.delivery.must_pause
    assert not desk.delivery.may_resume
    desk.work(SPOOL_AFTER_SECONDS)
    assert not desk.delivery.must_pause
    assert desk.delivery.may_resume
    assert len(desk.durable) == 20_000
    desk.spool.close()


def test_what_kafka_refuses_for_good_is_counted_as_lost_and_durable(desk: Desk) -> None:
    batch = desk.take_in(record(1))
    [(one, token)] = desk.sink.sent
    desk.sink.outcomes.append(Outcome(one, token, "too large"))
    desk.work()
    assert desk.durable == [batch]
    assert desk.delivery.lost["xqc", "refused_by_kafka"] == 1


def test_at_the_stop_everything_is_durable_even_without_kafka(tmp_path: Path) -> None:
    desk = Desk(tmp_path, ScriptedSink(reachable=False))
    desk.take_in(record(1))
    assert desk.delivery.finish(lambda: None, lambda: True) == 0
    assert len(desk.durable) == 1
    desk.spool.close()


def test_at_the_stop_kafka_is_waited_for_while_it_takes_messages(desk: Desk) -> None:
    desk.take_in(record(1), record(2))
    assert desk.delivery.finish(lambda: desk.sink.append(1), lambda: True) == 0
    assert ids(desk.sink.topic) == ["id-1", "id-2"]
    assert desk.spool.messages == 0


def test_what_two_readers_kept_while_no_producer_was_there_is_merged(tmp_path: Path) -> None:
    desk = Desk(tmp_path, ScriptedSink(), copies=2)
    desk.work()
    other = Session("reader-xqc-2")
    # Each was away for a moment: what it lacks the other has.
    desk.take_in(*(record(number) for number in (1, 2, 4, 5)))
    desk.work(0.5)
    desk.take_in(*(record(number) for number in (2, 3, 4, 5, 6)), session=other)
    desk.work(0.5)
    assert desk.sink.sent == []
    desk.work(1.5)
    desk.sink.append()
    desk.work()
    assert ids(desk.sink.topic) == [f"id-{number}" for number in range(1, 7)]
    assert len(desk.durable) == 9
    desk.spool.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Desk]:
    """With two readers per channel, and past its start."""
    desk = Desk(tmp_path, ScriptedSink(), copies=2)
    desk.work(5)
    desk.work()
    yield desk
    desk.spool.close()


OTHER = Session("reader-xqc-2")


def fresh(desk: Desk, number: int) -> Record:
    return Record("xqc", f"id-{number}", 1, int(desk.now * 1000), "", "", b"{}")


def sent(desk: Desk) -> list[str]:
    return ids([one for one, _token in desk.sink.sent])


def test_two_readers_that_kept_messages_for_a_producer_that_hung_are_merged_too(pair: Desk) -> None:
    pair.take_in(record(2), record(4))
    pair.work(0.05)
    pair.take_in(record(1), record(2), record(3), record(4), session=OTHER)
    pair.work(0.05)
    assert sent(pair) == []
    pair.work(0.4)
    assert sent(pair) == ["id-1", "id-2", "id-3", "id-4"]


def test_a_message_goes_on_as_soon_as_both_readers_have_brought_it(pair: Desk) -> None:
    pair.take_in(fresh(pair, 1))
    pair.take_in(fresh(pair, 1), session=OTHER)
    pair.work()
    assert sent(pair) == ["id-1"]
    pair.take_in(fresh(pair, 2), session=OTHER)
    pair.work()
    assert sent(pair) == ["id-1"]
    pair.take_in(fresh(pair, 2))
    pair.work()
    assert sent(pair) == ["id-1", "id-2"]


def test_what_the_faster_reader_lacks_has_its_place_before_what_followed(pair: Desk) -> None:
    for session in (pair.session, OTHER):
        pair.take_in(fresh(pair, 1), session=session)
    pair.work()
    pair.take_in(fresh(pair, 3))
    pair.work(0.02)
    pair.take_in(fresh(pair, 2), fresh(pair, 3), session=OTHER)
    pair.work()
    assert sent(pair) == ["id-1", "id-2", "id-3"]


def test_a_reader_that_is_silent_is_waited_for_only_a_moment_and_then_not_at_all(pair: Desk) -> None:
    for session in (pair.session, OTHER):
        pair.take_in(fresh(pair, 1), session=session)
    pair.work()
    pair.take_in(fresh(pair, 2))
    pair.work(0.05)
    assert sent(pair) == ["id-1"]
    pair.work(0.1)
    assert sent(pair) == ["id-1", "id-2"]
    pair.work(1.0)
    pair.take_in(fresh(pair, 3))
    pair.work()
    assert sent(pair) == ["id-1", "id-2", "id-3"]


STEPS = st.lists(
    st.sampled_from(
        ["read", "read", "read", "append", "some", "away", "back", "work", "late", "kill", "lost ack"]
    ),
    max_size=60,
)


@given(STEPS, st.sampled_from([1, 2]))
@settings(max_examples=200, deadline=None)
def test_whatever_happens_each_message_is_in_the_topic_once_and_in_order(
    steps: list[str], copies: int
) -> None:
    """Random outages, delays and kills; a reader sends again what was not durable, as the real one does."""
    with tempfile.TemporaryDirectory() as name:
        story = _Story(Path(name), copies)
        for step in steps:
            story.take(step)
        story.end()
        assert ids(story.topic) == [f"id-{number}" for number in range(story.next)]


class _Story:
    def __init__(self, folder: Path, copies: int) -> None:
        self.folder = folder
        self.copies = copies
        self.topic: list[Record] = []
        self.next = 0
        self.outbox: list[Record] = []
        self.desk = self._start()

    def _start(self) -> Desk:
        sink = ScriptedSink(tail={key_of(one.channel, one.id) for one in self.topic})
        sink.topic = self.topic
        desk = Desk(self.folder, sink, copies=self.copies)
        self.batches = [(one, desk.take_in(one)) for one in self.outbox]
        return desk

    def take(self, step: str) -> None:
        sink = self.desk.sink
        if step == "read":
            one = record(self.next)
            self.next += 1
            self.outbox.append(one)
            session = (self.desk.session, OTHER)[self.copies - 1]
            self.batches.append((one, self.desk.take_in(one)))
            # Twice by the same reader, or by two of them.
            self.batches.append((one, self.desk.take_in(one, session=session)))
        elif step == "append" and sink.connected:
            sink.append()
        elif step == "some" and sink.connected:
            sink.append(2)
        elif step in ("away", "back"):
            sink.reachable = step == "back"
        elif step == "lost ack" and sink.connected:
            # Kafka has them, nobody is told before the kill.
            self.topic += [one for one, _token in sink.sent]
            self._kill()
        elif step == "kill":
            self._kill()
        else:
            self.desk.work(5.0 if step == "late" else 0.3)
        self._forget()

    def _forget(self) -> None:
        durable = {id(batch) for batch in self.desk.durable}
        self.batches = [(one, batch) for one, batch in self.batches if id(batch) not in durable]
        self.outbox = list({one.id: one for one, _batch in self.batches}.values())

    def _kill(self) -> None:
        self.desk.spool.close()
        self.desk = self._start()

    def end(self) -> None:
        self.desk.sink.reachable = True
        for _ in range(10):
            self.desk.work(0.3)
            self.desk.sink.append()
            self._forget()
        assert self.outbox == []
        assert self.desk.spool.messages == 0
        self.desk.spool.close()


def test_what_a_killed_predecessor_delivered_and_did_not_count_is_counted_once(tmp_path: Path) -> None:
    keys = {number: key_of("xqc", f"id-{number}") for number in range(1, 5)}
    sink = ScriptedSink(reachable=False, tail=set(keys.values()))
    # The first one was counted before the kill.
    sink.uncounted = {keys[number]: "xqc" for number in (2, 3, 4)}
    desk = Desk(tmp_path, sink)
    # One of them comes again before the topic is read back, one after that, one never.
    before = desk.take_in(record(2))
    sink.reachable = True
    desk.work()
    after = desk.take_in(record(3))
    desk.work()
    assert desk.delivery.counts["xqc"] == {"delivered": 3}
    assert desk.durable == [before, after]
    desk.take_in(record(3), record(1))
    assert desk.delivery.counts["xqc"] == {"delivered": 3, "duplicate": 2}
    desk.spool.close()


def test_what_a_killed_predecessor_counted_and_told_no_reader_is_not_counted_again(tmp_path: Path) -> None:
    keys = {key_of("xqc", f"id-{number}") for number in range(1, 4)}
    sink = ScriptedSink(reachable=False, tail=keys)
    sink.counted = keys
    desk = Desk(tmp_path, sink)
    before = desk.take_in(record(1))
    sink.reachable = True
    desk.work()
    after = desk.take_in(record(2))
    desk.work()
    assert desk.delivery.counts["xqc"] == {}
    assert desk.durable == [before, after]
    # From here on it is another copy.
    desk.take_in(record(1), record(2))
    desk.work(KEEP_TAIL_SECONDS)
    desk.take_in(record(3))
    assert desk.delivery.counts["xqc"] == {"duplicate": 3}
    desk.spool.close()


def test_a_predecessor_that_stopped_in_order_has_told_its_readers_what_it_counted(tmp_path: Path) -> None:
    keys = {key_of("xqc", f"id-{number}") for number in range(1, 4)}
    sink = ScriptedSink(tail=keys)
    sink.counted = keys
    desk = Desk(tmp_path, sink, after_kill=False)
    desk.work()
    # So this is a copy: of the other reader, or fetched.
    desk.take_in(record(1))
    assert desk.delivery.counts["xqc"] == {"duplicate": 1}
    desk.spool.close()


@pytest.mark.parametrize("was_counted", [True, False])
def test_what_two_readers_send_again_after_a_kill_is_counted_once(tmp_path: Path, was_counted: bool) -> None:
    key = key_of("xqc", "id-1")
    sink = ScriptedSink(reachable=False, tail={key})
    if was_counted:
        sink.counted = {key}
    else:
        sink.uncounted = {key: "xqc"}
    desk = Desk(tmp_path, sink, copies=2)
    first = desk.take_in(record(1), session=Session("reader-xqc"))
    sink.reachable = True
    desk.work()
    # The first one still waits to be merged.
    second = desk.take_in(record(1), session=Session("reader-xqc-2"))
    desk.work(10.0)
    assert desk.delivery.counts["xqc"] == {"duplicate": 1} | ({} if was_counted else {"delivered": 1})
    assert desk.durable == [first, second]
    desk.spool.close()


def test_what_waits_to_be_merged_counts_with_what_is_on_its_way(tmp_path: Path) -> None:
    sink = ScriptedSink(tail=set())
    desk = Desk(tmp_path, sink, copies=2)
    desk.work()
    readers = [Session("reader-xqc"), Session("reader-xqc-2")]
    half = range(MAX_RECORDS // 2 + 1)
    for one in readers:
        desk.take_in(*(record(number) for number in half), session=one)
    desk.work(10.0)
    assert len(sink.sent) == len(half)
    assert not desk.delivery.must_pause
    desk.take_in(*(record(len(half) + number) for number in half), session=readers[0])
    assert desk.delivery.must_pause
    sink.append()
    desk.work()
    assert not desk.delivery.must_pause
    desk.spool.close()


def test_the_time_of_a_delivery_is_counted_from_the_socket_to_the_acknowledgement(desk: Desk) -> None:
    for number, took in enumerate((0.0004, 0.05, 7.0, 100_000.0)):
        one = record(number)
        one.received_ms = int(desk.now * 1000)
        desk.work()
        desk.take_in(one)
        desk.now += took
        desk.sink.append()
        desk.work()
    # A clock that was set back meanwhile.
    late = record(9)
    late.received_ms = int(desk.now * 1000) + 60_000
    desk.take_in(late)
    desk.sink.append()
    desk.work()
    found = {
        (*BUCKET_SECONDS, float("inf"))[index]: count
        for index, count in enumerate(desk.delivery.delivery_buckets)
        if count
    }
    assert found == {0.001: 2, 0.05: 1, 10.0: 1, float("inf"): 1}
    assert desk.delivery.delivery_ms == pytest.approx(50 + 7000 + 100_000_000, abs=3)
