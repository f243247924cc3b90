import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from shared.chat_message import ChatParser, LineRejected
from shared.irc_line import LineSplitter, parse_line
from shared.record import Record

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "schema" / "chat-message.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
SAMPLE = ROOT.parent / "shared" / "data" / "xqcow-2019-09-15.irc.gz"
FIELDS = ["channel_id", "user_id", "username", "message", "timestamp", "emotes"]
NOW_MS = 1_700_000_000_000
MINUTE_MS = 60_000
FAST = settings(deadline=None, derandomize=True, max_examples=200)


def read(line: bytes, parser: ChatParser | None = None, received_ms: int = NOW_MS) -> Record:
    parts = parse_line(line)
    assert parts is not None
    record = (parser or ChatParser()).read(parts, received_ms)
    assert record is not None
    return record


def value_of(record: Record) -> dict[str, Any]:
    pairs = json.loads(record.value.decode(), object_pairs_hook=list)
    assert [name for name, _ in pairs] == FIELDS
    value = dict(pairs)
    VALIDATOR.validate(value)
    return value


def chat(text: str = "hi", tags: str = "", prefix: str = "a!a@a", channel: str = "#c") -> bytes:
    return f"@id=1{';' if tags else ''}{tags} :{prefix} PRIVMSG {channel} :{text}".encode()


def rejection(line: bytes) -> str:
    with pytest.raises(LineRejected) as caught:
        read(line)
    return caught.value.reason


# --- The record ---


def test_the_value_is_json_of_the_six_fields_in_their_order_to_the_byte() -> None:
    line = (
        "@badges=a/1;emotes=25:4-8;id=x-1;tmi-sent-ts=1568505600501;user-id=48;unknown=\\s"
        ' :Onche!onche@onche.tmi.twitch.tv PRIVMSG #XqcOW :"é😀 Kappa\\\x01'
    )
    record = read(line.encode())
    assert (
        record.value
        == (
            '{"channel_id":"xqcow","user_id":"48","username":"onche","message":"\\"é😀 Kappa\\\\\\u0001",'
            '"timestamp":1568505600501,"emotes":["Kappa"]}'
        ).encode()
    )
    assert (record.channel, record.id) == ("xqcow", "x-1")
    assert (record.timestamp_ms, record.received_ms) == (1568505600501, NOW_MS)
    assert (record.source_id, record.source_room_id) == ("", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ""),
        (" ", " "),
        ("     ", "     "),
        ("  both ends  ", "  both ends  "),
        (":", ":"),
        ("::) and : on", "::) and : on"),
        ("@Some Name  two blanks", "@Some Name  two blanks"),
        ("a\x01b\x10c\u2028d\x85e\x0bf\x1cg\th", "a\x01b\x10c\u2028d\x85e\x0bf\x1cg\th"),
        ("\u2028\x85\x0b\x1c", "\u2028\x85\x0b\x1c"),
        ("\ufeffbom", "\ufeffbom"),
        ("one\nline\rstill", "one\nline\rstill"),
        ("👩‍👩‍👧‍👦 e\u0301", "👩‍👩‍👧‍👦 e\u0301"),
        ("no wrapper\x01", "no wrapper\x01"),
        ("say \x01ACTION x\x01", "say \x01ACTION x\x01"),
        ("\x01VERSION\x01", "\x01VERSION\x01"),
        ("\x01ACTION waves\x01", "waves"),
        ("\x01ACTION waves", "waves"),
        ("\x01ACTION  two  \x01", " two  "),
        ("\x01ACTION : x\x01", ": x"),
        ("\x01ACTION \x01", ""),
        ("\x01ACTION ", ""),
        ("\x01ACTION a\x01b\x01\x01", "a\x01b\x01"),
    ],
    ids=ascii,
)
def test_the_text_is_exactly_as_sent_without_the_wrapper_of_me(text: str, message: str) -> None:
    assert value_of(read(chat(text)))["message"] == message


def test_a_bad_byte_does_not_cost_the_message() -> None:
    line = b"@id=1;emotes=25:5-9 :a!a@a PRIVMSG #c :caf\xe9 Kappa"
    value = value_of(read(line))
    assert (value["message"], value["emotes"]) == ("caf\ufffd Kappa", ["Kappa"])


