import concurrent.futures
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from shared.fetch_gate import FetchGate
from shared.irc_line import IrcLine, parse_line
from shared.timing import Deadline
from tests.fakes.fake_recent_messages import FakeRecentMessages
from tests.fakes.fake_twitch_lines import chat_line
from tests.processes.service import wait_until
from workers.backfill import (
    CLOCKS_MS,
    HOLD_SECONDS,
    KEEP_IDS,
    MAX_HELD,
    REMIND_SECONDS,
    SETTLE_SECONDS,
    Backfill,
)
from workers.recent_answers import Fetched
from workers.recent_messages import fetch

NOW_MS = 1_700_000_000_000
SINCE_MS = NOW_MS - 20_000


def line(text: str, line_id: str | None = None, channel: str = "ronni") -> IrcLine:
    """A message; its id is the text unless another is given, "" is none."""
    parsed = parse_line(chat_line(channel, text, id=text if line_id is None else line_id or None))
    assert parsed is not None
    return parsed


class World:
    """A backfill, what it did in order, and a service that answers when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.did: list[tuple[object, ...]] = []
        self.asked: list[tuple[str, int | None, int, float]] = []
        self.awake = threading.Event()
        self._answers: list[concurrent.futures.Future[Fetched]] = []
        self.backfill = Backfill(
            "ronni",
            lambda line, received_ms: self.did.append((line.params[-1], received_ms)),
            lambda from_ms, to_ms, reason: self.did.append(("gap", from_ms, to_ms, reason)),
            lambda count: self.did.append(("filled", count)),
            self.awake.set,
            self._fetch,
            lambda: self.now,
            lambda: NOW_MS,
        )

    def _fetch(self, channel: str, after_ms: int | None, before_ms: int, deadline: Deadline) -> Fetched:
        answer: concurrent.futures.Future[Fetched] = concurrent.futures.Future()
        self._answers.append(answer)
        self.asked.append((channel, after_ms, before_ms, deadline.left_seconds()))
        return answer.result()

    def begin(self, since_ms: int | None = SINCE_MS) -> None:
        """Join, and wait until the service was asked."""
        before = len(self.asked)
        self.backfill.begin(since_ms, NOW_MS)
        self.now += SETTLE_SECONDS
        self.backfill.go_on()
        wait_until(lambda: len(self.asked) > before, "the service was not asked")

    def tell(self, *lines: IrcLine, question: int = -1) -> None:
        """Let the answer arrive at the thread's end."""
        self._tell(question, Fetched(list(lines), SINCE_MS - CLOCKS_MS))

    def _tell(self, question: int, fetched: Fetched) -> None:
        self.awake.clear()
        self._answers[question].set_result(fetched)
        wait_until(self.awake.is_set, "nobody was woken")

    def answer(self, *lines: IrcLine, since_ms: int | None = SINCE_MS - CLOCKS_MS, trouble: str = "") -> None:
        self._tell(-1, Fetched(list(lines), since_ms, trouble))
        self.backfill.go_on()

    def close(self) -> None:
        """Answer what was never answered."""
        for answer in self._answers:
            if not answer.done():
                answer.set_result(Fetched())

    def live(self, *texts: str) -> None:
        for text in texts:
            self.backfill.note(line(text), 7)

    @property
    def texts(self) -> list[object]:
        return [one[0] for one in self.did]


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    number = logger.add(lambda text: lines.append(text.rstrip("\n")), format="{level} {message}")
    yield lines
    logger.remove(number)


def test_live_lines_go_on_at_once_while_nothing_is_missing(world: World) -> None:
    world.live("a", "b")
    assert world.did == [("a", 7), ("b", 7)]
    assert world.backfill.go_on() == REMIND_SECONDS
    assert not world.backfill.goes_on


def test_what_was_missed_comes_before_what_is_live(world: World, logged: list[str]) -> None:
    world.backfill.begin(SINCE_MS, NOW_MS)
    world.live("c")
    world.now += SETTLE_SECONDS
    world.backfill.go_on()
    world.live("d")
    assert world.did == []
    assert world.backfill.goes_on
    world.answer(line("a"), line("b"))
    world.live("e")
    assert world.did == [("a", NOW_MS), ("b", NOW_MS), ("c", 7), ("d", 7), ("filled", 2), ("e", 7)]
    assert not world.backfill.goes_on
    assert logged == ["INFO #ronni: away for 20.0 s, 2 messages filled in"]


