import json
from typing import Any

import pytest

from shared.chat_message import ChatParser
from shared.event_parser import EventParser, gap_record
from shared.record import Record
from tests.shared.event_lines import NOW_MS, example_lines, parts, sample_lines

MINUTE_MS = 60_000


def read(line: str, parser: EventParser | None = None, received_ms: int = NOW_MS) -> Record:
    record = (parser or EventParser()).read(parts(line), received_ms)
    assert record is not None
    return record


def value_of(line: str, parser: EventParser | None = None, received_ms: int = NOW_MS) -> dict[str, Any]:
    record = read(line, parser, received_ms)
    value: dict[str, Any] = json.loads(record.value)
    assert (value["type"], value["channel"], value["id"]) == (record.type, record.channel, record.id)
    return value


def chat(tags: str = "", text: str = "hi") -> str:
    return f"@id=1;tmi-sent-ts=5;{tags} :a!a@a.tmi.twitch.tv PRIVMSG #c :{text}"


def notice(tags: str, text: str | None = None) -> str:
    return f"@id=1;tmi-sent-ts=5;{tags} :tmi.twitch.tv USERNOTICE #c" + ("" if text is None else f" :{text}")


# --- The value ---


def test_a_message_has_its_tags_as_typed_fields_and_nothing_else() -> None:
    line = (
        "@badge-info=subscriber/10;badges=subscriber/9,premium/1;bits=5;color=;display-name=A\\sB;emote-only=0;"
        "emotes=25:0-4;first-msg=1;id=x-1;mod=0;msg-id=highlighted-message;room-id=7;subscriber=1;"
        "tmi-sent-ts=1568505600501;turbo=0;user-id=48;user-type=;vip=1"
        " :a!a@a.tmi.twitch.tv PRIVMSG #c :Kappa 😀"
    )
    assert json.loads(read(line).value) == {
        "type": "privmsg",
        "channel": "c",
        "id": "x-1",
        "timestamp": 1568505600501,
        "room_id": "7",
        "user_id": "48",
        "user_login": "a",
        "display_name": "A B",
        "badges": [{"name": "subscriber", "version": "9"}, {"name": "premium", "version": "1"}],
        "badge_info": [{"name": "subscriber", "version": "10"}],
        "color": "",
        "mod": False,
        "subscriber": True,
        "turbo": False,
        "vip": True,
        "user_type": "",
        "emotes": [{"id": "25", "text": "Kappa", "start": 0, "end": 4}],
        "msg_id": "highlighted-message",
        "text": "Kappa 😀",
        "highlighted": True,
        "bits": 5,
        "first_msg": True,
        "emote_only": False,
    }


def test_a_bare_line_has_only_what_every_event_has() -> None:
    value = value_of(":a!a@a.tmi.twitch.tv PRIVMSG #c :hi")
    assert set(value) == {
        "type",
        "channel",
        "id",
        "id_derived",
        "timestamp",
        "timestamp_derived",
        "user_login",
        "text",
    }


@pytest.mark.parametrize(
    ("tag", "field"),
    [
        ("bits", "bits"),
        ("mod", "mod"),
        ("badges", "badges"),
        ("rm-received-ts", "rm_received_ts"),
        ("first-msg", "first_msg"),
    ],
)
@pytest.mark.parametrize(
    "text", ["007", "", "1_0", " 1", "+1", "٣", "-0", "1.0", str(2**63), "9" * 500, "yes"]
)
def test_a_text_that_could_not_be_written_again_stays_a_tag(tag: str, field: str, text: str) -> None:
    value = value_of(chat(f"{tag}={text.replace(' ', chr(92) + 's')}"))
    if (tag, text) == ("badges", ""):
        assert value["badges"] == []
    else:
        assert value["tags"] == {tag: text}
        assert field not in value


@pytest.mark.parametrize("number", [0, -1, 1440, 2**63 - 1, -(2**63)])
def test_a_whole_number_of_64_bits_is_one(number: int) -> None:
    value = value_of(f"@followers-only={number} :tmi.twitch.tv ROOMSTATE #c")
    assert value["followers_only"] == number
    assert "tags" not in value


