"""The outcome as Markdown, to be pasted into a page."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from tests.soak.ledger import Happened, Ledger, Verdict, kinds
from tests.soak.workers import Measure

SHOWN_PROBLEMS = 20
Measures = Mapping[str, Sequence[Measure]]


def markdown(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; columns but the first are numbers, and stand right."""
    lines = [headings, ["---", *("---:" for _ in headings[1:])], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def verdict_table(verdict: Verdict) -> str:
    """What became of the messages."""
    rows = [
        ("sent", verdict.sent),
        ("in Kafka", verdict.in_kafka),
        ("lost", verdict.count("lost")),
        ("missing, sent while the channel's only reader was away", verdict.away),
        ("missing, sent while supervisord was away", verdict.outage),
        ("said when nobody was in the channel", verdict.unheard),
        ("doubled", verdict.count("doubled")),
        ("out of order", verdict.count("out of order")),
    ]
    return markdown(("messages", "number"), [(name, f"{count:,}") for name, count in rows])


def fault_table(happened: Sequence[Happened]) -> str:
    """How often each fault was made."""
    counts = kinds(happened)
    rows = [*sorted(counts.items()), ("together", counts.total())]
    return markdown(("fault", "times"), rows)


def worker_table(early: Measures, late: Measures) -> str:
    """Memory and descriptors of every kind of worker, early and late."""
    headings = (
        "worker",
        "MB early",
        "MB late",
        "descriptors early",
        "descriptors late",
        "age late, s",
    )
    rows: list[Sequence[object]] = []
    for kind in sorted({*early, *late}):
        one, other = early.get(kind, ()), late.get(kind, ())
        if kind == "reader":
            rows.append((f"{len(other)} readers, median", *_row(one, other, statistics.median)))
            rows.append((f"{len(other)} readers, most", *_row(one, other, max)))
        else:
            rows.append((kind, *_row(one, other, max)))
    return markdown(headings, rows)


def _row(
    early: Sequence[Measure], late: Sequence[Measure], choose: Callable[[list[float]], float]
) -> list[str]:
    def shown(values: list[float], digits: int) -> str:
        return f"{choose(values):.{digits}f}" if values else "-"

    return [
        shown([one.megabytes for one in early], 1),
        shown([one.megabytes for one in late], 1),
        shown([one.descriptors for one in early], 0),
        shown([one.descriptors for one in late], 0),
        shown([one.age_seconds for one in late], 0),
    ]


def problem_lines(verdict: Verdict, ledger: Ledger, began: float) -> list[str]:
    """The first problems with the faults of around their time; ``began`` is when the chat did, offset 0."""
    lines: list[str] = []
    shown: list[Happened] = []
    for problem in verdict.problems[:SHOWN_PROBLEMS]:
        near = ledger.near(problem.at)
        if near != shown:
            lines += [
                f"  fault at {fault.at - began:+.2f} s: {fault.name} ({fault.target})" for fault in near
            ]
            shown = near
        lines.append(
            f"{problem.kind}: #{problem.channel} number {problem.number}, sent at {problem.at - began:+.2f} s"
        )
    left_out = len(verdict.problems) - SHOWN_PROBLEMS
    return [*lines, f"… and {left_out} more"] if left_out > 0 else lines
