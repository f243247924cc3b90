"""What a reader has missed: since when, and what becomes of it."""

from pathlib import Path

from shared.irc_line import IrcLine, parse_line
from shared.paths import Paths
from shared.record import Record
from shared.reports import ChannelReport, ReaderReport
from shared.settings import load
from shared.status_file import Head, Status, StatusFile
from tests.fakes.fake_twitch_lines import chat_line
from workers.absence import NEVER_READ, SETTLED_MS, Absence
from workers.intake import Intake
from workers.other_readers import OtherReaders

NOW_MS = 1_700_000_000_000
# Nobody listens there; the answer is not waited for.
SERVICE = {"BACKFILL_URL": "http://127.0.0.1:1"}


class World:
    def __init__(self, root: Path, left: Status[ReaderReport] | None = None, **names: str) -> None:
        self.paths = Paths(root)
        self.paths.prepare()
        self.totals = {"xqc": ChannelReport(), "forsen": ChannelReport()}
        self.records: list[Record] = []
        self.now_ms = NOW_MS
        settings = load(self.paths, names)
        others = OtherReaders(self.paths.status, "reader-xqc")
        intake = Intake(settings, self.totals, self.records.append, others.read_room)
        self.absence = Absence(
            settings, self.paths, self.totals, intake, others, lambda: None, lambda: self.now_ms
        )
        for channel in self.totals:
            self.absence.add(channel, left)

    def missing_since(self, channel: str = "xqc", oldest_ms: int | None = None) -> int:
        self.absence.tell(channel, oldest_ms)
        return self.totals[channel].absent_since_ms

    @property
    def gap_seconds(self) -> float:
        return self.totals["xqc"].gap_seconds

    def say(self, text: str, channel: str = "xqc") -> None:
        line = parse_line(chat_line(channel, text, id=text))
        assert isinstance(line, IrcLine)
        self.absence.take(line, NOW_MS)

    @property
    def ids(self) -> list[str]:
        return [record.id for record in self.records]


def left(written_ms: int = 0, stopped: bool = False, **channel: object) -> Status[ReaderReport]:
    report = ReaderReport(channels={"xqc": ChannelReport(**channel)})  # type: ignore[arg-type]
    return Status(Head(1, 0.0, stopped, written_ms / 1000), report)


