"""What float32 takes away of values is kept for columns that may be too fine for it, and for no other."""

from pathlib import Path

import numpy as np
import pytest

from agent.settings.sources import CsvSettings
from agent.sources import CsvSource, NpzSource, Samples, open_source
from agent.sources.remainders import CHUNK, PART, Remainders, remainders

N = 1_000
EPOCH = 1.7e9 + np.arange(N) + 0.25
ROOM = np.random.default_rng(0).normal(20, 2, N).round(1)


def kept(values: np.ndarray, step: int = N) -> bool:
    """Whether the rest of one column is, when rows come `step` at a time."""
    X = values[:, None]
    found = Remainders(1)
    with np.errstate(over="ignore"):
        for start in range(0, len(X), step):
            found.take(X[start : start + step], X[start : start + step].astype(np.float32))
    rest = found.column(0)
    if rest is not None:
        known = ~np.isnan(values)
        np.testing.assert_array_equal((values.astype(np.float32) + rest)[known], values[known])
    return rest is not None


JUMP = np.where(np.arange(N) < 30, np.arange(N) + 0.25, EPOCH)
"""A clock that is set after half a minute."""
FINE = {
    "epoch": EPOCH,
    "pressure": 101_325 + np.random.default_rng(1).normal(0, 0.01, N),
    "a set clock": JUMP,
    "with gaps": np.where(np.arange(N) % 3 == 0, np.nan, EPOCH),
    "constant": np.full(N, 0.1),
    "few rows": ROOM[: CHUNK - 1],
}
ENOUGH = {
    "room": ROOM,
    "with gaps": np.where(np.arange(N) % 3 == 0, np.nan, ROOM),
    "far ones": np.where(np.arange(N) % 100 == 0, -9999.0, ROOM),
    "whole numbers": np.arange(float(N)) % 2,
    "constant that float32 has": np.full(N, 0.5),
    "nothing": np.full(N, np.nan),
}


CASES = {**dict.fromkeys(FINE, True), **dict.fromkeys((f"{name} (not)" for name in ENOUGH), False)}


@pytest.mark.parametrize("step", [N, 7, PART + 1, CHUNK])
@pytest.mark.parametrize(
    ("values", "fine"),
    [*zip([*FINE.values(), *ENOUGH.values()], CASES.values(), strict=True)],
    ids=CASES,
)
def test_which_columns_are_kept_depends_on_the_rows_and_not_on_how_they_come(
    values: np.ndarray, fine: bool, step: int
) -> None:
    assert kept(values, step) == fine


def test_what_is_asked_for_is_kept_of_all_columns() -> None:
    found = Remainders(1, all_of_them=True)
    found.take(ROOM[:, None], ROOM[:, None].astype(np.float32))
    rest = found.column(0)
    assert rest is not None
    np.testing.assert_array_equal(ROOM.astype(np.float32) + rest, ROOM)


def csv(path: Path, first: int = 0, count: int = N) -> Path:
    lines = [f"{1.7e9 + i + 0.25!r},{ROOM[i % N]!r},{'ab'[i % 2]}" for i in range(first, first + count)]
    with path.open("a", encoding="utf-8") as file:
        if not first:
            file.write("seen,heat,label\n")
        file.write("\n".join([*lines, ""]))
    return path


def seen(samples: Samples) -> np.ndarray:
    assert samples.columns is not None
    j = samples.columns.index("seen")
    assert set(samples.rest) == {j}, "of the other columns float32 has enough"
    return samples.X[:, j] + samples.rest[j]


def test_values_of_a_csv_are_as_they_stand_there(tmp_path: Path) -> None:
    source = CsvSource(csv(tmp_path / "a.csv"), "label")
    np.testing.assert_array_equal(seen(source.read()), EPOCH)
    csv(tmp_path / "a.csv", N, 50)
    np.testing.assert_array_equal(seen(source.read()), 1.7e9 + np.arange(N + 50) + 0.25)


@pytest.mark.parametrize("backwards", [False, True])
def test_newest_rows_order_of_time_and_several_files(tmp_path: Path, *, backwards: bool) -> None:
    """The rows of `b.csv` that are forgotten stand before those that are kept, or behind them."""
    csv(tmp_path / "b.csv")
    first, *lines = (tmp_path / "b.csv").read_text(encoding="utf-8").splitlines()
    lines = lines[::-1] if backwards else lines
    (tmp_path / "b.csv").write_text("\n".join([first, *lines, ""]), encoding="utf-8")
    csv(tmp_path / "a.csv", N, 500)
    settings = CsvSettings(source="csv", path=tmp_path, time="seen", newest=700)
    with (tmp_path / "a.csv").open() as file:
        rest = file.read()
    (tmp_path / "a.csv").write_text(f"seen,heat,label\n{rest}", encoding="utf-8")
    found = open_source(settings).read()
    np.testing.assert_array_equal(seen(found), 1.7e9 + np.arange(800, 1_500) + 0.25)


def test_what_the_owner_excludes_is_missing_all_the_same(tmp_path: Path) -> None:
    settings = CsvSettings(source="csv", path=csv(tmp_path / "a.csv"), range={"seen": (1.7e9 + 300, 2e9)})
    values = seen(open_source(settings).read())
    np.testing.assert_array_equal(values, np.where(np.arange(N) < 300, np.nan, EPOCH))


def test_arrays_of_float64_and_of_large_whole_numbers(tmp_path: Path) -> None:
    X = np.stack([EPOCH, ROOM], axis=1)
    np.savez(tmp_path / "a.npz", X=X, features=["seen", "heat"])
    np.testing.assert_array_equal(seen(NpzSource(tmp_path / "a.npz").read()), EPOCH)
    np.testing.assert_array_equal(seen(NpzSource(tmp_path / "a.npz", newest=100).read()), EPOCH[-100:])
    whole = (1_700_000_000_000 + np.arange(N))[:, None]
    (rest,) = remainders(whole, whole.astype(np.float32)).values()
    np.testing.assert_array_equal(whole[:, 0].astype(np.float32) + rest, whole[:, 0])
    assert remainders(X.astype(np.float32), X.astype(np.float32)) == {}, "it is float32 already"
