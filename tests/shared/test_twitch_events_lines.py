import tracemalloc

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.event_fields import TAG_FIELDS
from shared.event_line import to_line
from shared.event_parser import EventParser, gap_record
from shared.event_shapes import SHAPES
from shared.irc_line import IrcLine, parse_line
from shared.twitch_events import EVENTS, Event, PrivMsg
from tests.shared.event_lines import NOW_MS, example_lines, parts, sample_lines

FAST = settings(deadline=None, derandomize=True, max_examples=300)
DECODER = msgspec.json.Decoder(Event)


def again(line: IrcLine) -> IrcLine | None:
    """The line that is written of the event in the topic; None where there is no event."""
    record = EventParser().read(line, NOW_MS)
    return None if record is None else parse_line(to_line(DECODER.decode(record.value)))


def test_every_line_of_real_chat_is_written_again_as_it_was() -> None:
    lines = sample_lines()
    if not lines:
        pytest.skip("the sample is not there")
    assert [again(line) for line in lines] == lines


@pytest.mark.parametrize("line", example_lines(), ids=lambda line: str(line.tags.get("msg-id", line.command)))
def test_every_example_is_written_again_as_it_was(line: IrcLine) -> None:
    assert again(line) == line


def test_there_is_an_example_of_every_event() -> None:
    records = [EventParser().read(line, NOW_MS) for line in example_lines()]
    assert {record.type for record in records if record} | {"gap"} == set(EVENTS)


def test_what_comes_from_the_topic_is_what_went_in() -> None:
    for line in example_lines():
        parser = EventParser()
        event = parser.event(line, NOW_MS)
        record = EventParser().read(line, NOW_MS)
        assert record is not None
        assert DECODER.decode(record.value) == event


def test_a_gap_is_no_line() -> None:
    with pytest.raises(ValueError, match="gap"):
        to_line(DECODER.decode(gap_record("c", 1, 2, "why", NOW_MS).value))


@pytest.mark.parametrize(
    "line",
    [
        "@mod=yes;bits=007;turbo=true;subscriber= :a!a@a.tmi.twitch.tv PRIVMSG #c :hi",
        "@bits=9223372036854775807;sent-ts=9223372036854775808 :a!a@a.tmi.twitch.tv PRIVMSG #c :hi",
        "@badges=a,b/1;badge-info=a/1,,b/2;source-badges=/;id= :a!a@a PRIVMSG #c :hi",
        "@tmi-sent-ts=007;id=x :A!b@c PRIVMSG #XqcOW :hi",
        "@emotes=1:6-8/2:0-4;tmi-sent-ts=-5 :a PRIVMSG #c :Kappa LUL",
        "@emotes=1:0-99 :a PRIVMSG #c :Kappa",
        "@emotes=1:0-2 :tmi.twitch.tv USERNOTICE #c",
        "@a=\\:\\s\\\\\\r\\n;b;c=;=x;room-id=\\sé :a PRIVMSG #c ::) : on",
        ":a PRIVMSG #c :\x01ACTION waves\x01",
        ":a PRIVMSG #c :\x01ACTION waves",
        ":a PRIVMSG #c :\x01ACTION \x01",
        ":a PRIVMSG #c :\x01ACTION ",
        ":a PRIVMSG #c :",
        "PRIVMSG #c hi",
        ":a PRIVMSG #c hi there",
        ":a PRIVMSG #a,#b :hi",
        ":a PRIVMSG",
        ": :ODD x",
        ": @ODD x",
        ":tmi.twitch.tv NOTICE * :Login unsuccessful",
        ":tmi.twitch.tv NOTICE somebody :hi",
        ":other NOTICE * :x",
        "@emote-sets=,0,,;ban-duration=1 :tmi.twitch.tv USERSTATE #c",
        "@ban-duration= :tmi.twitch.tv CLEARCHAT #c :User",
        "@ban-duration=1 :tmi.twitch.tv CLEARCHAT #C",
        "@x=1 CLEARMSG #c :a b ",
        "@login=x :tmi.twitch.tv USERNOTICE #c :",
        "@login=x :tmi.twitch.tv USERNOTICE #c a b",
        "@historical=1;rm-received-ts=5;rm-new=x :tmi.twitch.tv ROOMSTATE #c",
        ":tmi.twitch.tv GLOBALUSERSTATE x",
        ":a WHISPER b :\x01ACTION x\x01",
        "HOSTTARGET #c :- 0",
    ],
    ids=ascii,
)
def test_an_odd_line_is_written_again_as_it_was(line: str) -> None:
    assert again(parts(line)) == parts(line)


