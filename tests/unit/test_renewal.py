"""Core takes up what is new in its file of settings, and only what is good."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from l7 import renewal
from l7.config import parse_settings
from l7.daemon import Core, Options
from l7.kit.errors import ConfigError
from l7.renewal import SettingsFile


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "LOOK", 0.01)


class Cores:
    """Stands in for Core: `options` of all that were run; `fail` is asked what the next one raises."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.options: list[Options] = []
        self.cores: list[Core] = []
        self.running = 0
        self.looks = 0
        self.synced = False
        self.fail: Callable[[Options], Exception | None] = lambda options: None
        monkeypatch.setattr(Core, "run", self._run())
        monkeypatch.setattr(Core, "look", lambda core: self._looked())

    def _run(self) -> Callable[[Core, asyncio.Event], object]:
        async def run(core: Core, stop: asyncio.Event) -> None:
            assert self.running == 0, "the old one has not ended"
            self.running += 1
            self.options.append(core.options)
            self.cores.append(core)
            core.synced = self.synced
            try:
                if error := self.fail(core.options):
                    raise error
                await stop.wait()
            finally:
                self.running -= 1

        return run

    def _looked(self) -> None:
        self.looks += 1

    @property
    def polls(self) -> list[int]:
        return [options.settings.poll_interval for options in self.options]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - of a file
            await asyncio.sleep(0.005)


class Rig:
    def __init__(self, path: Path, cores: Cores) -> None:
        self.path, self.cores, self.stop = path, cores, asyncio.Event()
        self.write("1s")
        self.file = SettingsFile(str(path), self._make)
        self.task = asyncio.create_task(renewal.run(self.file, self.stop))

    def _make(self) -> Options:
        return Options(parse_settings(self.path.read_text(), "c.toml"))

    def write(self, interval: str, more: str = "") -> None:
        """Replaces the file, as whole."""
        new = self.path.with_suffix(".new")
        new.write_text(f'PollInterval = "{interval}"\n{more}')
        os.replace(new, self.path)

    async def end(self) -> None:
        self.stop.set()
        await self.task


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(tmp_path / "c.toml", Cores(monkeypatch))


async def test_a_good_content_begins_a_new_core_and_a_bad_one_is_told(rig: Rig) -> None:
    await until(lambda: rig.cores.polls == [1000])
    rig.write("2s")
    await until(lambda: rig.cores.polls == [1000, 2000])
    rig.write("soon")
    await until(lambda: rig.cores.looks == 1)
    (problem,) = rig.cores.cores[-1].problems()
    assert "c.toml:1: PollInterval: must be a duration" in problem.message
    assert problem.value == str(rig.path)
    assert "l7 config check" in problem.remedy
    rig.write("2s", "# mended\n")
    await until(lambda: rig.cores.looks == 2)
    assert rig.cores.cores[-1].problems() == ()
    assert rig.cores.polls == [1000, 2000]  # nothing else is in it
    rig.path.write_text('PollInterval = "3s"')
    await until(lambda: rig.cores.polls == [1000, 2000, 3000])
    await rig.end()
    assert rig.cores.running == 0


async def test_what_is_half_written_does_not_count(rig: Rig) -> None:
    await until(lambda: rig.cores.polls)
    looks = 0
    content = SettingsFile._content

    def counted() -> bytes | None:
        nonlocal looks
        looks += 1
        rig.path.write_text("#" * looks)  # more of it each time
        return content(rig.file)

    rig.file._content = counted  # type: ignore[method-assign]
    await until(lambda: looks > 10)
    assert rig.cores.polls == [1000]
    await rig.end()


async def test_a_file_that_is_gone_is_told_and_nothing_changes(rig: Rig) -> None:
    await until(lambda: rig.cores.polls)
    rig.file._make = lambda: (_ for _ in ()).throw(ConfigError("c.toml", "cannot be read"))
    rig.path.unlink()
    await until(lambda: rig.cores.looks)
    assert "cannot be read" in rig.file.problems()[0].message
    assert rig.cores.polls == [1000]
    await rig.end()


async def test_where_core_cannot_begin_by_new_settings_those_of_before_go_on(rig: Rig) -> None:
    await until(lambda: rig.cores.polls)
    rig.cores.fail = lambda options: (
        ConfigError("TLSCACert", "is not there") if options.settings.poll_interval == 2000 else None
    )
    rig.write("2s")
    await until(lambda: rig.cores.polls == [1000, 2000, 1000])
    assert "TLSCACert: is not there" in rig.file.problems()[0].message
    rig.write("3s")
    await until(lambda: rig.cores.polls == [1000, 2000, 1000, 3000])
    assert rig.file.problems() == ()
    await rig.end()


@pytest.mark.parametrize("first", [True, False])
async def test_what_core_raises_by_settings_that_worked_ends_it(rig: Rig, first: bool) -> None:
    await until(lambda: rig.cores.polls)
    rig.cores.synced = True
    rig.cores.fail = lambda options: ConfigError("x", "y") if first else RuntimeError("z")
    rig.write("2s")
    with pytest.raises((ConfigError, RuntimeError)):
        await asyncio.wait_for(rig.task, 5)


async def test_a_bad_file_is_an_error_at_the_start(tmp_path: Path) -> None:
    def make() -> Options:
        raise ConfigError("c.toml:1", "bad")

    with pytest.raises(ConfigError):
        SettingsFile(str(tmp_path / "none"), make)
