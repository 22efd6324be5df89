"""A row of the table: what was found, what it has to be and what it should be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """`least`: `found` is good from the gate up, else down to nothing. `detail`: what the figure is made of."""

    operation: str
    found: float
    gate: float
    aim: float
    least: bool = False
    unit: str = "×"
    detail: str = ""

    @property
    def met(self) -> bool:
        return self._within(self.gate)

    @property
    def aimed(self) -> bool:
        return self._within(self.aim)

    def _within(self, limit: float) -> bool:
        return self.found >= limit if self.least else self.found <= limit

    def said(self, value: float) -> str:
        return f"{value:.3g}{self.unit}"
