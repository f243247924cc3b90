"""Which channels share a reader."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.channel_list import group_name, is_reader, names_of_copies, reader_name
from shared.reader_groups import GroupFile, assign, numbers_by_login, read_groups, write_groups

_logins = st.lists(st.sampled_from([f"channel{number}" for number in range(30)]), unique=True)


@given(lists=st.lists(_logins, min_size=1, max_size=6), sizes=st.lists(st.integers(1, 7), min_size=6))
def test_every_channel_has_one_place_and_keeps_it(lists: list[list[str]], sizes: list[int]) -> None:
    groups: dict[int, tuple[str, ...]] = {}
    for logins, size in zip(lists, sizes, strict=False):
        before, groups = groups, assign(logins, groups, size)
        members = [login for group in groups.values() for login in group]
        assert sorted(members) == sorted(logins)
        assert all(0 < len(group) <= size for group in groups.values())
        for number, group in before.items():
            stays = [login for login in group if login in logins][:size]
            assert list(groups.get(number, ()))[: len(stays)] == stays


def test_new_ones_fill_the_first_free_places() -> None:
    groups = assign("abcdefg", {}, 3)
    assert groups == {1: ("a", "b", "c"), 2: ("d", "e", "f"), 3: ("g",)}
    groups = assign("acg", groups, 3)
    assert groups == {1: ("a", "c"), 3: ("g",)}
    assert assign("acgxyz", groups, 3) == {1: ("a", "c", "x"), 2: ("y", "z"), 3: ("g",)}


def test_a_smaller_size_moves_only_what_has_no_room() -> None:
    before = {1: ("a", "b", "c"), 2: ("d",)}
    assert assign("abcd", before, 2) == {1: ("a", "b"), 2: ("d", "c")}
    assert assign("abcde", before, 2, may_move=False) == {1: ("a", "b", "c"), 2: ("d", "e")}


def test_what_is_written_is_read_and_what_is_the_same_is_not_touched(tmp_path: Path) -> None:
    write_groups(tmp_path, {1: ("a", "b"), 2: ("c",)})
    assert read_groups(tmp_path) == {1: ("a", "b"), 2: ("c",)}
    assert numbers_by_login(read_groups(tmp_path)) == {"a": 1, "b": 1, "c": 2}
    before = (tmp_path / "1.txt").stat()
    write_groups(tmp_path, {1: ("a", "b"), 3: ("d",)})
    assert (tmp_path / "1.txt").stat() == before
    assert read_groups(tmp_path) == {1: ("a", "b"), 3: ("d",)}


def test_other_files_are_no_groups_and_a_damaged_one_is_without_a_channel(tmp_path: Path) -> None:
    for name in ("x.txt", "0.txt", ".1.txt.new", "1.conf", "01.txt", "1234567.txt"):
        (tmp_path / name).write_text("a\n")
    (tmp_path / "2.txt").write_bytes(b"\xff\xfe\0")
    assert read_groups(tmp_path) == {}
    assert read_groups(tmp_path / "missing") == {}


def test_a_file_is_told_of_once_and_again_when_it_is_another_one(tmp_path: Path) -> None:
    file = GroupFile(tmp_path, 1)
    assert file.look() is None
    write_groups(tmp_path, {1: ("a", "b")})
    assert file.look() == ("a", "b")
    assert file.look() is None
    write_groups(tmp_path, {1: ("b",)})
    assert file.look() == ("b",)
    write_groups(tmp_path, {})
    assert file.look() is None


def test_a_file_that_is_empty_for_a_moment_says_nothing(tmp_path: Path) -> None:
    write_groups(tmp_path, {1: ("a",)})
    file = GroupFile(tmp_path, 1)
    assert file.look() == ("a",)
    (tmp_path / "1.txt").write_text("")
    assert file.look() is None
    (tmp_path / "1.txt").write_text("a\nb\n")
    assert file.look() == ("a", "b")


@pytest.mark.parametrize("program", ["reader-xqc", "reader-xqc-2", "readers-7", "readers-7-2"])
def test_readers_are_known_by_their_names(program: str) -> None:
    assert is_reader(program)
    first = reader_name("xqc") if "xqc" in program else group_name(7)
    assert names_of_copies(program, 2) == [first, f"{first}-2"]
    assert names_of_copies(program, 1) == [first]


@pytest.mark.parametrize("program", ["producer", "kafka", "readers", "token-refresher"])
def test_others_are_none(program: str) -> None:
    assert not is_reader(program)
