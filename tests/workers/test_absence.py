"""What a reader has missed: since when, and what becomes of it."""

from pathlib import Path

from shared.irc_line import IrcLine, parse_line
from shared.paths import Paths
from shared.record import Record
from shared.reports import ChannelReport, ReaderReport
from shared.settings import load
from shared.status_file import Head, Status, StatusFile
from tests.fakes.fake_twitch_lines import chat_line
from workers.absence import Absence
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
            settings, self.paths, self.totals, left, intake, others, lambda: None, lambda: self.now_ms
        )

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


def test_without_a_predecessor_nothing_is_missing(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.absence.since_ms("xqc", joined=False) == 0
    world.absence.end("xqc")
    assert world.gap_seconds == 0
    world.say("a")
    assert world.ids == ["a"]


def test_what_was_missed_is_missing_since_the_last_word_of_a_killed_predecessor(tmp_path: Path) -> None:
    world = World(tmp_path, left(NOW_MS - 4000, joined=True))
    assert world.absence.since_ms("xqc", joined=False) == NOW_MS - 4000
    world.absence.end("xqc")
    assert world.gap_seconds == 4.0
    assert world.absence.since_ms("xqc", joined=True) == 0


def test_what_a_predecessor_had_missed_already_is_missing_since_then(tmp_path: Path) -> None:
    world = World(tmp_path, left(NOW_MS - 1000, stopped=True, joined=False, absent_since_ms=NOW_MS - 9000))
    world.absence.end("xqc")
    assert world.gap_seconds == 9.0
    # Killed in the channel while the answer was on its way: joined, and something still missing.
    world = World(tmp_path, left(NOW_MS - 1000, joined=True, absent_since_ms=NOW_MS - 9000))
    world.absence.end("xqc")
    assert world.gap_seconds == 9.0


def test_a_predecessor_that_was_never_let_in_has_missed_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, left(NOW_MS - 1000, joined=False))
    world.absence.end("xqc")
    assert world.gap_seconds == 0


def test_each_absence_counts_once_and_they_add_up(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.absence.end("xqc")
    for _ in range(2):
        world.absence.begin("xqc", NOW_MS - 2000)
        assert world.absence.since_ms("xqc", joined=False) == NOW_MS - 2000
        world.absence.end("xqc")
        assert world.absence.since_ms("xqc", joined=True) == 0
    assert world.gap_seconds == 4.0
    assert world.totals["forsen"].gap_seconds == 0


def test_what_another_reader_of_the_channel_has_read_is_not_missing(tmp_path: Path) -> None:
    world = World(tmp_path, left(NOW_MS - 4000, joined=True), READERS_PER_CHANNEL="2")
    other = StatusFile(world.paths.status, "reader-xqc-2")
    other.update(lambda: ReaderReport(channels={"xqc": ChannelReport(joined=True)}))
    world.absence.end("xqc")
    assert world.gap_seconds == 0
    assert world.absence.since_ms("xqc", joined=True) == 0
    # That one was lost a second after this one.
    gone = ReaderReport(channels={"xqc": ChannelReport(absent_since_ms=NOW_MS - 3000)})
    other.finish(gone)
    world.absence.begin("xqc", NOW_MS - 4000)
    world.absence.end("xqc")
    assert world.gap_seconds == 3.0


def test_while_the_service_is_asked_the_channel_waits_and_its_neighbour_does_not(tmp_path: Path) -> None:
    world = World(tmp_path, left(NOW_MS - 4000, joined=True), **SERVICE)
    world.absence.end("xqc")
    world.say("held")
    world.say("at once", "forsen")
    assert world.ids == ["at once"]
    # Killed now, a successor would have to ask again.
    assert world.absence.since_ms("xqc", joined=True) == NOW_MS - 4000
    # Lost again before there was an answer: what was heard goes on, what was not is a gap.
    world.absence.begin("xqc", NOW_MS)
    assert world.ids == ["at once", "held"]
    assert world.gap_seconds == 4.0
    assert world.absence.since_ms("xqc", joined=False) == NOW_MS


def test_a_line_that_names_no_channel_waits_for_nobody(tmp_path: Path) -> None:
    world = World(tmp_path, left(NOW_MS - 4000, joined=True), **SERVICE, KAFKA_TOPIC_CHAT_EVENTS="events")
    world.absence.end("xqc")
    line = parse_line(b"@user-id=1 :tmi.twitch.tv GLOBALUSERSTATE")
    assert line is not None
    world.absence.take(line, NOW_MS)
    assert [record.type for record in world.records] == ["globaluserstate"]
