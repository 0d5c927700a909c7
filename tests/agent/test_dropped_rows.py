"""Rows that `[data] newest` forgets go on counting: no row changes its part when others are appended."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agent.data.dataset import parts
from agent.data.division import divide
from agent.data.rules import effective
from agent.data.snapshot import current
from agent.settings.data import By, DataSettings
from agent.settings.sources import CsvSettings, NpzSettings
from agent.sources import Samples, open_source
from agent.sources import newest_rows as thinning
from agent.sources.dropped_rows import DroppedRows

BYS: tuple[By, ...] = ("every", "random", "series")
ROWS = 248


def text(first: int, last: int, whose: Callable[[int], object]) -> str:
    return "".join(f"{1_700_000_000 + 600 * i},{i},{whose(i)}\n" for i in range(first, last))


def divided(samples: Samples, settings: DataSettings) -> tuple[set[float], set[float]]:
    """The numbers of the rows in training, and of those that are held out."""
    training, held = parts(samples, np.arange(len(samples.X)), effective(settings, None))
    return set(samples.X[training, 1].tolist()), set(samples.X[held, 1].tolist())


@pytest.mark.parametrize("by", BYS)
@pytest.mark.parametrize("newest", [57, "1 days"])
@pytest.mark.parametrize("gap", [0, 2])
@pytest.mark.parametrize("whose", [lambda i: i // 13, lambda i: f"s{i % 3}", None], ids=["runs", "3", "one"])
@pytest.mark.parametrize("slack", [0, pytest.param(1 << 16, marks=pytest.mark.slow)])
def test_no_row_changes_its_part_when_others_are_forgotten(
    by: By,
    newest: int | str,
    gap: int,
    whose: Callable[[int], object] | None,
    slack: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(thinning, "SLACK", slack)
    monkeypatch.setattr("agent.sources.text_file.BLOCK", 7)
    said = {"series": None if whose is None else "w", "time": "t" if isinstance(newest, str) else None}
    holdout = {"part": 0.25, "by": by}
    file = tmp_path / "a.csv"
    settings, everything = (
        CsvSettings(source="csv", path=file, newest=n, holdout=holdout, gap=gap, **said)
        for n in (newest, None)
    )
    file.write_text("t,v,w\n" + text(0, ROWS, whose or str))
    whole = divided(open_source(everything).read(), everything)
    file.write_text("t,v,w\n")
    growing = open_source(settings)
    for step, last in enumerate(range(20, ROWS + 1, 19)):
        with file.open("a") as more:
            more.write(text(max(0, last - 19) if last > 20 else 0, last, whose or str))
        samples = growing.read()
        training, held = divided(samples, settings)
        assert training <= whole[0] if gap else training | held == set(samples.X[:, 1].tolist())
        assert held <= whole[1]
        assert not training & whole[1]
        if step % 4 == 0:  # so it is also for who begins here; the first time and the last one among them
            assert divided(open_source(settings).read(), settings) == (training, held)


@pytest.mark.parametrize("by", BYS)
@pytest.mark.parametrize("series", [True, False])
def test_so_it_is_of_arrays(by: By, series: bool, tmp_path: Path) -> None:
    settings, everything = (
        NpzSettings(source="npz", path=tmp_path / "a.npz", newest=n, holdout={"part": 0.25, "by": by})
        for n in (50, None)
    )
    for rows in range(60, 200, 7):
        number = np.arange(rows)
        X, runs = np.column_stack([number, number]), number // 9 if series else np.zeros(rows, np.int64)
        np.savez(tmp_path / "a.npz", X=X, series=runs)
        whole = divided(open_source(everything).read(), everything)
        training, held = divided(open_source(settings).read(), settings)
        assert (training <= whole[0], held <= whole[1], len(training) + len(held)) == (True, True, 50)


def test_a_rotated_log_counts_on(tmp_path: Path) -> None:
    """Whichever of its files a row stands in by now."""
    settings = CsvSettings(
        source="csv",
        path=tmp_path,
        files="a.csv*",
        newest=60,
        holdout={"part": 0.25, "by": "every"},
    )
    (tmp_path / "a.csv").write_text("t,v,w\n" + text(0, 90, str))
    growing = open_source(settings)
    training, held = divided(growing.read(), settings)
    (tmp_path / "a.csv").rename(tmp_path / "a.csv.1")
    (tmp_path / "a.csv").write_text("t,v,w\n" + text(90, 103, str))
    then, held_then = divided(growing.read(), settings)
    assert not training & held_then
    assert not held & then
    assert held_then == {v for v in range(43, 103) if v % 4 == 3}


def test_a_snapshot_is_of_rows_that_stay_in_training(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    settings = CsvSettings(source="csv", path=file, newest=100, holdout={"part": 0.5, "by": "every"})
    file.write_text("t,v,w\n" + text(0, 100, str))
    first = current(None, open_source(settings).read(), settings)
    with file.open("a") as more:
        more.write(text(100, 101, str))
    assert current(first, open_source(settings).read(), settings) is first


def test_a_gap_is_kept_to_a_row_that_is_forgotten() -> None:
    before = DroppedRows(np.array([8]), np.array([0]))
    training, held = divide(np.zeros(12, np.int64), 0.25, 3, "every", before)
    assert (training.tolist(), held.tolist()) == ([], [3, 7, 11])
    training, held = divide(np.zeros(12, np.int64), 0.1, 3, "every", before)
    assert (training.tolist(), held.tolist()) == ([5, 6, 7], [1, 11])


def test_one_wrong_time_changes_no_order_of_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count that is far too large has all others taken for milliseconds from then on."""
    monkeypatch.setattr(thinning, "SLACK", 0)
    settings = CsvSettings(source="csv", path=tmp_path / "a.csv", newest=20, series="w", time="t")
    settings.path.write_text("t,v,w\n" + text(0, 60, lambda i: f"r{i // 10}"))
    growing = open_source(settings)
    growing.read()
    with settings.path.open("a") as more:
        more.write("1700000000000000,0,r5\n" + text(60, 90, lambda i: f"r{5 - i // 20}"))
    found, whole = growing.read().earlier, open_source(settings).read().earlier
    assert found is not None
    assert whole is not None
    assert found.place.tolist() == whole.place.tolist() == [1, 2, 5]
