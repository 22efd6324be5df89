"""`make test`: what runs in which lane, what comes of them together, and what is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import levels
from tests.levels import JOINING, LANES, SWARMS, Lane, chosen, run, status_of

ROOT = Path(__file__).parents[2]


def test_each_directory_of_tests_has_a_lane_and_each_file_is_there() -> None:
    named = {each for lane in LANES for each in lane.where if not each.startswith("--")}
    there = {str(found.parent.relative_to(ROOT)) for found in (ROOT / "tests").glob("*/test_*.py")}
    assert named == there | {*SWARMS, JOINING}
    assert [each for each in (*SWARMS, JOINING) if not (ROOT / each).is_file()] == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), False),
        (("-x", "-k", "flip"), False),
        (("-m", "not soak", "--durations=5"), False),
        (("tests/unit",), True),
        (("-x", "tests/unit/test_levels.py::test_status"), True),
    ],
)
def test_files_and_directories_are_told_from_other_arguments(
    arguments: tuple[str, ...], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert chosen(arguments) is expected


@pytest.mark.parametrize(
    ("statuses", "expected"), [((0, 0), 0), ((0, 1, 2), 1), ((5, 0), 0), ((5, 1), 1), ((5, 5), 5), ((-15, 0), -15)]
)
def test_one_failure_is_the_result_and_a_lane_without_tests_is_none(
    statuses: tuple[int, ...], expected: int
) -> None:
    assert status_of(statuses) == expected


async def test_lanes_run_side_by_side_and_say_which_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, other, value in (("good", "bad", True), ("bad", "good", False)):
        (tmp_path / f"test_{name}.py").write_text(
            "import pathlib, time\n"
            "def test_it():\n"
            f"    pathlib.Path('{name}').touch()\n"
            f"    while not pathlib.Path('{other}').exists(): time.sleep(0.01)\n"
            f"    assert {value}\n"
        )
    lanes = [Lane(name, (f"test_{name}.py",)) for name in ("good", "bad")]
    assert await run(lanes, ["-q"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[-1].startswith("good passed, bad FAILED in ")
    assert "good   | 1 passed in" in "\n".join(said)
    assert [line for line in said if line.startswith("bad ") and "FAILED test_bad.py::test_it" in line]


def test_files_run_in_one_pytest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(levels.pytest, "main", lambda arguments: ran.append(arguments) or 0)
    assert levels.main(["-x", str(tmp_path)]) == 0
    assert ran == [["-x", str(tmp_path)]]
