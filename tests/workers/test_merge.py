import itertools

from hypothesis import given
from hypothesis import strategies as st

from workers.merge import merge_copies


def test_what_one_copy_lacks_comes_from_the_other_in_its_place() -> None:
    assert merge_copies([list("abdf"), list("bcdef")]) == list("abcdef")


def test_a_copy_that_begins_earlier_begins_the_whole() -> None:
    assert merge_copies([list("cd"), list("abcd")]) == list("abcd")


def test_copies_with_nothing_in_common_follow_each_other() -> None:
    assert merge_copies([list("ab"), list("xy")]) == list("abxy")


def test_nothing_and_a_single_copy() -> None:
    assert merge_copies([]) == []
    assert merge_copies([[], list("aba")]) == list("ab")


@given(st.lists(st.sampled_from(["both", "left", "right"]), max_size=40))
def test_no_copy_is_contradicted_and_nothing_is_missing(held_by: list[str]) -> None:
    left = [str(place) for place, who in enumerate(held_by) if who != "right"]
    right = [str(place) for place, who in enumerate(held_by) if who != "left"]
    merged = merge_copies([left, right])
    assert sorted(merged, key=int) == [str(place) for place in range(len(held_by))]
    for copy in (left, right):
        assert [key for key in merged if key in copy] == copy


@given(st.lists(st.sampled_from(["both", "both", "left", "right"]), min_size=1, max_size=40))
def test_where_not_both_lack_something_in_a_row_the_stream_is_whole_again(held_by: list[str]) -> None:
    pairs = list(itertools.pairwise(held_by))
    # Which of two that stood in one copy each came first nobody can know.
    if ("left", "right") in pairs or ("right", "left") in pairs or "both" not in held_by:
        return
    left = [str(place) for place, who in enumerate(held_by) if who != "right"]
    right = [str(place) for place, who in enumerate(held_by) if who != "left"]
    assert merge_copies([left, right]) == [str(place) for place in range(len(held_by))]
