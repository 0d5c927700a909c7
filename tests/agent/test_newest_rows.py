"""`[data] newest`: only the newest rows are used."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from agent.cli.check import check
from agent.config import AgentSettings
from agent.settings.sources import CsvSettings, NpzSettings
from agent.sources import newest_rows as thinning
from agent.sources import open_source
from agent.sources.times import Times, seconds
from fedge.errors import ConfigError, DataError
from tests.agent.timed_rows import DAY, HEADER, line, read, settings, slack, values
from tests.wording import assert_tells, lines_telling, telling

__all__ = ["slack"]


@pytest.mark.usefixtures("slack")
def test_the_last_rows_as_they_stand_over_all_files(tmp_path: Path) -> None:
    for day in range(4):
        (tmp_path / f"{day}.csv").write_text(
            HEADER + "".join(line(100 - i, day * 100 + i) for i in range(20))
        )
    samples = read(tmp_path, newest=25)
    assert values(samples) == [215.0, 216, 217, 218, 219, *range(300, 320)]
    assert samples.of == 80
    assert samples.blocks == ((str(tmp_path / "2.csv"), 5), (str(tmp_path / "3.csv"), 20))
    assert samples.place(0) == f"{tmp_path / '2.csv'}: line 17"
    assert samples.y is not None
    assert len(samples.y) == len(samples.series) == 25
    assert read(tmp_path, newest=80).of is None


@pytest.mark.usefixtures("slack")
def test_with_time_the_latest_ones_wherever_they_stand(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    when = rng.permutation(200)
    for part in range(4):
        (tmp_path / f"{part}.csv").write_text(
            HEADER + "".join(line(1_700_000_000 + t, t) for t in when[part * 50 : part * 50 + 50])
        )
    assert values(read(tmp_path, newest=30, time="t")) == list(range(170, 200))


@pytest.mark.usefixtures("slack")
def test_days_are_counted_from_the_newest_row(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    first = 1_700_000_000
    file.write_text(HEADER + "".join(line((first + i * DAY // 4) * 1_000, i) for i in range(100)))
    samples = read(file, newest="5 days", time="t")
    assert values(samples) == list(range(79, 100)), "the oldest is five days old"
    assert samples.of == 100
    file.write_text(HEADER + "".join(line(f"2026-05-{1 + i:02}T12:00:00Z", i) for i in range(30)))
    assert values(read(file, newest="1 day", time="t")) == [28, 29]


@pytest.mark.usefixtures("slack")
def test_a_row_without_a_time_is_as_old_as_the_row_before_it(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    cells = [(1_700_000_000 + i * DAY if i % 3 else "?", i) for i in range(40)]
    file.write_text(HEADER + "".join(line(*cell) for cell in cells))
    found = values(read(file, newest=20, time="t"))
    assert found == list(range(20, 40))
    samples = read(file, newest="3 days", time="t")
    assert values(samples) == [35, 36, 37, 38, 39]  # 36 counts as 35
    assert any(lines_telling(told, "2 rows", "time") for told in samples.reading)


@pytest.mark.usefixtures("slack")
def test_the_first_row_of_a_file_may_lack_its_time(tmp_path: Path) -> None:
    first = 1_700_000_000
    (tmp_path / "a.csv").write_text(HEADER + "".join(line(first + i, i) for i in range(30)))
    (tmp_path / "b.csv").write_text(
        HEADER + "".join(line(first + i if i > 30 else "?", i) for i in range(30, 40))
    )
    assert values(read(tmp_path, newest=20, time="t")) == list(range(20, 40))
    assert len(read(tmp_path, newest="1 day", time="t").X) == 40


@pytest.mark.parametrize("newest", [20, "1 days"])
def test_rows_without_a_time_at_the_top_of_a_file_follow_the_file_before(
    newest: int | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if that one has grown since."""
    monkeypatch.setattr(thinning, "SLACK", 0)
    monkeypatch.setattr("agent.sources.text_file.BLOCK", 7)
    source = open_source(CsvSettings(source="csv", path=tmp_path, time="t", newest=newest))
    start = 1_700_000_000
    (tmp_path / "a.csv").write_text(HEADER + "".join(line(start + i, i) for i in range(10)))
    later = "".join(line(start + DAY + 3_600 * i, 100 + i) for i in range(30))
    (tmp_path / "b.csv").write_text(HEADER + line("", 98) + line("x", 99) + later)
    assert 99 not in values(source.read())
    with (tmp_path / "a.csv").open("a") as more:
        more.write(line(start + 10 * DAY, 10))
    samples = source.read()
    assert values(samples)[-3:] == [10, 98, 99]
    assert values(samples) == values(read(tmp_path, time="t", newest=newest))


