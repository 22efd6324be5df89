"""Writes what benchmarks/results/ says: docs/performance.md, its plots, README and file-mode.md between two marks.

    python -m benchmarks.figures [--check | --look DIRECTORY]

`--check` writes nothing and ends with status 1 when one of these files does not say what the results say.
`--look` writes the plots as PNG into that directory, and nothing else.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import gates
from benchmarks.kept import ROOT, Result, kept
from benchmarks.page import installed, modes
from benchmarks.page.document import charts, page
from benchmarks.page.results import Known, by_case

README = ROOT / "README.md"
PAGE = ROOT / "docs" / "performance.md"
FILE_MODE = ROOT / "docs" / "file-mode.md"
PLOTS = ROOT / "docs" / "figures"
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"


def summary(known: Known) -> str:
    """The text between the README's marks."""
    if not known:
        return "No results yet: `make bench` makes them.\n"
    parts = [installed.machine(known)]
    if "reload_baseline" in known:
        parts.append(installed.reloading(known["reload_baseline"]))
    parts.append(f"{installed.BY_WATCH}\n\n{installed.scenarios(known, 'swarmkit')}")
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def side_by_side(known: Known) -> str:
    """The text between the marks of docs/file-mode.md."""
    if "modes" not in known:
        return "Not measured yet: `python -m benchmarks.scenario modes` does that.\n"
    return modes.section(known["modes"])


def inserted(text: str, content: str) -> str:
    """`text` with `content` between the marks. Raises IndexError when they are not there."""
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n{content}{END}{after}"


def texts(results: dict[str, Result]) -> dict[Path, str]:
    """Each text that results are in, as it should be."""
    known = by_case(results.values())
    readme = inserted(README.read_text(), summary(known))
    file_mode = inserted(FILE_MODE.read_text(), side_by_side(known))
    return {README: readme, FILE_MODE: file_mode, PAGE: page(results, gates.read())}


def plots(results: dict[str, Result]) -> dict[Path, bytes]:
    """Each plot, as it should be."""
    from benchmarks.page.svg import svg  # takes a second, which who wants texts only need not wait for

    return {PLOTS / f"{chart.name}.svg": svg(chart) for chart in charts(results)}


def wanted() -> dict[Path, bytes]:
    results = kept()
    return {path: text.encode() for path, text in texts(results).items()} | plots(results)


def differing(files: dict[Path, bytes]) -> list[Path]:
    """Those that are not as they should be, and plots that are none any more."""
    stale = [path for path in PLOTS.glob("*.svg") if path not in files]
    return stale + [path for path, content in files.items() if not path.exists() or path.read_bytes() != content]


def write(files: dict[Path, bytes]) -> None:
    PLOTS.mkdir(exist_ok=True)
    for path in differing(files):
        path.write_bytes(files[path]) if path in files else path.unlink()


def look(directory: Path) -> None:
    from benchmarks.page.svg import png

    for chart in charts(kept()):
        (directory / f"{chart.name}.png").write_bytes(png(chart))


def main(arguments: list[str]) -> int:
    if "--look" in arguments:
        look(Path(arguments[-1]))
        return 0
    files = wanted()
    if "--check" in arguments:
        return int(bool(differing(files)))
    write(files)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