def test_yes_and_no_are_read_as_their_tag_spells_them() -> None:
    value = value_of(notice("msg-id=resub;mod=1;msg-param-was-gifted=false;msg-param-should-share-streak=1"))
    assert (value["mod"], value["was_gifted"], value["should_share_streak"]) == (True, False, True)
    value = value_of(notice("msg-id=resub;mod=true;msg-param-was-gifted=0"))
    assert value["tags"] == {"mod": "true", "msg-param-was-gifted": "0"}


def test_an_emotes_tag_that_could_not_be_written_again_is_there_besides() -> None:
    value = value_of(chat("emotes=2:6-8/1:0-4", "Kappa LUL"))
    assert [emote["id"] for emote in value["emotes"]] == ["1", "2"]
    assert value["tags"] == {"emotes": "2:6-8/1:0-4"}


def test_an_unknown_tag_is_kept_unescaped() -> None:
    assert value_of(chat("new-tag=a\\sb"))["tags"] == {"new-tag": "a b"}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("hi", ("hi", False, False)),
        ("\x01ACTION waves\x01", ("waves", True, False)),
        ("\x01ACTION waves", ("waves", True, True)),
        ("\x01ACTION \x01", ("", True, False)),
        ("\x01VERSION\x01", ("\x01VERSION\x01", False, False)),
    ],
)
def test_the_wrapper_of_me_is_told_apart_from_the_text(sent: str, expected: tuple[str, bool, bool]) -> None:
    value = value_of(chat(text=sent))
    assert (value["text"], value.get("action", False), value.get("action_unclosed", False)) == expected


# --- The types ---


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (notice("msg-id=sub"), "usernotice.sub"),
        (notice("msg-id=raid"), "usernotice.raid"),
        (notice("msg-id=somethingnew"), "usernotice"),
        (notice("login=a"), "usernotice"),
        (notice("msg-id="), "usernotice"),
        (notice("msg-id=sharedchatnotice;source-msg-id=sub"), "usernotice.sub"),
        (notice("msg-id=sharedchatnotice;source-msg-id=somethingnew"), "usernotice"),
        (notice("msg-id=sharedchatnotice"), "usernotice"),
        (notice("msg-id=sub;source-msg-id=raid"), "usernotice.sub"),
        (":tmi.twitch.tv CLEARCHAT #c", "clearchat.clear"),
        (":tmi.twitch.tv CLEARCHAT #c :a", "clearchat.ban"),
        ("@ban-duration=1 :tmi.twitch.tv CLEARCHAT #c :a", "clearchat.timeout"),
        ("@ban-duration=x :tmi.twitch.tv CLEARCHAT #c :a", "clearchat.timeout"),
        (":tmi.twitch.tv CLEARMSG #c :x", "clearmsg"),
        (":tmi.twitch.tv NOTICE #c :x", "notice"),
        (":tmi.twitch.tv NOTICE * :x", "notice"),
        (":tmi.twitch.tv ROOMSTATE #c", "roomstate"),
        (":tmi.twitch.tv USERSTATE #c", "userstate"),
        (":tmi.twitch.tv GLOBALUSERSTATE", "globaluserstate"),
        (":a!a@a WHISPER me :x", "whisper"),
        (":tmi.twitch.tv HOSTTARGET #c :b 1", "other"),
        (":a PRIVMSG #c", "other"),
        (":a PRIVMSG #c x :y", "other"),
        ("PRIVMSG #c :no login", "other"),
        (":a PRIVMSG #c,#d :x", "other"),
        (":tmi.twitch.tv USERNOTICE", "other"),
        (":tmi.twitch.tv CLEARCHAT", "other"),
        (":tmi.twitch.tv CLEARMSG #c", "other"),
        (":tmi.twitch.tv NOTICE me :x", "other"),
        (":tmi.twitch.tv ROOMSTATE #c :x", "other"),
        (":tmi.twitch.tv GLOBALUSERSTATE x", "other"),
        ("WHISPER me :no login", "other"),
    ],
)
def test_a_line_has_the_type_of_what_it_says(line: str, kind: str) -> None:
    assert read(line).type == kind


def test_a_copied_notice_says_that_it_is_one() -> None:
    record = read(notice("msg-id=sharedchatnotice;source-msg-id=sub;room-id=1;source-room-id=2;source-id=o"))
    value = json.loads(record.value)
    assert (value["type"], value["msg_id"], value["source_msg_id"]) == (
        "usernotice.sub",
        "sharedchatnotice",
        "sub",
    )
    assert (record.source_id, record.source_room_id) == ("o", "2")


