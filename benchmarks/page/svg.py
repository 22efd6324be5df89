"""Charts as SVG, by matplotlib: the same chart gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.page.charts import Bars, Chart, Lines

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Told apart by those who see fewer colours, too (Okabe and Ito)."""
MARKS = "osD^vP"
GREY = "#5a5a5a"
STYLE: Any = {
    "svg.hashsalt": "l7",  # else ids are drawn by lot
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelcolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "axes.axisbelow": True,
}
WIDTH = 7.6
BACKGROUND = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}


def svg(chart: Chart) -> bytes:
    return _drawn(chart, "svg", metadata={"Date": None, "Creator": None})


def png(chart: Chart) -> bytes:
    """To look at."""
    return _drawn(chart, "png", dpi=130)


def _drawn(chart: Chart, form: str, **how: Any) -> bytes:
    out = io.BytesIO()
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(WIDTH, _height(chart)), layout="constrained")
        axes.set_title(chart.title)
        _bars(axes, chart) if isinstance(chart, Bars) else _lines(axes, chart)
        figure.savefig(out, format=form, **how)
        pyplot.close(figure)
    lines = out.getvalue()
    return b"\n".join(line.rstrip() for line in lines.split(b"\n")) if form == "svg" else lines


def _height(chart: Chart) -> float:
    if isinstance(chart, Lines):
        return 3.4
    return 1.2 + 0.27 * len(chart.groups) * (len(chart.series) + 0.5)


# ---------------------------------------------------------------- bars


def _bars(axes: Axes, chart: Bars) -> None:
    """The first group on top, its series in their order."""
    thick = 0.8 / len(chart.series)
    for at, (name, values) in enumerate(chart.series.items()):
        places = [group - 0.4 + thick * (at + 0.5) for group in range(len(values))]
        drawn = axes.barh(places, [value or 0.0 for value in values], thick * 0.88, label=name, color=COLOURS[at])
        texts = ["" if value is None else number(value) for value in values]
        axes.bar_label(drawn, texts, padding=4, color=GREY, bbox=BACKGROUND)
    if chart.log:
        axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.set_yticks(range(len(chart.groups)), chart.groups)
    axes.tick_params(axis="y", length=0, labelcolor="black")
    axes.invert_yaxis()
    axes.set_xlabel(chart.unit)
    _numbers(axes, "x")
    axes.grid(axis="x")
    _limit(axes, chart)
    if len(chart.series) > 1:
        _legend(axes)


def _limit(axes: Axes, chart: Bars) -> None:
    if chart.limit:
        value, name = chart.limit
        axes.axvline(value, color="#b00020", linewidth=1.4, linestyle="--")
        axes.text(value, 1.0, name, color="#b00020", va="bottom", ha="center", transform=axes.get_xaxis_transform())
        axes.set_title(chart.title, pad=20)


# ---------------------------------------------------------------- lines


def _lines(axes: Axes, chart: Lines) -> None:
    for at, (name, points) in enumerate(chart.series.items()):
        sizes, values = zip(*points, strict=True)
        mark = "" if chart.steps else MARKS[at]
        axes.plot(sizes, values, marker=mark, markersize=4.5, color=COLOURS[at], label=name)
        _end(axes, sizes[-1], values[-1])
    axes.margins(x=0.08, y=0.15)
    _scales(axes, chart)
    axes.set_xlabel(chart.size)
    axes.set_ylabel(chart.unit)
    _numbers(axes, "y")
    axes.grid()
    _legend(axes)


def _end(axes: Axes, size: float, value: float) -> None:
    """The last value as a number."""
    how: Any = {"textcoords": "offset points", "va": "center", "color": GREY}
    axes.annotate(number(value), (size, value), (6, 0), **how)


def _scales(axes: Axes, chart: Lines) -> None:
    if not chart.steps:
        axes.set_xscale("log")
        _sizes(axes, sorted({size for points in chart.series.values() for size, _ in points}))
    if chart.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    else:
        axes.set_ylim(bottom=0)


def _sizes(axes: Axes, sizes: Sequence[float]) -> None:
    """Ticks where something was measured, and nowhere else."""
    axes.set_xticks(sizes, [number(size) for size in sizes])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=0)


def _numbers(axes: Axes, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axis.set_minor_formatter(NullFormatter())


def _legend(axes: Axes) -> None:
    """Beside the axes, where nothing is drawn."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def number(value: float) -> str:
    """With three digits: 0.02, 1.5, 320, 12,300."""
    if abs(value) >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"
