"""Charts as values: what is drawn, not how. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bars:
    """Groups of bars that lie. `series`: name -> a value per group, None where there is none.

    `limit`: a line at this value, with its name. `log`: the axis is logarithmic.
    """

    name: str
    title: str
    unit: str
    groups: Sequence[str]
    series: Mapping[str, Sequence[float | None]]
    limit: tuple[float, str] | None = None
    log: bool = False


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines over sizes. `series`: name -> (size, value), in order of sizes, which are logarithmic but in `steps`.

    `log`: values are, too, for what grows with the size; else they begin at 0, for what should not.
    """

    name: str
    title: str
    size: str
    unit: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    log: bool = False
    steps: bool = False


Chart = Bars | Lines


def shown(chart: Chart) -> str:
    """The chart in a page that is in docs/."""
    return f"![{chart.title}](figures/{chart.name}.svg)\n"