@pytest.mark.parametrize(
    "line",
    [
        ":tmi.twitch.tv 001 me :Welcome, GLHF!",
        ":tmi.twitch.tv CAP * ACK :twitch.tv/tags",
        "PING :tmi.twitch.tv",
        ":tmi.twitch.tv PONG tmi.twitch.tv :x",
        ":a!a@a JOIN #c",
        ":a!a@a PART #c",
        ":jtv MODE #c +o a",
        ":tmi.twitch.tv RECONNECT",
        ":MyBot!mybot@x PRIVMSG #c :mine",
        ":mybot PRIVMSG #c",
    ],
)
def test_what_is_the_connections_business_or_own_is_no_event(line: str) -> None:
    assert EventParser(own_login="mybot").read(parts(line), NOW_MS) is None


def test_a_notice_without_a_text_has_none_and_an_empty_one_has_it() -> None:
    assert "text" not in value_of(notice("msg-id=sub"))
    assert value_of(notice("msg-id=sub", ""))["text"] == ""


def test_tags_in_two_words_and_in_camel_case_are_fields() -> None:
    value = value_of(notice("msg-id=raid;msg-param-viewerCount=15;msg-param-displayName=A;display-name=B"))
    assert (value["viewer_count"], value["raider_display_name"], value["display_name"]) == (15, "A", "B")


def test_the_channel_of_an_other_line_is_its_first_channel() -> None:
    assert value_of("FOO x #A #b")["channel"] == "a"
    assert value_of("FOO x")["channel"] == ""


def test_no_example_has_a_tag_without_a_field_but_that_of_an_unknown_notice() -> None:
    records = [EventParser().read(line, NOW_MS) for line in example_lines()]
    values = [json.loads(record.value) for record in records if record]
    assert {value["type"] for value in values if "tags" in value} == {"usernotice"}


# --- The record ---


def test_a_message_has_the_record_of_the_chat_topic_but_for_the_value() -> None:
    lines = [line for line in [*example_lines(), *sample_lines()] if line.command == "PRIVMSG"]
    assert lines
    for line in lines:
        record, of_chat = EventParser().read(line, NOW_MS), ChatParser().read(line, NOW_MS)
        assert record is not None
        assert of_chat is not None
        of_chat.value, of_chat.type = record.value, "privmsg"
        assert record == of_chat


@pytest.mark.parametrize(("ahead_ms", "is_kept"), [(50 * MINUTE_MS, True), (50 * MINUTE_MS + 1, False)])
def test_a_time_far_ahead_is_not_the_records(ahead_ms: int, is_kept: bool) -> None:
    record = read(f"@tmi-sent-ts={NOW_MS + ahead_ms} :tmi.twitch.tv CLEARCHAT #c")
    assert json.loads(record.value)["timestamp"] == NOW_MS + ahead_ms
    assert record.timestamp_ms == (NOW_MS + ahead_ms if is_kept else NOW_MS)


def test_a_line_without_a_time_has_that_of_the_service_or_of_receipt() -> None:
    line = ":tmi.twitch.tv ROOMSTATE #c"
    assert [value_of(line)[name] for name in ("timestamp", "timestamp_derived")] == [NOW_MS, True]
    assert value_of("@rm-received-ts=77 " + line)["timestamp"] == 77
    assert "timestamp_derived" not in value_of("@tmi-sent-ts=5 " + line)


def test_a_gap_tells_from_when_to_when_and_why() -> None:
    record = gap_record("c", 5, 9, "killed", NOW_MS)
    assert json.loads(record.value) == {
        "type": "gap",
        "channel": "c",
        "id": record.id,
        "id_derived": True,
        "timestamp": 9,
        "timestamp_derived": True,
        "from": 5,
        "to": 9,
        "reason": "killed",
    }
    assert (record.type, record.channel, record.timestamp_ms, record.received_ms) == ("gap", "c", 9, NOW_MS)
    assert gap_record("c", 5, 9, "another reason", NOW_MS + 1).id == record.id
    assert (
        len({gap_record(*parts, "", 1).id for parts in [("c", 5, 9), ("d", 5, 9), ("c", 6, 9), ("c", 5, 8)]})
        == 4
    )
