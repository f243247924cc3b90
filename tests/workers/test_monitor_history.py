"""Rates, sparklines and times of the last ten minutes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.overview import HISTORY_SPANS
from shared.reports import BUCKET_SECONDS
from workers.monitor_history import History, Sample, quantile_seconds

BUCKETS = len(BUCKET_SECONDS) + 1


def buckets(**counts: int) -> list[int]:
    """``under_1=3`` puts three messages into the bucket up to a second."""
    found = [0] * BUCKETS
    for name, count in counts.items():
        found[BUCKET_SECONDS.index(float(name.removeprefix("under_").replace("_", ".")))] = count
    return found


def sample(at: float, received: int | None = 0, done: list[int] | None = None, lost: int = 0) -> Sample:
    read = {} if received is None else {("reader-xqc", "xqc"): received}
    return Sample(at, read, done or [], {("xqc", "spool_full"): lost} if lost else {}, {})


def gaps_at(at: float, **gaps: float) -> Sample:
    return Sample(at, {}, [], {}, gaps)


def test_the_rate_is_that_of_the_last_ten_seconds() -> None:
    history = History()
    for second in range(100):
        history.add(sample(1000.0 + second, received=0 if second < 80 else (second - 80) * 7))
    assert history.per_second("reader-xqc", "xqc") == pytest.approx(7.0)


def test_without_two_seconds_of_samples_there_is_no_rate() -> None:
    history = History()
    assert history.per_second("reader-xqc", "xqc") is None
    history.add(sample(1000.0))
    history.add(sample(1001.0, received=5))
    assert history.per_second("reader-xqc", "xqc") is None
    history.add(sample(1002.0, received=8))
    assert history.per_second("reader-xqc", "xqc") == pytest.approx(4.0)
    assert history.per_second("reader-xqc", "forsen") is None


def test_samples_every_five_seconds_are_enough() -> None:
    history = History()
    for number in range(20):
        history.add(sample(1000.0 + 5.0 * number, received=10 * number))
    assert history.per_second("reader-xqc", "xqc") == pytest.approx(2.0)
    assert history.spans("reader-xqc", "xqc")[-9:] == [20] * 9
    assert history.spans("reader-xqc", "xqc")[:-9] == [None] * (HISTORY_SPANS - 9)


def test_a_span_in_which_nobody_looked_is_unknown_and_the_rest_is_not_moved() -> None:
    history = History()
    for second in (*range(31), *range(100, 131)):
        history.add(sample(1000.0 + second, received=second))
    spans = history.spans("reader-xqc", "xqc")
    assert spans[-3:] == [10, 10, 10]
    assert spans[-9:-3] == [None] * 6
    assert spans[-13:-10] == [10, 10, 10]


def test_ten_minutes_are_kept_and_no_more() -> None:
    history = History()
    for second in range(3000):
        history.add(sample(1000.0 + second, received=second * 3))
    assert history.spans("reader-xqc", "xqc") == [30] * HISTORY_SPANS
    assert len(history._spans) <= HISTORY_SPANS + 1
    assert len(history._recent) < 20


def test_a_total_that_began_anew_never_gives_a_negative_number() -> None:
    history = History()
    for second in range(60):
        history.add(sample(1000.0 + second, received=1000 + second if second < 45 else second - 45))
    assert all(span is None or span >= 0 for span in history.spans("reader-xqc", "xqc"))
    rate = history.per_second("reader-xqc", "xqc")
    assert rate is not None
    assert rate >= 0


def test_deliveries_and_losses_are_those_since_the_oldest_sample() -> None:
    history = History()
    assert history.deliveries() == []
    assert not history.losses()
    history.add(sample(1000.0, done=buckets(under_1=100), lost=5))
    history.add(sample(1010.0, done=buckets(under_1=103, under_5=1), lost=7))
    assert history.deliveries() == buckets(under_1=3, under_5=1)
    assert history.losses() == {("xqc", "spool_full"): 2}
    for second in range(11, 700):
        history.add(sample(1000.0 + second, done=buckets(under_1=103, under_5=1), lost=7))
    assert sum(history.deliveries()) == 0
    assert not history.losses()


def test_a_producer_that_has_told_nothing_at_first_begins_with_nothing() -> None:
    history = History()
    history.add(sample(1000.0, done=[]))
    history.add(sample(1010.0, done=buckets(under_1=3)))
    assert history.deliveries() == buckets(under_1=3)


def test_quantiles_are_those_of_prometheus() -> None:
    assert quantile_seconds(0.5, []) is None
    assert quantile_seconds(0.5, [0] * BUCKETS) is None
    assert quantile_seconds(0.5, buckets(under_2=10)) == pytest.approx(1.5)
    assert quantile_seconds(0.99, buckets(under_0_001=99, under_10=1)) == pytest.approx(0.001)
    assert quantile_seconds(1.0, [0] * (BUCKETS - 1) + [3]) == BUCKET_SECONDS[-1]


@given(st.lists(st.integers(0, 1000), min_size=BUCKETS, max_size=BUCKETS), st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_bucket_that_holds_its_message(counts: list[int], share: float) -> None:
    found = quantile_seconds(share, counts)
    if not sum(counts):
        assert found is None
        return
    assert found is not None
    below = sum(count for bound, count in zip(BUCKET_SECONDS, counts, strict=False) if bound < found)
    up_to = sum(count for bound, count in zip((0.0, *BUCKET_SECONDS), counts, strict=True) if bound < found)
    rank = share * sum(counts)
    assert below <= rank + 1e-6
    assert found == BUCKET_SECONDS[-1] or up_to >= rank - 1e-6


def test_gaps_are_those_of_the_last_ten_minutes() -> None:
    history = History()
    assert history.gaps() == {}
    history.add(gaps_at(1000.0, xqc=7.0, forsen=3.0))
    assert history.gaps() == {}
    history.add(gaps_at(1010.0, xqc=49.5, forsen=3.0))
    assert history.gaps() == {"xqc": 42.5}
    for number in range(1, 130):
        history.add(gaps_at(1010.0 + 5 * number, xqc=49.5, forsen=3.0))
    assert history.gaps() == {}


def test_what_a_channel_lacked_before_it_was_known_is_no_news() -> None:
    history = History()
    history.add(gaps_at(1000.0))
    history.add(gaps_at(1010.0, xqc=500.0))
    assert history.gaps() == {}
    history.add(gaps_at(1020.0, xqc=501.0))
    assert history.gaps() == {"xqc": 1.0}
    history.add(gaps_at(1030.0))
    assert history.gaps() == {}