def test_the_service_is_asked_a_moment_after_the_join_with_room_for_clocks(world: World) -> None:
    world.backfill.begin(SINCE_MS, NOW_MS)
    assert world.backfill.go_on() == SETTLE_SECONDS
    assert world.asked == []
    world.now += SETTLE_SECONDS
    assert world.backfill.go_on() == HOLD_SECONDS - SETTLE_SECONDS
    wait_until(lambda: bool(world.asked), "the service was not asked")
    ((channel, after_ms, before_ms, seconds),) = world.asked
    assert (channel, after_ms, before_ms) == ("ronni", SINCE_MS - CLOCKS_MS, NOW_MS + CLOCKS_MS)
    assert 3.0 < seconds < HOLD_SECONDS - SETTLE_SECONDS
    world.answer()


def test_silence_is_no_gap(world: World, logged: list[str]) -> None:
    world.begin()
    world.answer()
    assert world.did == [("filled", 0)]
    assert logged == ["INFO #ronni: away for 20.0 s, nothing was said"]


def test_what_could_not_be_filled_is_told_first(world: World, logged: list[str]) -> None:
    world.begin()
    world.live("c")
    world.answer(line("b"), since_ms=SINCE_MS + 5_000, trouble="it was too much")
    gap = ("gap", SINCE_MS, SINCE_MS + 5_000, "it was too much")
    assert world.did == [gap, ("b", NOW_MS), ("c", 7), ("filled", 1)]
    assert logged == [
        "WARNING #ronni: away for 20.0 s, 1 messages filled in, 5.0 s may be missing: it was too much"
    ]


def test_an_answer_that_is_whole_nowhere_leaves_the_whole_absence_as_a_gap(world: World) -> None:
    world.begin()
    world.answer(line("b"), since_ms=None, trouble="it was not in the channel")
    gap = ("gap", SINCE_MS, NOW_MS, "it was not in the channel")
    assert world.did == [gap, ("b", NOW_MS), ("filled", 1)]


def test_a_failure_leaves_a_gap_and_fills_nothing(world: World, logged: list[str]) -> None:
    world.begin()
    world.live("c")
    world.answer(since_ms=None, trouble="the host cannot be reached")
    assert world.did == [("gap", SINCE_MS, NOW_MS, "the host cannot be reached"), ("c", 7)]
    assert logged == [
        "WARNING #ronni: away for 20.0 s, nothing filled in, 20.0 s may be missing: "
        "the host cannot be reached"
    ]


def test_what_lacks_only_of_the_room_for_clocks_is_no_gap(world: World) -> None:
    world.begin()
    world.answer(line("b"), since_ms=SINCE_MS - 1, trouble="it was too much")
    assert world.texts == ["b", "filled"]


def test_an_answer_that_begins_after_the_join_makes_no_longer_gap_than_the_absence(world: World) -> None:
    world.begin()
    world.answer(line("b"), since_ms=NOW_MS + 300, trouble="it was too much")
    assert world.did[0] == ("gap", SINCE_MS, NOW_MS, "it was too much")


def test_doubles_are_left_out(world: World) -> None:
    world.live("before")
    world.begin()
    world.live("live", "later")
    world.answer(line("before"), line("missed"), line("missed"), line("live"))
    assert world.texts == ["before", "missed", "live", "later", "filled"]


def test_a_fetched_line_that_is_still_to_come_live_stands_behind_those_before_it(world: World) -> None:
    world.begin()
    world.live("b", "c")
    world.answer(line("a"), line("b"), line("c"), line("to come"))
    assert world.texts == ["a", "b", "c", "to come", "filled"]
    assert world.did[-1] == ("filled", 2)


