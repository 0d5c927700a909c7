"""Processes of a study that fail: what is told, and that the other runs are done all the same."""

import json
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import pytest
from typer.testing import CliRunner

from fedge.errors import FedgeError
from fleet.cli.commands import app
from fleet.library.simulation import MEMORY, remove_left_by
from fleet.study import workers
from fleet.study.deal import Deal, Table
from fleet.study.runs import Cell, Run
from fleet.study.settings import StudySettings
from fleet.study.workers import Failed, Round
from tests.system.toml_text import toml
from tests.wording import assert_tells

SMALL: dict[str, Any] = {
    "study": {"name": "small", "rounds": 1, "rates": [0.1], "engine": "cores"},
    "data": {"dataset": "digits", "split": {"by": "iid", "devices": 3}},
    "plan": {"epochs": 1, "batch_size": 50},
    "algorithm": [{"name": "FedAvg"}],
}
PARENT = MEMORY if MEMORY.is_dir() else Path(tempfile.gettempdir())
BAD, GOOD = Cell("FedAvg", 0.1, 1), Cell("FedAvg", 0.1, 2)


def dies_at_once(*_: object) -> NoReturn:
    """A process that ends before it has read what to run."""
    os._exit(9)


class _Table(Table):
    def deal(self, seed: int) -> Deal:
        if seed == BAD.seed:
            self.fail()
        return super().deal(seed)

    def fail(self) -> NoReturn:
        raise NotImplementedError


class _Raises(_Table):
    def fail(self) -> NoReturn:
        raise ZeroDivisionError("no row")


class _Dies(_Table):
    def fail(self) -> NoReturn:
        os._exit(9)


class _Killed(_Table):
    def fail(self) -> NoReturn:
        tempfile.mkdtemp(prefix=f"fedge-simulation-{os.getpid()}-", dir=PARENT)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class _Deaf(Table):
    def deal(self, seed: int) -> Deal:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return super().deal(seed)


def raises(settings: StudySettings) -> Table:
    """Rows whose first deal is an error that is not Fedge's own."""
    return _Raises(settings.data)


def dies(settings: StudySettings) -> Table:
    """Rows whose first deal ends the process."""
    return _Dies(settings.data)


def killed(settings: StudySettings) -> Table:
    """Rows whose first deal is the end of a process that has made its folder."""
    return _Killed(settings.data)


def deaf(settings: StudySettings) -> Table:
    """Rows of a process that SIGTERM does not end."""
    return _Deaf(settings.data)


def folders(process: int) -> set[Path]:
    """The folders of a process's simulations."""
    return set(PARENT.glob(f"fedge-simulation-{process}-*"))


def told(
    asked: list[Cell], jobs: int, table: Callable[[StudySettings], Table] | None = None
) -> tuple[list[Round | Run | Failed], FedgeError]:
    """What is told of these runs, and the error at the end."""
    found: list[Round | Run | Failed] = []
    with pytest.raises(FedgeError) as error:
        found.extend(workers.run_all(StudySettings.model_validate(SMALL), asked, jobs, table))
    return found, error.value


@pytest.mark.slow
def test_a_process_that_ends_before_it_reads_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_work", dies_at_once)
    found, error = told([BAD, GOOD], 2)
    assert {one.cell for one in found if isinstance(one, Failed)} == {BAD, GOOD}
    assert_tells(str(error), "FedAvg, rate 0.1, seed", "exit code 9", "--jobs")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "facts"), [(raises, ("ZeroDivisionError", "no row", "test_workers.py")), (dies, ("code 9",))]
)
def test_a_run_that_fails_does_not_end_the_others(
    table: Callable[[StudySettings], Table], facts: tuple[str, ...]
) -> None:
    """One process has both to do: the second run is done after the first one has failed."""
    found, error = told([BAD, GOOD], 1, table)
    assert [one.cell for one in found if isinstance(one, Run)] == [GOOD]
    assert [one.cell for one in found if isinstance(one, Failed)] == [BAD]
    assert_tells(str(error), workers.named(BAD), *facts)


@pytest.mark.slow
def test_the_folder_of_a_process_that_is_killed_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    buried: list[int] = []

    def remove(process: int) -> None:
        assert folders(process), "it was killed with its folder"
        remove_left_by(process)
        assert not folders(process)
        buried.append(process)

    monkeypatch.setattr(workers, "remove_left_by", remove)
    found, error = told([BAD], 1, killed)
    assert [one.cell for one in found if isinstance(one, Failed)] == [BAD]
    assert_tells(str(error), "code -9")
    assert len(buried) == 1


@pytest.mark.slow
def test_a_process_that_ignores_the_end_of_the_study_leaves_no_folder() -> None:
    endless = {**SMALL, "study": {**SMALL["study"], "rounds": 100_000}}
    runs = workers.run_all(StudySettings.model_validate(endless), [GOOD], 1, deaf)
    with closing(runs):
        assert isinstance(next(runs), Round)
        (process,) = [one for one in multiprocessing.active_children() if one.pid and folders(one.pid)]
        assert process.pid is not None
    assert not folders(process.pid)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.slow
def test_the_report_tells_of_the_runs_that_are_done(tmp_path: Path) -> None:
    """The slow device needs 200 s, and a round is given up after three attempts of 1 s and a minute."""
    content = {
        **SMALL,
        "speeds": {"by": "slow", "median_s": 5.0, "share": 0.4, "times": 40.0},
        "algorithm": [{"name": "too short", "rounds": {"deadline_s": 1.0, "quorum": 3}}, {"name": "FedAvg"}],
    }
    (tmp_path / "study.toml").write_text(toml(content), encoding="utf-8")
    out = tmp_path / "out"
    command = ["simulate", str(tmp_path / "study.toml"), "--out", str(out), "--jobs", "1"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == os.EX_SOFTWARE
    assert_tells(result.stderr, str(out), "--resume", "too short", "round 1")
    assert [row["algorithm"] for row in json.loads((out / "result.json").read_text())["rows"]] == ["FedAvg"]
    assert "FedAvg" in (out / "report.html").read_text(encoding="utf-8")