HOSTILE_TAGS = {
    "a long id many times": f"emotes={'A' * 2000}:" + ",".join(["0-0"] * 3000),
    "a longer one": f"emotes={'A' * 20_000}:" + ",".join(["0-0"] * 10_000),
    "many ranges": "emotes=1:" + ",".join(["0-0"] * 16_000),
    "many ids": "emotes=" + "/".join(["1:0-0"] * 10_000),
    "control characters": "emotes=" + "\x01" * 20_000 + ":0-0,0-0,0-0",
    "many badges": "badges=" + ",".join(["/"] * 32_000),
    "no UTF-8": "unknown=" + "\ufffd" * 20_000,
}


@pytest.mark.parametrize("tag", HOSTILE_TAGS.values(), ids=HOSTILE_TAGS)
def test_no_line_makes_an_event_of_megabytes(tag: str) -> None:
    line = parts(f"@{tag};id=x;tmi-sent-ts=1 :a!a@a.tmi.twitch.tv PRIVMSG #c :{'K' * 100}")
    tracemalloc.start()
    record = EventParser().read(line, NOW_MS)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert record is not None
    assert len(record.value) < 1024 * 1024
    assert most_bytes < 16 * 1024 * 1024
    assert again(line) == line


def test_emotes_that_would_be_too_long_are_left_to_the_tag() -> None:
    tag = f"{'A' * 2000}:" + ",".join(["0-0"] * 3000)
    event = EventParser().event(parts(f"@emotes={tag} :a!a@a.tmi.twitch.tv PRIVMSG #c :K"), NOW_MS)
    assert isinstance(event, PrivMsg)
    assert event.emotes is None
    assert event.tags == {"emotes": tag}


# --- Whatever comes ---

COMMANDS = st.sampled_from([*SHAPES, "HOSTTARGET"])
KINDS = st.sampled_from([*(kind.rpartition(".")[2] for kind in EVENTS), "sharedchatnotice", "new", ""])
FIELD_TAGS = sorted({field.tag for fields in TAG_FIELDS.values() for field in fields})
TAG_NAMES = st.sampled_from([*FIELD_TAGS, "id", "tmi-sent-ts", "emotes", "unknown", "msg-param-unknown"])
TEXTS = st.text("😀é K\x01ACTION\x10\u2028\x85\x0b:@#,/;\\sn=ab01-", max_size=24)
TAG_TEXTS = st.one_of(
    TEXTS,
    KINDS,
    st.from_regex(r"-?[0-9]{1,20}", fullmatch=True),
    st.sampled_from(["0", "1", "true", "false", "", "25:0-4", "25:0-1/1:3-4", "1:3-4/25:0-1", "a/1,b/2"]),
)
PREFIXES = st.sampled_from(["", ":tmi.twitch.tv ", ":a!a@a.tmi.twitch.tv ", ":A!b@c ", ":@x ", ": "])
TARGETS = st.sampled_from(["#c", "#XqcOW", "*", "#", "a", "#a,#b", ":#c", ""])


@st.composite
def hostile_lines(draw: st.DrawFn) -> bytes:
    escapes = str.maketrans({";": "\\:", " ": "\\s", "\\": "\\\\", "\r": "\\r", "\n": "\\n"})
    tags = draw(st.dictionaries(TAG_NAMES, TAG_TEXTS, max_size=8))
    if draw(st.booleans()):
        tags |= {"msg-id": draw(KINDS), "source-msg-id": draw(KINDS)}
    written = ";".join(f"{name}={text.translate(escapes)}" for name, text in tags.items())
    rest = draw(st.one_of(TEXTS.map(":{}".format), TEXTS, st.just("")))
    line = f"{'@' + written + ' ' if tags else ''}{draw(PREFIXES)}{draw(COMMANDS)} {draw(TARGETS)} {rest}"
    return line.encode()


@settings(FAST, max_examples=250)
@given(hostile_lines())
def test_any_line_of_a_known_command_is_written_again_as_it_was(raw: bytes) -> None:
    line = parts(raw)
    assert again(line) == line


@FAST
@given(st.binary(max_size=80) | st.text("@:;= \\#PRIVMSGab\x01", max_size=60).map(str.encode))
@example(b"@=;a :\xff!x PRIVMSG #\xff :\xff")
@example(b"@ :a PRIVMSG #c :x")
@example("ßtraße #c".encode())
def test_any_bytes_are_written_again_as_they_were_read(raw: bytes) -> None:
    line = parse_line(raw)
    if line is not None:
        assert again(line) in (line, None)