def test_runs_of_blanks_between_the_parts_are_one_and_those_in_the_text_stay() -> None:
    record = read(b"@id=1;emotes=25:2-6   :A!a@a    PRIVMSG   #C    :  Kappa ")
    assert value_of(record)["message"] == "  Kappa "
    assert (record.channel, value_of(record)["emotes"]) == ("c", ["Kappa"])


def test_what_the_line_leaves_open_has_its_rule() -> None:
    record = read(b":a!a@a PRIVMSG #c :hi")
    assert value_of(record) == dict(zip(FIELDS, ["c", "", "a", "hi", NOW_MS, []], strict=True))
    assert (record.id, record.timestamp_ms) == ("", NOW_MS)


def test_the_last_of_a_repeated_tag_counts() -> None:
    record = read(chat("Kappa", "user-id=1;emotes=;id=2;user-id=3;emotes=25:0-4;tmi-sent-ts=5;tmi-sent-ts=6"))
    value = value_of(record)
    assert (record.id, value["user_id"], value["timestamp"], value["emotes"]) == ("2", "3", 6, ["Kappa"])


@pytest.mark.parametrize("prefix", ["Onche!onche@onche.tmi.twitch.tv", "ONCHE@host", "oNche!x"])
def test_the_username_is_the_prefixs_login_in_lower_case(prefix: str) -> None:
    assert value_of(read(chat(prefix=prefix)))["username"] == "onche"


@pytest.mark.parametrize(
    "line",
    [
        b"@id=1 :tmi.twitch.tv PRIVMSG #c :hi",
        b"@id=1 PRIVMSG #c :hi",
        b"@id=1 :!a@a PRIVMSG #c :hi",
        b"@id=1 :@host PRIVMSG #c :hi",
        b"@id=1 :a!a@a PRIVMSG",
        b"@id=1 :a!a@a PRIVMSG #c",
        b"@id=1 :a!a@a PRIVMSG # :hi",
        b"@id=1 :a!a@a PRIVMSG :#c",
    ],
)
def test_a_line_without_login_channel_or_text_is_rejected_with_a_reason(line: bytes) -> None:
    assert re.fullmatch(r"[a-z_ -]+", rejection(line))


def test_different_faults_have_different_reasons() -> None:
    lines = [b"PRIVMSG #c :hi", b":a!a@a PRIVMSG # :hi", b":a!a@a PRIVMSG #c"]
    assert len({rejection(line) for line in lines}) == 3


def test_own_messages_are_left_out_and_only_those() -> None:
    parser = ChatParser(own_login="mybot")
    own = parse_line(chat(prefix="MyBot!mybot@mybot"))
    assert own is not None
    assert parser.read(own, NOW_MS) is None
    assert value_of(read(chat(prefix="mybot2!mybot2@x"), parser))["username"] == "mybot2"


def test_a_mirrored_message_names_its_source_and_the_own_copy_does_not() -> None:
    source = "source-id=orig;source-room-id=77"
    mirrored = read(chat(tags=f"room-id=5;{source}"))
    original = read(chat(tags=f"room-id=77;{source}"))
    assert (mirrored.id, mirrored.source_id, mirrored.source_room_id) == ("1", "orig", "77")
    assert (original.source_id, original.source_room_id) == ("", "")


# --- The timestamp ---


@pytest.mark.parametrize(
    ("ahead_ms", "is_kept"),
    [
        (0, True),
        (49 * MINUTE_MS, True),
        (50 * MINUTE_MS, True),
        (50 * MINUTE_MS + 1, False),
        (51 * MINUTE_MS, False),
    ],
)
def test_the_record_takes_the_time_of_receipt_when_twitchs_is_over_50_minutes_ahead(
    ahead_ms: int, is_kept: bool
) -> None:
    record = read(chat(tags=f"tmi-sent-ts={NOW_MS + ahead_ms}"))
    assert value_of(record)["timestamp"] == NOW_MS + ahead_ms
    assert record.timestamp_ms == (NOW_MS + ahead_ms if is_kept else NOW_MS)


