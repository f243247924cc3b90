"""The results as pictures, on white, so that they can be read in light and in dark pages."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure as Picture
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from tests.benchmarks import names
from tests.benchmarks.names import NAIVE_PYTHON, NODE_BATCHED, NODE_REPLACED, OURS, SHARED
from tests.benchmarks.results import Results

# Of Okabe and Ito, who chose them for all kinds of colour vision.
COLOURS = {
    OURS: "#0072B2",
    SHARED: "#56B4E9",
    NODE_BATCHED: "#E69F00",
    NAIVE_PYTHON: "#009E73",
    NODE_REPLACED: "#CC79A7",
}
OTHER_COLOURS = ("#D55E00", "#F0E442", "#000000")
INK = "#24292f"
GRID = "#d0d7de"
DOTS_PER_INCH = 105
STYLE: dict[Any, Any] = {
    "font.size": 10.5,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.08,
}
_GROUP_WIDTH = 0.9
_LEGEND_COLUMNS = 4
_PLACES = {
    names.STEADY: "20 channels\n× 50/s",
    names.SINGLE: "1 channel\n× 100/s",
    names.BURST: "burst,\n4 × 25,000",
    names.QUICK_BURST: "burst,\n4 × 5,000",
    names.IDLE: "50 channels\n× 1/s",
}


def draw(results: Results, folder: Path) -> list[Path]:
    """A file for each picture that the results are enough for; gives their paths."""
    with mpl.rc_context(STYLE):
        pictures = {
            "cpu.png": _cpu(results),
            "latency.png": _latency(results),
            "memory.png": _memory(results),
            "growth.png": _growth(results),
        }
        found = []
        for name, picture in pictures.items():
            if picture is not None:
                picture.savefig(
                    folder / name, dpi=DOTS_PER_INCH, facecolor="white", metadata={"Software": None}
                )
                found.append(folder / name)
    return found


def _cpu(results: Results) -> Picture | None:
    scenarios = _with(results, names.CPU)
    if not scenarios:
        return None
    picture, axes = _picture("Processor time of a message, all processes of a design", "µs, log scale")
    _bars(axes, results, names.CPU, scenarios, [_PLACES[one] for one in scenarios], digits=0)
    axes.set_yscale("log")
    _number_log_scale(axes.yaxis, (1.0,))
    low, high = axes.get_ylim()
    axes.set_ylim(10 ** math.floor(math.log10(low)), high * 1.5)
    _legend(picture, axes)
    return picture


def _memory(results: Results) -> Picture | None:
    scenarios = [one for one in (names.STEADY, names.IDLE) if one in _with(results, names.MEMORY_EACH)]
    if not scenarios:
        return None
    picture, axes = _picture("Memory of a channel, all processes of a design", "MB (PSS) a channel")
    labels = {names.STEADY: "20 channels", names.IDLE: "50 channels"}
    _bars(axes, results, names.MEMORY_EACH, scenarios, [labels[one] for one in scenarios], digits=1)
    _legend(picture, axes)
    return picture


def _latency(results: Results) -> Picture | None:
    """A line for each contender from the median to the 99th percentile."""
    scenarios = _with(results, names.P99)
    if not scenarios:
        return None
    picture, axes = _picture("From Twitch's write to the consumer's hand", "")
    at, ticks, labels = 0.0, [], []
    seen = set()
    for scenario in scenarios:
        contenders = [one for one in results.contenders if results.figure(scenario, one, names.P99)]
        ticks.append(at + (len(contenders) - 1) / 2)
        labels.append(_PLACES[scenario])
        for contender in contenders:
            half = results.median(scenario, contender, names.P50)
            most = results.median(scenario, contender, names.P99)
            assert half is not None
            assert most is not None
            colour = _colour(results, contender)
            axes.plot([half, most], [at, at], color=colour, linewidth=3.5, solid_capstyle="butt")
            axes.plot(
                [half], [at], "o", color=colour, markersize=8, label="" if contender in seen else contender
            )
            axes.plot([most], [at], "|", color=colour, markersize=13, markeredgewidth=2.5)
            axes.annotate(
                f"{half:.1f}", (half, at), (-8, 0), textcoords="offset points", ha="right", va="center"
            )
            axes.annotate(f"{most:.1f}", (most, at), (7, 0), textcoords="offset points", va="center")
            seen.add(contender)
            at += 1
        at += 0.9
    axes.set_yticks(ticks, labels)
    axes.invert_yaxis()
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(low / 1.6, high * 1.6)
    _number_log_scale(axes.xaxis, (1.0, 2.0, 5.0))
    axes.set_xlabel("ms, log scale: half of the messages (dot), 99 % (bar)")
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    _legend(picture, axes)
    return picture


def _growth(results: Results) -> Picture | None:
    contenders = [
        one
        for one in results.contenders
        if any(results.rounds(names.at_size(names.GROWTH, size), one) for size in names.GROWTH_SIZES)
    ]
    if not contenders:
        return None
    picture = Picture(figsize=(8.0, 3.6), layout="constrained")
    for axes, name, title in zip(
        picture.subplots(1, 2),
        (names.CORE, names.MEMORY),
        ("Processor, % of a core", "Memory (PSS), MB"),
        strict=True,
    ):
        axes.set_title(title)
        axes.grid(visible=True)
        axes.yaxis.set_major_formatter(FuncFormatter(_number))
        for contender in contenders:
            points = [
                (size, value)
                for size in names.GROWTH_SIZES
                if (value := results.median(names.at_size(names.GROWTH, size), contender, name)) is not None
            ]
            axes.plot(*zip(*points, strict=True), "o-", color=_colour(results, contender), label=contender)
            if len(contenders) == 1:
                for size, value in points:
                    axes.annotate(
                        f"{value:,.0f}", (size, value), (-4, 6), textcoords="offset points", ha="right"
                    )
        axes.set_xlim(-10, max(names.GROWTH_SIZES) * 1.06)
        axes.set_ylim(0, axes.get_ylim()[1] * 1.08)
        axes.set_xticks(names.GROWTH_SIZES)
        axes.set_xlabel("channels, a message a second in each")
    if len(contenders) > 1:
        _legend(picture, picture.axes[0])
    return picture


def _bars(
    axes: Axes, results: Results, name: str, scenarios: Sequence[str], labels: Sequence[str], digits: int
) -> None:
    """Groups of bars with their range, one group for each scenario; who was not measured leaves no gap."""
    named = set()
    for place, scenario in enumerate(scenarios):
        measured = [
            (one, figure) for one in results.contenders if (figure := results.figure(scenario, one, name))
        ]
        width = _GROUP_WIDTH / max(len(measured), 3)
        for number, (contender, figure) in enumerate(measured):
            bar = axes.bar(
                place + (number - (len(measured) - 1) / 2) * width,
                figure.median,
                width * 0.94,
                yerr=[[figure.median - figure.low], [figure.high - figure.median]],
                error_kw={"ecolor": INK, "elinewidth": 1.0, "capsize": 2.0},
                color=_colour(results, contender),
                label="" if contender in named else contender,
            )
            axes.bar_label(
                bar, [f"{figure.median:,.{digits}f}"], padding=2, fontsize=9 if len(measured) < 5 else 8
            )
            named.add(contender)
    axes.set_xticks(range(len(scenarios)), labels)


def _picture(title: str, label: str) -> tuple[Picture, Axes]:
    picture = Picture(figsize=(8.0, 4.2), layout="constrained")
    axes = picture.subplots()
    axes.set_title(title)
    axes.set_ylabel(label)
    axes.grid(axis="y", visible=True)
    return picture, axes


def _legend(picture: Picture, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    columns = len(labels) if len(labels) <= _LEGEND_COLUMNS else math.ceil(len(labels) / 2)
    picture.legend(handles, labels, loc="outside lower center", ncols=columns, columnspacing=1.4)


def _number_log_scale(axis: Axis, marked: Sequence[float]) -> None:
    """Plain numbers at these places of each power of ten."""
    axis.set_major_locator(LogLocator(subs=marked))
    axis.set_major_formatter(FuncFormatter(_number))
    axis.set_minor_locator(NullLocator())


def _number(value: float, _place: object) -> str:
    return f"{value:,.10g}"


def _colour(results: Results, contender: str) -> str:
    if contender in COLOURS:
        return COLOURS[contender]
    others = [one for one in results.contenders if one not in COLOURS]
    return OTHER_COLOURS[others.index(contender) % len(OTHER_COLOURS)]


def _with(results: Results, name: str) -> list[str]:
    """Those of the scenarios with a place in the pictures that have the figure."""
    return [
        scenario
        for scenario in results.scenarios
        if scenario in _PLACES and any(results.figure(scenario, one, name) for one in results.contenders)
    ]