def test_without_a_predecessor_nothing_was_ever_read(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.missing_since() == NEVER_READ
    world.absence.end("xqc")
    assert world.missing_since() == 0
    assert world.gap_seconds == 0
    world.say("a")
    assert world.ids == ["a"]


def test_what_was_missed_is_missing_since_the_last_word_of_a_killed_predecessor(tmp_path: Path) -> None:
    world = World(tmp_path, left(NOW_MS - 4000, joined=True))
    assert world.missing_since() == NOW_MS - 4000
    world.absence.end("xqc")
    assert world.gap_seconds == 4.0
    assert world.missing_since() == 0


def test_what_a_predecessor_had_missed_already_is_missing_since_then(tmp_path: Path) -> None:
    world = World(tmp_path, left(NOW_MS - 1000, stopped=True, joined=False, absent_since_ms=NOW_MS - 9000))
    world.absence.end("xqc")
    assert world.gap_seconds == 9.0
    # Killed in the channel while the answer was on its way: joined, and something still missing.
    world = World(tmp_path, left(NOW_MS - 1000, joined=True, absent_since_ms=NOW_MS - 9000))
    world.absence.end("xqc")
    assert world.gap_seconds == 9.0


def test_a_predecessor_that_was_never_let_in_has_missed_nothing(tmp_path: Path) -> None:
    for before in (left(NOW_MS - 1000), left(NOW_MS - 1000, absent_since_ms=NEVER_READ)):
        world = World(tmp_path, before)
        world.absence.end("xqc")
        assert world.gap_seconds == 0


def test_one_of_an_older_version_that_was_stopped_has_read_up_to_its_last_word(tmp_path: Path) -> None:
    world = World(tmp_path, left(NOW_MS - 4000, stopped=True, received=7))
    assert world.missing_since() == NOW_MS - 4000


def test_a_killed_predecessor_had_read_up_to_what_it_had_heard_last(tmp_path: Path) -> None:
    # It had slept, or its line was dead, and it had told that it was in the channel all the same.
    world = World(tmp_path, left(NOW_MS - 1000, joined=True, heard_ms=NOW_MS - 14_000))
    assert world.missing_since() == NOW_MS - 14_000
    world.absence.end("xqc")
    assert world.gap_seconds == 14.0


def test_what_is_not_durable_is_missing_with_this_process_also_while_the_channel_is_lost(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    world.absence.end("xqc")
    world.absence.begin("xqc", NOW_MS - 2000)
    assert world.missing_since(oldest_ms=NOW_MS - 60_000) == NOW_MS - 60_000
    assert world.missing_since() == NOW_MS - 2000
    world.absence.end("xqc")
    assert world.missing_since(oldest_ms=NOW_MS - 60_000) == NOW_MS - 60_000
    assert world.missing_since() == 0
    # Nothing at all was read is the most that can be missing.
    assert World(tmp_path).missing_since(oldest_ms=NOW_MS - 60_000) == NEVER_READ


def test_each_absence_counts_once_and_they_add_up(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.absence.end("xqc")
    for _ in range(2):
        world.absence.begin("xqc", NOW_MS - 2000)
        assert world.missing_since() == NOW_MS - 2000
        world.absence.end("xqc")
        assert world.missing_since() == 0
    assert world.gap_seconds == 4.0
    assert world.totals["forsen"].gap_seconds == 0


def two_readers(tmp_path: Path, **other: object) -> World:
    """One that is out since four seconds, and what the other one tells of itself."""
    world = World(tmp_path, left(NOW_MS - 4000, joined=True), READERS_PER_CHANNEL="2")
    report = ChannelReport(**other)  # type: ignore[arg-type]
    StatusFile(world.paths.status, "reader-xqc-2").update(lambda: ReaderReport(channels={"xqc": report}))
    return world


def test_what_another_reader_of_the_channel_has_read_is_not_missing(tmp_path: Path) -> None:
    world = two_readers(tmp_path, joined=True, joined_since_ms=NOW_MS - 5000)
    world.absence.end("xqc")
    assert world.gap_seconds == 0
    assert world.missing_since() == 0


def test_what_was_said_before_the_other_one_was_lost_or_after_it_came_back_is_not_missing(
    tmp_path: Path,
) -> None:
    world = two_readers(tmp_path, absent_since_ms=NOW_MS - 3000)
    world.absence.end("xqc")
    assert world.gap_seconds == 3.0
    world = two_readers(tmp_path, joined=True, joined_since_ms=NOW_MS - 1500)
    world.absence.end("xqc")
    assert world.gap_seconds == 2.5


def test_another_one_that_lacks_something_itself_is_no_help(tmp_path: Path) -> None:
    world = two_readers(tmp_path, joined=True, joined_since_ms=NOW_MS - 9000, absent_since_ms=NOW_MS - 10_000)
    world.absence.end("xqc")
    assert world.gap_seconds == 4.0


def test_a_gap_that_the_other_reader_has_told_is_counted_and_not_told_again(tmp_path: Path) -> None:
    world = World(
        tmp_path,
        left(NOW_MS - 4000, joined=True),
        READERS_PER_CHANNEL="2",
        KAFKA_TOPIC_CHAT_EVENTS="events",
    )
    report = ChannelReport(joined=True, joined_since_ms=NOW_MS - 1000, gap_until_ms=NOW_MS - 1000)
    StatusFile(world.paths.status, "reader-xqc-2").update(lambda: ReaderReport(channels={"xqc": report}))
    world.absence.end("xqc")
    assert world.gap_seconds == 3.0
    assert world.records == []


def test_at_the_first_start_one_that_has_been_in_for_a_while_has_asked_for_both(tmp_path: Path) -> None:
    for since_ms, asks in ((NOW_MS - 1000, True), (NOW_MS - SETTLED_MS, False)):
        world = World(tmp_path, None, READERS_PER_CHANNEL="2", **SERVICE)
        report = ChannelReport(joined=True, joined_since_ms=since_ms)
        StatusFile(world.paths.status, "reader-xqc-2").update(
            lambda report=report: ReaderReport(channels={"xqc": report})  # type: ignore[misc]
        )
        world.absence.end("xqc")
        world.say("held")
        assert (world.ids == []) == asks


def test_until_it_is_durable_what_was_read_may_be_missing_once_more(tmp_path: Path) -> None:
    world = World(tmp_path, left(NOW_MS - 4000, joined=True), **SERVICE)
    world.absence.end("xqc")
    world.say("held")
    world.absence.begin("xqc", NOW_MS)
    world.absence.end("xqc")
    world.say("held too")
    world.absence.begin("xqc", NOW_MS + 1)
    assert world.missing_since() == NOW_MS + 1
    # While it is in: the oldest line that the producer has not taken for over a second.
    world = World(tmp_path)
    world.absence.end("xqc")
    assert world.missing_since(oldest_ms=NOW_MS - 900) == 0
    assert world.missing_since(oldest_ms=NOW_MS - 5000) == NOW_MS - 5000
    assert world.missing_since() == 0


def test_the_last_ids_are_told_while_it_is_out_and_known_to_the_successor(tmp_path: Path) -> None:
    world = World(tmp_path, left(NOW_MS, absent_since_ms=NOW_MS, last_ids=["a"]), **SERVICE)
    world.absence.begin("xqc", NOW_MS)
    world.missing_since()
    assert world.totals["xqc"].last_ids == ["a"]
    world.absence.end("xqc")
    world.missing_since()
    assert world.totals["xqc"].last_ids == []


def test_while_the_service_is_asked_the_channel_waits_and_its_neighbour_does_not(tmp_path: Path) -> None:
    world = World(tmp_path, left(NOW_MS - 4000, joined=True), **SERVICE)
    world.absence.end("xqc")
    world.say("held")
    world.say("at once", "forsen")
    assert world.ids == ["at once"]
    # Killed now, a successor would have to ask again.
    assert world.missing_since() == NOW_MS - 4000
    # Lost again before there was an answer: what was heard goes on, what was not is a gap.
    world.absence.begin("xqc", NOW_MS)
    assert world.ids == ["at once", "held"]
    assert world.gap_seconds == 4.0
    assert world.missing_since() == NOW_MS


def test_a_line_that_names_no_channel_waits_for_nobody(tmp_path: Path) -> None:
    world = World(tmp_path, left(NOW_MS - 4000, joined=True), **SERVICE, KAFKA_TOPIC_CHAT_EVENTS="events")
    world.absence.end("xqc")
    line = parse_line(b"@user-id=1 :tmi.twitch.tv GLOBALUSERSTATE")
    assert line is not None
    world.absence.take(line, NOW_MS)
    assert [record.type for record in world.records] == ["globaluserstate"]