@pytest.mark.parametrize("sent", ["0", "1", "1568505600501", str(2**63 - 1)])
def test_any_unix_milliseconds_are_taken(sent: str) -> None:
    assert value_of(read(chat(tags=f"tmi-sent-ts={sent}")))["timestamp"] == int(sent)


@pytest.mark.parametrize(
    "sent",
    ["", "abc", "-", "-5", "12x", "0x10", "1_000", "1\\s", "²", "½", "nan", "inf", str(2**63), "9" * 5000],
    ids=lambda sent: ascii(sent[:20]),
)
def test_a_time_that_is_no_unix_milliseconds_counts_as_missing(sent: str) -> None:
    record = read(chat(tags=f"tmi-sent-ts={sent}"))
    assert value_of(record)["timestamp"] == record.timestamp_ms == NOW_MS


# --- Emotes ---


@pytest.mark.parametrize(
    ("text", "tag", "emotes"),
    [
        ("Kappa", "25:0-4", ["Kappa"]),
        ("Kappa hi Kappa", "25:0-4,9-13", ["Kappa", "Kappa"]),
        ("Kappa LUL Kappa", "9:6-8/25:0-4,10-14", ["Kappa", "LUL", "Kappa"]),
        ("b a", "x:2-2/y:0-0", ["b", "a"]),
        ("😀😀 Kappa", "25:3-7", ["Kappa"]),
        ("👩‍👧 LUL 😀", "1:4-6/2:8-8", ["LUL", "😀"]),
        ("\x01ACTION 😀 Kappa\x01", "25:2-6", ["Kappa"]),
        ("\x01ACTION Kappa", "25:0-4", ["Kappa"]),
        ("@Some Name  Kappa", "25:12-16", ["Kappa"]),
        (" Kappa", "emotesv2_0a1b:1-5", ["Kappa"]),
        ("Kappa", "", []),
        ("x", "555555560:0-0", ["x"]),
    ],
    ids=ascii,
)
def test_emotes_are_texts_in_order_of_appearance_by_code_points(
    text: str, tag: str, emotes: list[str]
) -> None:
    parser = ChatParser()
    assert value_of(read(chat(text, f"emotes={tag}"), parser))["emotes"] == emotes
    assert parser.emotes_rejected == 0


@pytest.mark.parametrize(
    ("text", "odd"),
    [
        ("Kappa hi", "4-0"),
        ("Kappa hi", "6-8"),
        ("Kappa hi", "8-9"),
        ("Kappa hi", "6-" + "9" * 5000),
        ("Kappa hi", "9" * 5000 + "-" + "9" * 5001),
        ("Kappa hi", "-1-4"),
        ("Kappa hi", "6"),
        ("Kappa hi", "6-"),
        ("Kappa hi", "-7"),
        ("Kappa hi", "6-7-8"),
        ("Kappa hi", "a-b"),
        ("Kappa hi", "6-\u0667"),
        ("Kappa hi", "6-²"),
        ("Kappa hi", "0_0-4"),
        ("Kappa hi", "+0-4"),
        ("Kappa hi", "0\\s-4"),
        ("Kappa 😀", "6-7"),
        ("\x01ACTION Kappa hi\x01", "6-8"),
        ("\x01ACTION Kappa hi\x01", "14-15"),
    ],
    ids=lambda part: ascii(part[:24]),
)
@pytest.mark.parametrize("pattern", ["25:0-4/1:{}", "1:{}/25:0-4", "25:{},0-4"])
def test_an_odd_range_is_left_out_and_counted_and_the_rest_is_kept(text: str, odd: str, pattern: str) -> None:
    parser = ChatParser()
    value = value_of(read(chat(text, f"emotes={pattern.format(odd)}"), parser))
    assert value["message"].startswith("Kappa ")
    assert value["emotes"] == ["Kappa"]
    assert parser.emotes_rejected == 1


