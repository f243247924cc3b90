"""The results as Markdown and as pictures.

``python -m tests.benchmarks.report [FOLDER]`` makes them anew from the folder's ``results.json``.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.benchmarks import names
from tests.benchmarks.figures import Figure
from tests.benchmarks.goals import GOALS, Goal
from tests.benchmarks.names import NAIVE_PYTHON, NODE_REPLACED, OURS, SHARED
from tests.benchmarks.results import Results, load, save
from tests.processes.service import ROOT
from tests.soak.table import markdown

FOLDER = ROOT / "docs" / "benchmarks"
TABLE_FILE = "table.md"
NOT_MEASURED = "–"
_GROWN = tuple(names.at_size(names.GROWTH, channels) for channels in names.GROWTH_SIZES)
_STEP_DIGITS = 2


def write(results: Results, folder: Path) -> list[Path]:
    """All files of a run; gives their paths."""
    from tests.benchmarks import plots

    folder.mkdir(parents=True, exist_ok=True)
    save(results, folder)
    (folder / TABLE_FILE).write_text(table(results))
    return [folder / TABLE_FILE, *plots.draw(results, folder)]


def table(results: Results) -> str:
    """The whole page."""
    parts = [
        "# What the benchmarks have measured",
        "Medians, with the least and the greatest of all rounds. "
        "Figures of different machines, or of different days of one, are not comparable; ratios are.",
        machine_table(results),
    ]
    for scenario in results.scenarios:
        if scenario not in _GROWN:
            parts += [f"## {scenario}", scenario_table(results, scenario), *_failures(results, scenario)]
    if any(scenario in _GROWN for scenario in results.scenarios):
        failures = [line for scenario in _GROWN for line in _failures(results, scenario)]
        parts += [f"## {names.GROWTH}", growth_table(results), *failures]
    if results.micro:
        parts += ["## What each step costs", micro_table(results)]
    if OURS in results.contenders:
        parts += ["## Goals", goal_table(results)]
    return "\n\n".join(filter(None, parts)) + "\n"


def machine_table(results: Results) -> str:
    return markdown(("machine", ""), list(results.machine.items())).replace("---:", "---")


def scenario_table(results: Results, scenario: str) -> str:
    """A row for each figure, a column for each contender, ratios behind the columns of this service.

    Empty when nobody has figures.
    """
    contenders = [name for name in results.contenders if results.rounds(scenario, name)]
    if not contenders:
        return ""
    compared = [name for name in contenders if name not in (OURS, SHARED, NAIVE_PYTHON, NODE_REPLACED)]
    headings, counts = [""], ["rounds"]
    rows = {name: [name] for name in names.DIGITS if _is_measured(results, scenario, name)}
    for contender in contenders:
        others = compared if contender in (OURS, SHARED) else []
        headings += [contender, *(f"to {other}" for other in others)]
        counts += [str(len(results.rounds(scenario, contender))), *("" for _ in others)]
        for name, row in rows.items():
            row.append(cell(results.figure(scenario, contender, name), names.DIGITS[name]))
            row += [_ratio_cell(results, scenario, contender, other, name) for other in others]
    return markdown(headings, [counts, *rows.values()])


def growth_table(results: Results) -> str:
    """A row for each figure, a column for each number of channels."""
    contenders = [name for name in results.contenders if any(results.rounds(one, name) for one in _GROWN)]
    measured = [name for name in names.DIGITS if any(_is_measured(results, one, name) for one in _GROWN)]
    headings = [""]
    rows = {name: [name] for name in measured}
    for contender in contenders:
        for channels, scenario in zip(names.GROWTH_SIZES, _GROWN, strict=True):
            headings.append(f"{contender}, {channels} channels")
            for name, row in rows.items():
                row.append(cell(results.figure(scenario, contender, name), names.DIGITS[name]))
    return markdown(headings, list(rows.values()))


def micro_table(results: Results) -> str:
    """A row for each step of a message's way."""
    rows = [
        (step, cell(figure, _STEP_DIGITS), f"{1e6 / figure.median:,.0f}")
        for step, figure in results.micro.items()
    ]
    return markdown(("step", "µs a message", "messages a second"), rows)


def goal_table(results: Results) -> str:
    """Of the scenarios that were run, for this service and each way in which it was."""
    ways = [name for name in (OURS, SHARED) if name in results.contenders]
    rows = [_goal_row(results, goal, ways) for goal in GOALS if goal.scenario in results.scenarios]
    return markdown(("scenario", "goal", "bound", *(word for way in ways for word in (way, "met"))), rows)


def cell(figure: Figure | None, digits: int) -> str:
    """Like ``12.3 (11.9-13.0)``, without the range where there is none."""
    if figure is None:
        return NOT_MEASURED
    return figure.text(digits) if figure.low != figure.high else f"{figure.median:,.{digits}f}"


def _ratio_cell(results: Results, scenario: str, contender: str, other: str, name: str) -> str:
    ratio = results.ratio(scenario, contender, other, name) if name in names.COMPARED else None
    return "" if ratio is None else f"{ratio:.2f} ×"


def _goal_row(results: Results, goal: Goal, ways: Sequence[str]) -> Sequence[str]:
    row = [goal.scenario, goal.what, f"{'≤' if goal.at_most else '≥'} {goal.bound:g} {goal.unit}"]
    for way in ways:
        value = goal.measure(results, way)
        if value is None:
            row += [NOT_MEASURED, NOT_MEASURED]
        else:
            row += [f"{value:.{goal.digits}f}", "yes" if goal.is_met_by(value) else "**no**"]
    return row


def _failures(results: Results, scenario: str) -> Iterable[str]:
    return [
        f"{one.contender}, round {one.round}, gave no figures: {one.trouble}"
        for one in results.failures
        if one.scenario == scenario
    ]


def _is_measured(results: Results, scenario: str, name: str) -> bool:
    return any(results.figure(scenario, contender, name) is not None for contender in results.contenders)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for path in write(load(folder), folder):
        print(path)


if __name__ == "__main__":
    main()
