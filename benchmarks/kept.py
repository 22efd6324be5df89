"""The results that are kept in benchmarks/results/, as they were written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"

Result = dict[str, Any]


def kept(directory: Path = RESULTS) -> dict[str, Result]:
    """Name of the file without its ending -> result, in order of names; without short runs, which are but looks."""
    found = {file.stem: orjson.loads(file.read_bytes()) for file in sorted(directory.glob("*.json"))}
    return {name: result for name, result in found.items() if not result.get("case", {}).get("short", False)}
