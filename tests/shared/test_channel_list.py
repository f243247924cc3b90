import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.channel_list import ChannelList, parse_channel_list


def test_one_login_a_line_in_order() -> None:
    assert parse_channel_list("xqc\nzackrawrr\nforsen\n") == ChannelList(("xqc", "zackrawrr", "forsen"), ())


@pytest.mark.parametrize(
    ("text", "logins"),
    [
        ("", ()),
        ("\n\n  \n\t\n", ()),
        ("xqc", ("xqc",)),
        ("XQC\nZackRawrr\n", ("xqc", "zackrawrr")),
        ("  xqc  \n\tforsen\t\n", ("xqc", "forsen")),
        ("xqc\r\nforsen\r\n", ("xqc", "forsen")),
        ("xqc\nforsen\nXqc\nxqc\n", ("xqc", "forsen")),
        ("a\nab\nabc\n", ("a", "ab", "abc")),
        ("_x_1\n123\n" + "m" * 25 + "\n", ("_x_1", "123", "m" * 25)),
        ("# a comment\n\n   # another\n#\nxqc\n", ("xqc",)),
        ("# xqc\n", ()),
        ("## forsen\n", ()),
    ],
    ids=[
        "empty",
        "blank lines",
        "no newline at the end",
        "any case",
        "blanks around",
        "CR LF of other editors",
        "repeats",
        "short old logins",
        "digits, underscores, 25 characters",
        "comments",
        "a commented login",
        "two hashes",
    ],
)
def test_a_list_without_faults_gives_no_warning(text: str, logins: tuple[str, ...]) -> None:
    assert parse_channel_list(text) == ChannelList(logins, ())


@pytest.mark.parametrize(
    "line",
    [
        "m" * 26,
        "two words",
        "xqc,forsen",
        "https://www.twitch.tv/xqc",
        "@xqc",
        "x-q-c",
        "x.qc",
        "xqc\x00",
        "жук",
        "xqć",
        "\u212aai",
        "\u0130pek",
        "\uff58qc",
        "١٢٣٤",
    ],
    ids=ascii,
)
def test_a_line_that_is_no_login_is_named_with_its_number_and_the_others_run_on(line: str) -> None:
    result = parse_channel_list(f"xqc\n\n{line}\nforsen\n", name="my-list.txt")
    assert result.logins == ("xqc", "forsen")
    assert len(result.warnings) == 1
    assert "my-list.txt" in result.warnings[0]
    assert re.search(r"\b3\b", result.warnings[0])


def test_every_faulty_line_has_its_own_warning_in_order() -> None:
    result = parse_channel_list("no login\nxqc\nnot one either\n#forsen\n")
    assert result.logins == ("xqc",)
    assert len(result.warnings) == 3
    for warning, number in zip(result.warnings, (1, 3, 4), strict=True):
        assert re.search(rf"\b{number}\b", warning)
        assert "channels.txt" in warning


@pytest.mark.parametrize("line", ["#xqc", "#XQC", "  #xqc  "])
def test_a_login_with_the_hash_of_irc_is_commented_out_with_a_warning(line: str) -> None:
    result = parse_channel_list(f"# my channels\nforsen\n{line}\n")
    assert result.logins == ("forsen",)
    assert len(result.warnings) == 1
    assert "xqc" in result.warnings[0].lower()
    assert re.search(r"\b3\b", result.warnings[0])


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"], ids=ascii)
def test_lines_are_counted_as_an_editor_counts_them(separator: str) -> None:
    result = parse_channel_list(f"# a comment{separator}forsen\nno login\nxqc\n")
    assert result.logins == ("xqc",)
    assert len(result.warnings) == 1
    assert re.search(r"\b2\b", result.warnings[0])


def test_a_warning_is_one_line_whatever_the_fault_holds() -> None:
    result = parse_channel_list("a\x1b[31m b\x0bc\x85d\u2028e\n" + "long " * 5000 + "\n")
    assert len(result.warnings) == 2
    for warning in result.warnings:
        assert len(warning.splitlines()) == 1
        assert "\x1b" not in warning


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.one_of(st.text(), st.text("aZ_9# \t\r\n\x0b\x85é", max_size=60)))
@example("\ufeffxqc\n")
@example("\x00")
@example("\ud800")
def test_any_text_gives_logins_without_repeats_and_never_raises(text: str) -> None:
    result = parse_channel_list(text)
    assert all(re.fullmatch(r"[a-z0-9_]{1,25}", login) for login in result.logins)
    assert len(set(result.logins)) == len(result.logins)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.lists(st.from_regex(r"[A-Za-z0-9_]{1,25}", fullmatch=True), max_size=20))
def test_every_login_that_went_in_comes_out_in_lower_case(logins: list[str]) -> None:
    result = parse_channel_list("\n".join(logins))
    assert result == ChannelList(tuple(dict.fromkeys(login.lower() for login in logins)), ())
