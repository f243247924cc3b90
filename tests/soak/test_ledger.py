from tests.soak.ledger import Happened, Ledger, Problem, Window


def ledger_of(count: int, *channels: str) -> Ledger:
    """So many messages a channel, one a second, the first at 100 s."""
    ledger = Ledger(channels)
    for channel in channels:
        for number in range(count):
            assert ledger.say(channel, 100.0 + number) == number
    return ledger


def test_what_is_there_once_and_in_order_is_good() -> None:
    verdict = ledger_of(3, "a", "b").verdict({"a": [0, 1, 2], "b": [0, 1, 2]})
    assert verdict.good
    assert (verdict.sent, verdict.in_kafka) == (6, 6)
    assert (verdict.away, verdict.outage, verdict.unheard) == (0, 0, 0)


def test_a_message_that_is_missing_without_a_reason_is_lost() -> None:
    verdict = ledger_of(3, "a", "b").verdict({"a": [0, 2]})
    assert not verdict.good
    assert verdict.count("lost") == 4
    assert (verdict.sent, verdict.in_kafka) == (6, 2)
    assert Problem("lost", "a", 1, 101.0) in verdict.problems


def test_every_further_copy_is_doubled_and_only_first_copies_count_for_the_order() -> None:
    verdict = ledger_of(4, "a").verdict({"a": [0, 1, 2, 1, 1, 3]})
    assert verdict.problems == [Problem("doubled", "a", 1, 101.0)] * 2
    assert (verdict.sent, verdict.in_kafka) == (4, 4)


def test_a_first_copy_behind_a_later_message_is_out_of_order() -> None:
    verdict = ledger_of(5, "a").verdict({"a": [0, 3, 1, 2, 4]})
    assert [(problem.kind, problem.number) for problem in verdict.problems] == [
        ("out of order", 1),
        ("out of order", 2),
    ]


def test_what_nobody_was_there_to_get_is_unheard_and_not_sent() -> None:
    ledger = ledger_of(2, "a")
    ledger.nobody_heard("a")
    verdict = ledger.verdict({"a": [0]})
    assert verdict.good
    assert (verdict.sent, verdict.unheard) == (1, 1)


def test_what_came_all_the_same_was_heard() -> None:
    ledger = ledger_of(2, "a")
    ledger.nobody_heard("a")
    verdict = ledger.verdict({"a": [0, 1]})
    assert (verdict.sent, verdict.in_kafka, verdict.unheard) == (2, 2, 0)


def test_a_window_excuses_its_own_channel_with_a_slack_on_both_sides() -> None:
    ledger = ledger_of(6, "a", "b")
    ledger.windows.append(Window("a", 102.1, True, 103.9))
    verdict = ledger.verdict({"a": [0, 1, 5], "b": [0, 1, 5]})
    assert verdict.away == 3
    assert [(problem.channel, problem.number) for problem in verdict.problems] == [
        ("b", 2),
        ("b", 3),
        ("b", 4),
    ]


def test_a_window_excuses_nothing_before_and_after_the_slack() -> None:
    ledger = ledger_of(6, "a")
    ledger.windows.append(Window("a", 102.3, True, 103.7))
    verdict = ledger.verdict({"a": [0, 1, 5]})
    assert verdict.away == 1
    assert [problem.number for problem in verdict.problems] == [2, 4]


def test_a_window_that_has_not_ended_covers_everything_since() -> None:
    ledger = ledger_of(4, "a")
    ledger.windows.append(Window("a", 102.0, True))
    assert ledger.open_windows() == ledger.windows
    assert ledger.verdict({"a": [0, 1]}).away == 2


def test_a_window_of_a_channel_with_another_reader_excuses_nothing() -> None:
    ledger = ledger_of(4, "a")
    ledger.windows.append(Window("a", 101.0, False, 103.0))
    assert ledger.verdict({"a": [0, 1, 3]}).count("lost") == 1


def test_the_time_without_supervisord_is_reported_apart() -> None:
    ledger = ledger_of(4, "a", "b")
    ledger.windows += [Window("a", 101.0, True, 101.5), Window(None, 101.0, True, 102.0)]
    verdict = ledger.verdict({"a": [0, 3], "b": [0, 3]})
    assert verdict.good
    assert (verdict.away, verdict.outage, verdict.sent) == (0, 4, 8)


def test_faults_of_around_a_time() -> None:
    ledger = ledger_of(1, "a")
    near = [Happened(95.0, "one", "a"), Happened(115.0, "two", "b")]
    ledger.happened += [Happened(84.9, "before", ""), *near, Happened(115.1, "after", "")]
    assert ledger.near(100.0) == near
