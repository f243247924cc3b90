from pathlib import Path

from tests.benchmarks import names
from tests.benchmarks.contenders import Contender, Order, Running
from tests.benchmarks.figures import Figure
from tests.benchmarks.names import NAIVE_PYTHON, NODE_BATCHED, NODE_REPLACED, OURS, SHARED
from tests.benchmarks.plan import turns
from tests.benchmarks.report import goal_table, growth_table, scenario_table, table
from tests.benchmarks.results import Failure, Results, Run, load, save
from tests.benchmarks.scenarios import full


def results(*runs: tuple[str, str, dict[str, float]]) -> Results:
    return Results({"cores": "2"}, [Run(scenario, who, 1, figures) for scenario, who, figures in runs])


def cells(table: str, *first: str) -> list[str]:
    """The row that begins with these cells, without them."""
    rows = [[one.strip() for one in line.strip("|").split("|")] for line in table.splitlines()]
    (found,) = [row for row in rows if row[: len(first)] == list(first)]
    return found[len(first) :]


def start_nothing(_order: Order) -> Running:
    raise AssertionError


def test_a_table_has_medians_with_their_range_and_the_ratio_to_the_rival() -> None:
    measured = results(
        (names.STEADY, OURS, {names.CPU: 100.0}),
        (names.STEADY, NODE_BATCHED, {names.CPU: 125.0}),
        (names.STEADY, OURS, {names.CPU: 90.0}),
        (names.STEADY, OURS, {names.CPU: 300.0}),
    )

    shown = scenario_table(measured, names.STEADY)

    assert cells(shown, "") == [OURS, f"to {NODE_BATCHED}", NODE_BATCHED]
    assert cells(shown, "rounds") == ["3", "", "1"]
    assert cells(shown, names.CPU) == ["100.0 (90.0-300.0)", "0.80 ×", "125.0"]


def test_another_checkout_has_a_ratio_too_and_what_was_not_measured_a_dash() -> None:
    measured = results(
        (names.BURST, OURS, {names.RATE: 3000.0, names.LOST: 0.0}),
        (names.BURST, "before", {names.RATE: 1500.0, names.LOST: 0.0}),
        (names.BURST, NAIVE_PYTHON, {names.LOST: 2.0}),
    )

    shown = scenario_table(measured, names.BURST)

    assert cells(shown, "") == [OURS, "to before", "before", NAIVE_PYTHON]
    assert cells(shown, names.RATE) == ["3,000", "2.00 ×", "1,500", "–"]
    assert cells(shown, names.LOST) == ["0", "", "0", "2"]


def test_goals_say_what_is_met_what_is_missed_and_what_is_not_known() -> None:
    measured = results(
        (names.BURST, OURS, {names.RATE: 30_000.0, names.CPU: 28.2}),
        (names.BURST, NODE_BATCHED, {names.RATE: 29_000.0, names.CPU: 27.0}),
    )

    shown = goal_table(measured)

    assert cells(shown, names.BURST, "CPU a message") == [f"≤ 1.04 × {NODE_BATCHED}", "1.04", "**no**"]
    assert cells(shown, names.BURST, "messages a second", f"≥ 1 × {NODE_BATCHED}") == ["1.03", "yes"]
    assert cells(shown, names.BURST, "messages a second", f"≥ 10 × {NODE_REPLACED}") == ["–", "–"]
    assert names.STEADY not in shown


def test_both_ways_of_this_service_have_ratios_and_goals_of_their_own() -> None:
    measured = results(
        (names.BURST, OURS, {names.CPU: 54.0}),
        (names.BURST, SHARED, {names.CPU: 27.0}),
        (names.BURST, NODE_BATCHED, {names.CPU: 27.0}),
    )

    shown = scenario_table(measured, names.BURST)
    assert cells(shown, "") == [OURS, f"to {NODE_BATCHED}", SHARED, f"to {NODE_BATCHED}", NODE_BATCHED]
    assert cells(shown, names.CPU) == ["54.0", "2.00 ×", "27.0", "1.00 ×", "27.0"]
    bound = f"≤ 1.04 × {NODE_BATCHED}"
    assert cells(goal_table(measured), names.BURST, "CPU a message") == [
        bound,
        "2.00",
        "**no**",
        "1.00",
        "yes",
    ]


def test_growth_has_a_column_for_each_size_and_goals_between_them() -> None:
    each = {20: 9.0, 50: 8.0, 100: 7.9, 200: 10.0}
    measured = results(
        *((names.at_size(names.GROWTH, size), OURS, {names.MEMORY_EACH: each[size]}) for size in each)
    )

    assert cells(growth_table(measured), names.MEMORY_EACH) == ["9.00", "8.00", "7.90", "10.00"]
    last = names.at_size(names.GROWTH, 200)
    assert cells(goal_table(measured), last, "memory a channel") == [
        "≤ 1.15 × that with 50",
        "1.25",
        "**no**",
    ]


def test_a_page_names_the_failed_and_is_the_same_from_the_file(tmp_path: Path) -> None:
    measured = results((names.STEADY, OURS, {names.CPU: 100.0}))
    measured.failures.append(Failure(names.STEADY, NODE_REPLACED, 1, "TimeoutError: no message came"))
    measured.failures.append(Failure("micro", OURS, 1, "AssertionError: no Kafka"))
    measured.micro["parse a line"] = Figure(2.0, 1.5, 2.5)

    save(measured, tmp_path)

    assert load(tmp_path) == measured
    shown = table(measured)
    assert f"{NODE_REPLACED}, round 1, gave no figures: TimeoutError: no message came" in shown
    assert "AssertionError: no Kafka" in shown
    assert cells(shown, "parse a line") == ["2.00 (1.50-2.50)", "500,000"]
    assert table(load(tmp_path)) == shown


def test_rounds_are_in_turns_and_each_begins_with_another_contender() -> None:
    everybody = {
        OURS: Contender(start_nothing, 3, is_ours=True),
        NODE_BATCHED: Contender(start_nothing, 3),
        NODE_REPLACED: Contender(start_nothing, 1),
    }
    scenarios = full()

    order = [(turn.round, turn.contender) for turn in turns([scenarios["steady"]], everybody, None)]

    assert order == [
        *((1, OURS), (1, NODE_BATCHED), (1, NODE_REPLACED)),
        *((2, NODE_BATCHED), (2, OURS)),
        *((3, OURS), (3, NODE_BATCHED)),
    ]
    idle = [turn.contender for turn in turns([scenarios["idle"]], everybody, 1)]
    assert idle == [OURS, NODE_BATCHED]
    assert [turn.contender for turn in turns([scenarios["growth"]], everybody, None)] == [OURS]
