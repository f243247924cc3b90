import re

from shared.event_parser import EventParser
from tests.shared.event_lines import parts

START_MS = 1_700_000_000_000
"""The begin of ten seconds."""
SLOW = "@msg-id=slow_on :tmi.twitch.tv NOTICE #c :slow"
BAN = "@room-id=1;target-user-id=2;tmi-sent-ts=5 :tmi.twitch.tv CLEARCHAT #c :a"


def id_of(line: str, parser: EventParser, received_ms: int = START_MS) -> str:
    record = parser.read(parts(line), received_ms)
    assert record is not None
    return record.id


def fetched(line: str, received_ms: int) -> str:
    return f"@historical=1;rm-received-ts={received_ms};rm-new=x;{line[1:]}"


def test_twitchs_id_is_kept_and_another_one_is_short_hex() -> None:
    assert id_of("@id=x-1 :a PRIVMSG #c :hi", EventParser()) == "x-1"
    assert re.fullmatch("[0-9a-f]{32}", id_of(BAN, EventParser()))


def test_a_line_with_a_time_has_one_id_whenever_and_by_whomever_it_is_read() -> None:
    parser = EventParser()
    ids = {id_of(BAN, parser), id_of(BAN, parser, START_MS + 99_999), id_of(BAN, EventParser())}
    ids.add(id_of(fetched(BAN, START_MS + 7), EventParser()))
    assert len(ids) == 1


def test_the_order_of_the_tags_makes_no_other_id() -> None:
    turned = "@tmi-sent-ts=5;target-user-id=2;room-id=1 :tmi.twitch.tv CLEARCHAT #c :a"
    assert id_of(turned, EventParser()) == id_of(BAN, EventParser())


def test_lines_that_differ_have_different_ids() -> None:
    parser = EventParser()
    lines = [
        BAN,
        BAN.replace("#c", "#d"),
        BAN.replace(":a", ":b"),
        BAN.replace("room-id=1", "room-id=2"),
        BAN.replace("CLEARCHAT", "CLEARMSG"),
        BAN.replace(":tmi.", ":other."),
        BAN.replace("sent-ts=5", "sent-ts=6"),
        SLOW,
    ]
    assert len({id_of(line, parser) for line in lines}) == len(lines)


def test_what_is_said_twice_without_a_time_has_two_ids_and_the_same_for_every_reader() -> None:
    readers = [EventParser(), EventParser()]
    first, second = (
        [id_of(SLOW, reader, START_MS + late), id_of(SLOW, reader, START_MS + 3_000 + late)]
        for reader, late in zip(readers, (0, 40), strict=True)
    )
    assert first == second
    assert len(set(first)) == 2
    assert id_of(SLOW, readers[0], START_MS + 10_000) not in first


def test_a_line_that_was_heard_and_fetched_as_well_has_one_id() -> None:
    parser = EventParser()
    heard = [id_of(SLOW, parser, START_MS + 100), id_of(SLOW, parser, START_MS + 5_000)]
    again = [id_of(fetched(SLOW, START_MS + ms), parser, START_MS + 60_000) for ms in (120, 5_030)]
    assert again == heard


def test_a_line_that_was_fetched_twice_has_one_id() -> None:
    parser = EventParser()
    line = fetched(SLOW, START_MS + 1)
    assert id_of(line, parser) == id_of(line, parser)
    assert id_of(fetched(SLOW, START_MS + 2), parser) != id_of(line, parser)


def test_what_was_seen_is_forgotten_after_some_windows() -> None:
    parser = EventParser()
    first = id_of(SLOW, parser)
    for window in range(1, 20):
        id_of(SLOW, parser, START_MS + window * 10_000)
    assert id_of(SLOW, parser) == first