def test_what_was_filled_in_is_known_at_the_next_absence(world: World) -> None:
    world.begin()
    world.live("live")
    world.answer(line("missed"))
    world.begin()
    world.answer(line("missed"), line("live"), line("more"))
    assert world.texts == ["missed", "live", "filled", "more", "filled"]


def test_so_many_ids_are_known(world: World) -> None:
    world.live(*map(str, range(KEEP_IDS + 1)))
    world.did.clear()
    world.begin()
    world.answer(line("0"), *(line(str(number)) for number in range(1, KEEP_IDS + 1)))
    assert world.texts == ["0", "filled"]


def test_lines_without_an_id_are_left_to_others(world: World) -> None:
    world.backfill.note(line("a", ""), 7)
    world.begin()
    world.backfill.note(line("b", ""), 7)
    world.answer(line("a", ""), line("b", ""))
    assert world.texts == ["a", "a", "b", "b", "filled"]


@pytest.mark.parametrize(
    ("raw", "passes"),
    [
        (":r!r@r PRIVMSG #ronni :x", True),
        (":tmi.twitch.tv USERNOTICE #ronni", True),
        (":tmi.twitch.tv CLEARCHAT #ronni :x", True),
        (":tmi.twitch.tv CLEARMSG #ronni :x", True),
        ("@msg-id=slow_off :tmi.twitch.tv NOTICE #ronni :x", True),
        ("@slow=5 :tmi.twitch.tv ROOMSTATE #ronni", True),
        (":r!r@r PRIVMSG #other :x", False),
        (":r!r@r PRIVMSG", False),
        (":r!r@r JOIN #ronni", False),
        (":tmi.twitch.tv USERSTATE #ronni", False),
        (":tmi.twitch.tv NOTICE * :x", False),
        ("PING :x", False),
        ("RECONNECT", False),
    ],
)
def test_what_passes_of_an_answer(world: World, raw: str, passes: bool) -> None:
    parsed = parse_line(raw.encode())
    assert parsed is not None
    world.begin()
    world.answer(parsed)
    assert world.did[-1] == ("filled", int(passes))


def test_the_tags_of_the_service_stay(world: World) -> None:
    taken: list[IrcLine] = []
    world.backfill._take = lambda line, received_ms: taken.append(line)
    parsed = parse_line(b"@historical=1;rm-received-ts=5;rm-deleted=1 :r!r@r PRIVMSG #ronni :x")
    assert parsed is not None
    world.begin()
    world.answer(parsed)
    assert taken == [parsed]


def test_live_lines_are_held_no_longer_than_that_and_a_late_answer_is_dropped(world: World) -> None:
    world.begin()
    world.live("c")
    world.now += HOLD_SECONDS - SETTLE_SECONDS - 0.01
    left = world.backfill.go_on()
    assert left is not None and left == pytest.approx(0.01)
    assert world.did == []
    world.now += left
    world.backfill.go_on()
    gap = ("gap", SINCE_MS, NOW_MS, "no answer in time")
    assert world.did == [gap, ("c", 7)]
    world.answer(line("b"))
    assert world.did == [gap, ("c", 7)]


def test_an_answer_to_an_earlier_absence_is_not_taken_for_the_next(world: World) -> None:
    world.begin()
    world.live("c")
    assert not world.backfill.end()
    world.begin()
    world.tell(line("of the first"), question=0)
    world.backfill.go_on()
    assert world.texts == ["gap", "c"]
    world.answer(line("of the second"))
    assert world.texts == ["gap", "c", "of the second", "filled"]


def test_an_absence_goes_on_when_nothing_came_of_a_join(world: World) -> None:
    world.begin()
    assert world.backfill.end()
    assert not world.backfill.end()
    assert world.did == []
    world.live("c")
    assert world.did == [("c", 7)]


def test_too_many_held_lines_end_the_waiting(world: World) -> None:
    world.begin()
    texts = [str(number) for number in range(MAX_HELD)]
    world.live(*texts[:-1])
    assert world.did == []
    world.live(texts[-1])
    assert world.texts == ["gap", *texts]
    assert not world.backfill.goes_on
    world.answer(line("late"))
    assert world.texts == ["gap", *texts]