@pytest.mark.parametrize("odd", ["x", "25", "/", "//", ":", "1:", ":,", ":6-7", "a:b:c"])
def test_an_odd_part_of_the_emotes_tag_never_costs_the_message_or_the_other_emotes(odd: str) -> None:
    value = value_of(read(chat("Kappa hi", f"emotes=25:0-4/{odd}")))
    assert value["message"] == "Kappa hi"
    assert value["emotes"] in (["Kappa"], ["Kappa", "hi"])


# --- Whatever comes ---

FREE_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=40)
ODD_TEXT = st.text("😀é K\x01\x10\u2028\x85\x0b\x1c:@", max_size=20)
LOGINS = st.from_regex(r"[A-Za-z0-9_]{1,25}", fullmatch=True)
TAG_KEYS = st.from_regex(r"[a-z][a-z-]{0,8}-x", fullmatch=True)
TAG_VALUES = st.one_of(FREE_TEXT, st.text("\\;: \r\n=sn/", max_size=10))


def escaped(value: str) -> str:
    escapes = {";": "\\:", " ": "\\s", "\\": "\\\\", "\r": "\\r", "\n": "\\n"}
    return "".join(escapes.get(letter, letter) for letter in value)


@st.composite
def lines_and_values(draw: st.DrawFn) -> tuple[bytes, str, dict[str, Any]]:
    """A well-formed line, its message id, and the value that has to come out."""
    text = draw(FREE_TEXT | ODD_TEXT)
    is_me = draw(st.booleans()) or text.startswith("\x01ACTION")
    places = st.integers(0, max(0, len(text) - 1))
    pairs = st.tuples(places, places).map(lambda pair: (min(pair), max(pair)))
    ranges = draw(st.lists(pairs, max_size=5, unique_by=lambda pair: pair[0])) if text else []
    channel, login, number = draw(LOGINS), draw(LOGINS), draw(st.integers(0, 2**63 - 1))
    user_id, message_id = draw(TAG_VALUES), draw(TAG_VALUES)
    tags = draw(st.dictionaries(TAG_KEYS, TAG_VALUES, max_size=4)) | {
        "user-id": user_id,
        "id": message_id,
        "tmi-sent-ts": str(number),
        "emotes": "/".join(f"e{index}:{start}-{end}" for index, (start, end) in enumerate(ranges)),
    }
    in_order = draw(st.permutations(sorted(tags.items())))
    written = ";".join(f"{key}={escaped(value)}" for key, value in in_order)
    gaps = [" " * draw(st.integers(1, 3)) for _ in range(4)]
    sent = f"\x01ACTION {text}\x01" if is_me else text
    line = f"@{written}{gaps[0]}:{login}!u@h{gaps[1]}PRIVMSG{gaps[2]}#{channel}{gaps[3]}:{sent}"
    emotes = [text[start : end + 1] for start, end in sorted(ranges)]
    values = [channel.lower(), user_id, login.lower(), text, number, emotes]
    return line.encode(), message_id, dict(zip(FIELDS, values, strict=True))


@FAST
@given(lines_and_values())
def test_a_well_formed_line_gives_the_fields_that_went_in(case: tuple[bytes, str, dict[str, Any]]) -> None:
    line, message_id, expected = case
    assert LineSplitter().feed(line + b"\r\n") == [line]
    parser = ChatParser()
    record = read(line, parser)
    assert value_of(record) == expected
    assert (record.channel, record.id) == (expected["channel_id"], message_id)
    assert parser.emotes_rejected == 0


@settings(FAST, max_examples=400)
@given(
    tags=st.binary(max_size=30) | st.text("emotsid=;:0123456789-,/\\", max_size=40).map(str.encode),
    emotes=st.text("0123456789-,/:ab", max_size=20),
    prefix=st.binary(max_size=10),
    rest=st.binary(max_size=30) | st.text("#cC :\x01ACTION é😀", max_size=30).map(str.encode),
)
@example(tags=b"", emotes="", prefix=b"a", rest=b"#c :two hashes")
@example(tags=b"", emotes="", prefix=b"a", rest=b"a,#b :two channels")
def test_any_bytes_give_a_valid_record_or_a_rejection(
    tags: bytes, emotes: str, prefix: bytes, rest: bytes
) -> None:
    parts = parse_line(
        b"@emotes=" + emotes.encode() + b";" + tags + b" :" + prefix + b"!u@h PRIVMSG #" + rest
    )
    if parts is None:
        return
    try:
        record = ChatParser().read(parts, NOW_MS)
    except LineRejected as rejected:
        assert rejected.reason
    else:
        assert record is not None
        assert value_of(record)["channel_id"] == record.channel
        assert 0 <= record.timestamp_ms <= NOW_MS + 50 * MINUTE_MS