def test_a_time_stays_known_when_the_row_that_had_it_is_forgotten() -> None:
    times = Times()
    times.take(["5", "7"])
    times.take(["?", "?"])
    times.keep(np.array([2, 3]))
    assert seconds([times]).tolist() == [7, 7]
    assert times.unknown.tolist() == [True, True]
    assert times.span == (5, 7)


def test_days_of_a_clock_that_counts_from_another_moment_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(HEADER + "".join(line(i * 60, i) for i in range(40)))
    with pytest.raises(DataError, match=r"1970.*number of rows"):
        read(file, newest="2 days", time="t")
    assert len(read(file, newest=30, time="t").X) == 30


def test_what_is_too_old_cannot_matter(tmp_path: Path) -> None:
    """A column that old files lack, cells that could not be read, an infinite value."""
    (tmp_path / "1.csv").write_text("t,label\n1,walk\n2,sit\n")
    (tmp_path / "2.csv").write_text(HEADER + "".join(line(i, "inf" if i < 5 else i) for i in range(60)))
    samples, all_of_it = read(tmp_path, newest=50), read(tmp_path)
    assert samples.columns is not None
    assert all_of_it.columns is not None
    assert samples.of == 62
    assert samples.unread == {}
    assert samples.columns.index("v") not in samples.faults
    v = all_of_it.columns.index("v")
    assert all_of_it.unread[v].count == 5
    assert v in all_of_it.faults


def test_unread_cells_are_told_of_the_rows_that_are_used(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(HEADER + "".join(line(i, "error" if i in (5, 45) else i) for i in range(60)))
    (about,) = read(file, newest=30).unread.values()
    assert (about.count, about.rows, about.row) == (1, 30, 15)
    assert_tells(about.first.text, f"{file}: line 47, column 'v': ")


def test_copies_and_sensors_are_found_though_none_of_their_rows_is_used(tmp_path: Path) -> None:
    content = HEADER + "".join(line(i, i) for i in range(50))
    (tmp_path / "a.csv").write_text(content)
    (tmp_path / "b.csv").write_text(content)
    with pytest.raises(DataError, match=telling(f"{tmp_path}/a.csv", f"{tmp_path}/b.csv", "copy")):
        read(tmp_path, newest=20)
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text(
            "time,seconds_elapsed,z\n"
            + "".join(f"{1_700_000_000 + i},{i},{i + ord(name)}\n" for i in range(50))
        )
    with pytest.raises(DataError, match=telling("a.csv, b.csv: ", "[data] path")):
        read(tmp_path, newest=20)


def test_arrays(tmp_path: Path) -> None:
    X = np.arange(100, dtype=np.float64).reshape(50, 2)
    X[3, 1] = X[45, 0] = np.inf
    np.savez(tmp_path / "a.npz", X=X, y=np.arange(50) % 2, series=np.arange(50) // 10)
    samples = open_source(NpzSettings(source="npz", path=tmp_path / "a.npz", newest=30)).read()
    np.testing.assert_array_equal(samples.X, X[20:].astype(np.float32))
    assert samples.y is not None
    assert samples.y.tolist() == [0, 1] * 15
    assert samples.series.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert list(samples.faults) == [0]
    assert_tells(samples.faults[0].text, f"{tmp_path / 'a.npz'}: row 45, column 0: ")
    assert (samples.place(25), samples.of) == (f"{tmp_path / 'a.npz'}: row 45", 50)


def test_check_says_how_many_of_how_many(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        HEADER + "".join(f"{i},{i * 0.37 % 5},{('walk', 'sit')[i % 2]}\n" for i in range(200))
    )
    configured = settings(tmp_path, 'path = "a.csv"\nnewest = 100\n')
    out = io.StringIO()
    check(configured, out, as_json=False)
    assert_tells(out.getvalue(), "100, ", "200: ", "80 for training, 20 held out")
    out = io.StringIO()
    check(configured, out, as_json=True)
    uses = json.loads(out.getvalue())["uses"]["data"]
    assert (uses["rows"], uses["of_rows"]) == (100, 200)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("19", "20"),
        ('"30 weeks"', '"30 days"'),
        ('"30 days"', "time"),
        ("true", '"30 days"'),
        ("1.5", '"30 days"'),
    ],
)
def test_what_cannot_be_meant(said: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="newest") as error:
        settings(tmp_path, f'path = "a.csv"\nnewest = {said}\n')
    assert told in str(error.value)


def test_a_variable_says_rows_too(tmp_path: Path) -> None:
    settings(tmp_path, 'path = "a.csv"\n')
    loaded = AgentSettings.load(tmp_path / "agent.toml", {"FEDGE_AGENT_DATA__NEWEST": "5000"})
    assert loaded.data.newest == 5_000