@pytest.mark.parametrize("asked", [True, False])
def test_the_end_lets_go_on_what_is_held(world: World, asked: bool) -> None:
    if asked:
        world.begin()
    else:
        world.backfill.begin(SINCE_MS, NOW_MS)
    world.live("c")
    world.backfill.end()
    assert world.did == [("gap", SINCE_MS, NOW_MS, "the channel was left before the answer came"), ("c", 7)]
    world.backfill.end()
    assert len(world.did) == 2


def test_an_answer_that_is_there_at_the_end_counts(world: World) -> None:
    world.begin()
    world.live("c")
    world.tell(line("b"))
    world.backfill.end()
    assert world.texts == ["b", "c", "filled"]


def test_the_first_time_there_is_no_gap_whatever_comes(world: World, logged: list[str]) -> None:
    world.begin(None)
    assert world.asked[0][1] is None
    world.answer(line("a"), since_ms=5)
    assert world.did == [("a", NOW_MS), ("filled", 1)]
    world.begin(None)
    world.answer(since_ms=None, trouble="the host cannot be reached")
    world.begin(None)
    world.live("c")
    world.backfill.end()
    assert world.texts == ["a", "filled", "c"]
    assert logged == [
        "INFO #ronni: read for the first time, 1 messages filled in",
        "INFO #ronni: read for the first time, nothing filled in: the host cannot be reached",
        "INFO #ronni: read for the first time, nothing filled in: "
        "the channel was left before the answer came",
    ]


def test_a_clock_that_was_set_back_makes_no_gap(world: World) -> None:
    world.begin(NOW_MS + 3_600_000)
    assert world.asked[0][1:3] == (NOW_MS - CLOCKS_MS, NOW_MS + CLOCKS_MS)
    world.answer(since_ms=None, trouble="the host cannot be reached")
    assert world.did == []


def test_the_service_is_reminded_of_the_channel_so_that_it_stays_there(world: World) -> None:
    world.begin()
    world.answer()
    world.did.clear()
    assert world.backfill.go_on() == REMIND_SECONDS
    world.now += REMIND_SECONDS
    assert world.backfill.go_on() == REMIND_SECONDS
    wait_until(lambda: len(world.asked) == 2, "nobody was reminded")
    assert world.asked[1][1:3] == (NOW_MS, NOW_MS)
    world.live("not held")
    assert world.texts == ["not held"]


def _run_to_the_end(backfill: Backfill, awake: threading.Event) -> None:
    while backfill.goes_on:
        wait = backfill.go_on()
        if backfill.goes_on and wait:
            awake.wait(wait)
            awake.clear()


@pytest.mark.parametrize("ahead_ms", [0, 30_000, -30_000])
def test_with_the_real_service_edge_nothing_is_missing_and_nothing_double(
    tmp_path: Path, ahead_ms: int
) -> None:
    awake = threading.Event()
    taken: list[str] = []
    gaps: list[tuple[int, int, str]] = []
    gate = FetchGate(tmp_path / "gate")
    with FakeRecentMessages() as service:
        service.behave("ronni", ahead_ms=ahead_ms)

        def ask(channel: str, after_ms: int | None, before_ms: int, deadline: Deadline) -> Fetched:
            return fetch(service.url, channel, after_ms, before_ms, gate, deadline)

        backfill = Backfill(
            "ronni",
            lambda line, received_ms: taken.append(line.params[-1]),
            lambda from_ms, to_ms, reason: gaps.append((from_ms, to_ms, reason)),
            lambda count: None,
            awake.set,
            ask,
        )
        since_ms = time.time_ns() // 1_000_000
        for number in range(1000):
            said = chat_line("ronni", str(number))
            service.keep("ronni", said, since_ms - 1000 + number)
            parsed = parse_line(said)
            assert parsed is not None
            if number < 100:
                backfill.note(parsed, 7)
            if number == 899:
                backfill.begin(since_ms, time.time_ns() // 1_000_000)
            if number >= 900:
                backfill.note(parsed, 7)
        _run_to_the_end(backfill, awake)
    assert taken == [str(number) for number in range(1000)]
    assert gaps == []
