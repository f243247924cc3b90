"""What of a line goes to Kafka."""

import json
from collections.abc import Callable
from pathlib import Path

from shared.irc_line import IrcLine, parse_line
from shared.paths import Paths
from shared.record import Record
from shared.reports import ChannelReport
from shared.settings import load
from tests.fakes.fake_twitch_lines import chat_line
from workers.intake import Intake

EVENTS = {"KAFKA_TOPIC_CHAT_EVENTS": "events"}
MIRRORED = {"room_id": "1", "source_room_id": "2", "source_id": "original"}


class Desk:
    def __init__(
        self, settings: dict[str, str], reads_room: Callable[[str], bool] = lambda _room: False
    ) -> None:
        self.totals = {"xqc": ChannelReport(), "forsen": ChannelReport()}
        self.records: list[Record] = []
        self.intake = Intake(load(Paths(Path("/nowhere")), settings), self.totals, self._put, reads_room)

    def _put(self, record: Record) -> None:
        self.records.append(record)

    def take(self, *lines: bytes | str) -> list[tuple[str, str]]:
        """Take lines; type and id of the records that they gave."""
        before = len(self.records)
        for line in lines:
            self.intake.take(parsed(line), 1_700_000_000_000)
        return [(one.type, one.id) for one in self.records[before:]]


def parsed(line: bytes | str) -> IrcLine:
    found = parse_line(line if isinstance(line, bytes) else line.encode())
    assert found is not None
    return found


def test_without_a_topic_for_events_only_chat_is_taken() -> None:
    desk = Desk({})
    assert desk.take(chat_line("xqc", "hello", id="a")) == [("", "a")]
    assert desk.take("@room-id=1 :tmi.twitch.tv CLEARCHAT #xqc") == []
    assert desk.totals["xqc"].received == 1
    assert desk.totals["xqc"].events_received == 0


def test_a_message_and_its_event_follow_each_other_and_every_other_line_is_an_event() -> None:
    desk = Desk(EVENTS)
    kinds = desk.take(
        chat_line("xqc", "hello", id="a"),
        "@room-id=1;tmi-sent-ts=1700000000000 :tmi.twitch.tv CLEARCHAT #xqc",
        "@room-id=1;target-msg-id=a;login=ronni :tmi.twitch.tv CLEARMSG #xqc :hello",
        ":tmi.twitch.tv HOSTTARGET #xqc :somebody 3",
    )
    assert [kind for kind, _id in kinds] == ["", "privmsg", "clearchat.clear", "clearmsg", "other"]
    assert kinds[0][1] == kinds[1][1] == "a"
    assert desk.totals["xqc"].received == 1
    assert desk.totals["xqc"].events_received == 4


def test_a_chat_line_that_cannot_be_read_is_counted_and_still_an_event() -> None:
    desk = Desk(EVENTS)
    assert [kind for kind, _id in desk.take(":tmi.twitch.tv PRIVMSG #xqc :nobody says this")] == ["other"]
    assert desk.totals["xqc"].rejected == {"no_login": 1}
    desk.take(":tmi.twitch.tv PRIVMSG #forsen :nobody says this")
    desk.intake.reject(b"?", "malformed")
    assert desk.totals["forsen"].rejected == {"no_login": 1}
    assert desk.totals["xqc"].rejected == {"no_login": 1, "malformed": 1}


def test_own_messages_are_left_out_of_both() -> None:
    desk = Desk(EVENTS)
    desk.intake.leave_out_own("ronni")
    assert desk.take(chat_line("xqc", "mine", login="ronni")) == []
    desk = Desk(EVENTS | {"TWITCH_USERNAME": "ronni"})
    assert desk.take(chat_line("xqc", "mine", login="ronni")) == []


def test_a_mirrored_message_is_taken_unless_only_own_ones_are_wanted() -> None:
    mirrored, original = (
        chat_line("xqc", "hi", id="a", **MIRRORED),
        chat_line("xqc", "hi", id="b", room_id="1"),
    )
    # Twitch marks the copy in the channel itself, too.
    own = chat_line("xqc", "hi", id="c", room_id="1", source_room_id="1", source_id="c")
    assert Desk({}).take(mirrored, original, own) == [("", "a"), ("", "b"), ("", "c")]
    desk = Desk(EVENTS | {"SHARED_CHAT": "own"})
    assert [one for _kind, one in desk.take(mirrored, original, own)] == ["b", "b", "c", "c"]
    tags = "msg-id=sharedchatnotice;source-msg-id=raid;room-id=1;source-room-id=2;id=d"
    notice = f"@{tags} :tmi.twitch.tv USERNOTICE #xqc"
    assert desk.take(notice) == []
    assert [kind for kind, _id in Desk(EVENTS).take(notice)] == ["usernotice.raid"]


def test_once_leaves_out_what_is_read_in_its_own_channel() -> None:
    rooms = {"2"}
    desk = Desk({"SHARED_CHAT": "once"}, lambda room: room in rooms)
    line = chat_line("xqc", "hi", id="a", **MIRRORED)
    assert desk.take(line) == []
    rooms.clear()
    assert desk.take(line) == [("", "a")]
    # Its own room is not asked for.
    rooms.add("1")
    assert desk.take(chat_line("xqc", "hi", id="b", room_id="1", source_room_id="1")) == [("", "b")]


def test_the_number_of_a_room_is_learnt() -> None:
    desk = Desk({})
    desk.take(
        "@room-id=17;slow=0 :tmi.twitch.tv ROOMSTATE #XQC", "@room-id=3 :tmi.twitch.tv ROOMSTATE #other"
    )
    desk.take("@slow=0 :tmi.twitch.tv ROOMSTATE #xqc", ":tmi.twitch.tv ROOMSTATE")
    assert desk.totals["xqc"].room_id == "17"
    assert desk.totals["forsen"].room_id == ""


def test_a_gap_is_counted_and_told_where_there_are_events() -> None:
    desk = Desk({})
    desk.intake.take_gap("forsen", 1000, 3500, "nobody knows", 4000)
    assert desk.records == []
    assert desk.totals["forsen"].gap_seconds == 2.5
    desk = Desk(EVENTS)
    desk.intake.take_gap("forsen", 1000, 3500, "nobody knows", 4000)
    (record,) = desk.records
    assert (record.type, record.channel) == ("gap", "forsen")
    told = json.loads(record.value)
    assert (told["from"], told["to"], told["reason"]) == (1000, 3500, "nobody knows")