# --- The schema ---


def test_the_schema_describes_every_field_and_is_itself_valid() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert list(SCHEMA["properties"]) == SCHEMA["required"] == FIELDS
    assert all(field["description"] for field in SCHEMA["properties"].values())
    for value in SCHEMA["examples"]:
        VALIDATOR.validate(value)


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"channel_id": "#c"},
        {"channel_id": "C"},
        {"channel_id": ""},
        {"user_id": 48},
        {"username": "A"},
        {"username": ""},
        {"message": None},
        {"timestamp": "1"},
        {"timestamp": 1.5},
        {"timestamp": -1},
        {"timestamp": 2**63},
        {"emotes": "Kappa"},
        {"emotes": [1]},
        {"emotes": [""]},
    ],
    ids=str,
)
def test_the_schema_refuses_what_is_no_such_value(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        VALIDATOR.validate(SCHEMA["examples"][0] | change)


@pytest.mark.parametrize("field", FIELDS)
def test_the_schema_asks_for_every_field(field: str) -> None:
    value = {name: value for name, value in SCHEMA["examples"][0].items() if name != field}
    with pytest.raises(ValidationError):
        VALIDATOR.validate(value)


# --- Real chat ---

PLAIN_PRIVMSG = re.compile(r"@([^ ]+) :(\w+)!\w+@[\w.]+ PRIVMSG #(\w+) :(.*)", re.DOTALL | re.ASCII)


def naive_value(line: str) -> dict[str, Any]:
    match = PLAIN_PRIVMSG.fullmatch(line)
    assert match is not None, line
    tags = dict(part.split("=", 1) for part in match[1].split(";"))
    text = match[4]
    if text.startswith("\x01ACTION "):
        text = text[len("\x01ACTION ") :].removesuffix("\x01")
    found = [span.split("-") for span in re.findall(r"\d+-\d+", re.sub(r"[^/:]+:", "", tags["emotes"]))]
    spans = sorted((int(start), int(end)) for start, end in found)
    return {
        "channel_id": match[3],
        "user_id": tags["user-id"],
        "username": match[2],
        "message": text,
        "timestamp": int(tags["tmi-sent-ts"]),
        "emotes": [text[start : end + 1] for start, end in spans if end < len(text)],
    }


@pytest.mark.skipif(not SAMPLE.exists(), reason="the sample of real chat is not beside the project")
def test_real_chat_is_read_line_by_line_as_a_naive_reader_reads_it() -> None:
    content = gzip.decompress(SAMPLE.read_bytes()).removesuffix(b"\n").replace(b"\n", b"\r\n") + b"\r\n"
    lines = [line for line in LineSplitter().feed(content) if b" PRIVMSG #" in line]
    assert len(lines) == 4933
    parser = ChatParser()
    values = [value_of(read(line, parser)) for line in lines]
    assert values == [naive_value(line.decode()) for line in lines]
    assert sum(bool(value["emotes"]) for value in values) == 839
    assert sum(any(ord(letter) > 0xFFFF for letter in value["message"]) for value in values) == 76
    assert sum(b"\x01ACTION" in line for line in lines) == 2


def test_a_hostile_line_cannot_make_a_record_of_megabytes() -> None:
    ranges = b",".join([b"0-499"] * 10_000)
    line = parse_line(b"@emotes=a:" + ranges + b" :a!a@a PRIVMSG #c :" + b"x" * 500)
    assert line is not None
    parser = ChatParser()
    record = parser.read(line, NOW_MS)
    assert record is not None
    assert len(record.value) < 100_000
    assert parser.emotes_rejected > 9_000
