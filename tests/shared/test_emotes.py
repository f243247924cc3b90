import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.emotes import MAX_EMOTE_CHARACTERS, emotes_tag, find_emotes, fit_an_event
from tests.shared.event_lines import sample_lines

FAST = settings(deadline=None, derandomize=True, max_examples=200)


def test_emotes_come_in_order_of_appearance_with_their_ids() -> None:
    assert find_emotes("9:6-8/25:0-4,10-14", "Kappa LUL Kappa") == (
        [(0, 4, "25"), (6, 8, "9"), (10, 14, "25")],
        0,
    )


@pytest.mark.parametrize("odd", ["1:4-0", "1:6-8", "1:8-9", "1:6", "1:a-b", "1:+0-4", "x", ":0-1", "1:-1-4"])
def test_a_range_that_does_not_fit_is_left_out_and_counted(odd: str) -> None:
    assert find_emotes(f"25:0-4/{odd}", "Kappa hi") == ([(0, 4, "25")], 1)


def test_the_texts_of_a_lines_emotes_are_bounded() -> None:
    text = "x" * 1000
    spans, rejected = find_emotes("1:" + ",".join(["0-999"] * 100), text)
    assert len(spans) == MAX_EMOTE_CHARACTERS // 1000
    assert len(spans) + rejected == 100


@pytest.mark.parametrize(
    ("emote_id", "text", "count", "fits"),
    [
        ("emotesv2_" + "0" * 32, "K", 250, True),
        ("A" * 10_000, "K", 6, True),
        ("A" * 10_000, "K", 7, False),
        ("1", "K" * 10_000, 6, True),
        ("1", "K", 1_200, True),
        ("1", "K", 1_300, False),
    ],
)
def test_ids_texts_and_their_number_count_together(emote_id: str, text: str, count: int, fits: bool) -> None:
    spans, _ = find_emotes(f"{emote_id}:" + ",".join([f"0-{len(text) - 1}"] * count), text)
    assert len(spans) == count
    assert fit_an_event(spans) == fits


@pytest.mark.parametrize(
    "tag", ["25:0-4", "25:0-4,10-14/9:6-8", "emotesv2_0a1b:0-4", "9:0-2/25:4-8,10-14", "25:0-0,2-2/9:4-4"]
)
def test_a_tag_in_order_is_written_again_as_it_was(tag: str) -> None:
    assert emotes_tag(find_emotes(tag, "x" * 20)[0]) == tag


@pytest.mark.parametrize("tag", ["9:6-8/25:0-4", "25:6-10,0-4", "25:0-4,00-4", "25:0-4/25:6-8", "25:0-99"])
def test_a_tag_in_another_order_or_spelling_is_not_written_the_same(tag: str) -> None:
    assert emotes_tag(find_emotes(tag, "x" * 20)[0]) != tag


@FAST
@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 20), st.sampled_from(["1", "25", "emotesv2_a"])),
        max_size=6,
    )
)
def test_what_was_written_of_spans_is_read_as_them(raw: list[tuple[int, int, str]]) -> None:
    spans = sorted((min(start, end), max(start, end), emote) for start, end, emote in raw)
    if spans:
        assert find_emotes(emotes_tag(spans), "x" * 21) == (spans, 0)


def test_nearly_every_tag_of_real_chat_is_written_again() -> None:
    lines = sample_lines()
    if not lines:
        pytest.skip("the sample is not there")
    found = [(line.tags["emotes"], line.params[-1]) for line in lines if line.tags.get("emotes")]
    again = [emotes_tag(find_emotes(tag, text)[0]) == tag for tag, text in found]
    assert len(again) > 800
    assert sum(again) / len(again) > 0.98
