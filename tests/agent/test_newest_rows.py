"""`[data] newest`: only the newest rows are used, and older ones are not kept in memory."""

import io
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.cli.check import check
from agent.config import AgentSettings
from agent.settings.sources import CsvSettings, NpzSettings
from agent.shell.data_log import Logbook
from agent.sources import CsvSource, Samples, open_source
from agent.sources import newest_rows as thinning
from agent.sources.form_settings import FormSettings
from agent.sources.newest_rows import Newest
from agent.sources.times import Times, seconds, written
from fedge.errors import ConfigError, DataError
from fedge.nn.spec import Dense, NetworkSpec
from fedge.wire.messages.task import Task
from tests.wording import assert_tells, telling

TASK = Task(
    network=NetworkSpec(inputs=1, layers=(Dense(units=2),), loss="cross-entropy"),
    features=("v",),
    classes=("walk", "sit"),
)
HEADER = "t,v,label\n"
DAY = 86_400


def read(path: Path, **settings: Any) -> Samples:
    return open_source(CsvSettings(source="csv", path=path, **settings)).read()


def values(samples: Samples) -> list[float]:
    assert samples.columns is not None
    found: list[float] = samples.X[:, samples.columns.index("v")].tolist()
    return found


def line(t: object, v: object) -> str:
    return f"{t},{v},walk\n"


@pytest.fixture(params=[0, 1 << 16], ids=["forgetting after every block", "at the end"])
def slack(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinning, "SLACK", request.param)
    monkeypatch.setattr("agent.sources.text_file.BLOCK", 7)


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
    assert any("2 rows without a time" in told for told in samples.reading)


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


def settings(folder: Path, data: str) -> AgentSettings:
    (folder / "agent.toml").write_text(f'federation = "lab"\ndevice = "pi-1"\n[data]\nsource = "csv"\n{data}')
    return AgentSettings.load(folder / "agent.toml", {})


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


PEAK = """\
import sys
import tracemalloc
from pathlib import Path
from agent.settings.sources import CsvSettings
from agent.sources import open_source

def peak_kb():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))

newest = int(sys.argv[2]) or None
source = open_source(CsvSettings(source="csv", path=Path(sys.argv[1]), newest=newest))
before = peak_kb()
assert len(source.read().X) == (newest or 300_000)
print(peak_kb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_file_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    """Of 300,000 rows of five columns, 8.4 MB of text, arrays of all and their labels take 15 to 20 MB; of
    1,000 rows next to nothing: there are the 66,000 that wait to be forgotten, and 4,096 as text. To read the
    file at once took eight times its size."""
    file = tmp_path / "a.csv"
    with file.open("w") as text:
        text.write("a,b,c,d,label\n")
        for i in range(300_000):
            text.write(f"{i * 0.25},{i % 97},{i % 89 * 0.5},{-i},{('walk', 'sit')[i % 2]}\n")
    size = file.stat().st_size

    def peak(newest: int) -> int:
        run = [sys.executable, "-c", PEAK, str(file), str(newest)]
        return 1_024 * int(subprocess.run(run, check=True, capture_output=True, text=True).stdout)

    assert peak(1_000) < 2.5 * size
    assert peak(0) < 6 * size


NOW_S = 1_780_000_000.0
"""What the device's clock says: in May 2026."""
IN_2099 = "2099-01-01T00:00:00Z"


def source(path: Path, newest: int | str | None = None, now_s: float = NOW_S) -> CsvSource:
    return CsvSource(
        path, "label", form=FormSettings(time="t"), newest=Newest.of(newest), clock=lambda: now_s
    )


def days_of(path: Path, wrong: dict[int, object], rows: int = 100) -> Path:
    """A row each six hours up to now, some of them with another time."""
    cells = [(wrong.get(i, NOW_S - (rows - 1 - i) * DAY / 4), i) for i in range(rows)]
    path.write_text(HEADER + "".join(line(*cell) for cell in cells))
    return path


@pytest.mark.usefixtures("slack")
@pytest.mark.parametrize("when", [IN_2099, 4_070_908_800, NOW_S + 2 * DAY])
def test_a_time_in_the_future_does_not_make_all_other_rows_old(when: object, tmp_path: Path) -> None:
    """One broken clock, once: days are counted from the newest row that does not lie in the future."""
    samples = source(days_of(tmp_path / "a.csv", {50: when}), "5 days").read()
    assert values(samples) == [*range(79, 100), 50], "it is not known how old that row is: it stays"
    assert samples.ahead is not None
    assert (samples.ahead.count, samples.place(samples.ahead.first)) == (1, f"{tmp_path / 'a.csv'}: line 52")


def test_a_clock_that_is_a_little_ahead_is_no_wrong_one(tmp_path: Path) -> None:
    samples = source(days_of(tmp_path / "a.csv", {99: NOW_S + 0.9 * DAY}), "5 days").read()
    assert samples.ahead is None
    assert values(samples) == list(range(83, 100))  # of 4.1 days and less before it, by now


def test_a_device_whose_own_clock_is_behind_believes_the_rows(tmp_path: Path) -> None:
    """It has no clock that runs while it is off: then most rows lie in the future, and none is lost."""
    file = days_of(tmp_path / "a.csv", {})
    samples = source(file, "5 days", NOW_S - 400 * DAY).read()
    assert values(samples) == list(range(79, 100))
    assert samples.ahead is not None
    assert (samples.ahead.count, samples.ahead.rows) == (21, 21)


@pytest.mark.usefixtures("slack")
@pytest.mark.parametrize("first", [0, 20])
def test_a_wrong_clock_at_the_beginning_costs_no_row_of_later(first: int, tmp_path: Path) -> None:
    """Of all rows three in a hundred lie in the future, and more of the first or the newest ones."""
    file = days_of(tmp_path / "a.csv", {first: IN_2099, first + 2: IN_2099, first + 4: IN_2099})
    samples = source(file, "5 days").read()
    assert values(samples) == [*range(79, 100), first, first + 2, first + 4]
    assert samples.ahead is not None
    assert samples.ahead.believed == written(NOW_S)


def test_what_was_forgotten_while_few_rows_were_there_comes_back(tmp_path: Path) -> None:
    """Of twenty rows one in the future is a twentieth, of ten it is more: then these rows are believed."""
    file = days_of(tmp_path / "a.csv", {5: IN_2099}, rows=10)
    reading = source(file, "5 days")
    assert values(reading.read()) == [5]
    with file.open("a") as more:
        more.writelines(line(NOW_S + i, 100 + i) for i in range(20))
    found = values(reading.read())
    assert found == [0, 1, 2, 3, 4, *range(6, 10), *range(100, 120), 5]
    assert found == values(source(file, "5 days").read())


def test_check_and_log_name_the_row_and_what_to_do(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        (IN_2099 if i == 50 else f"2026-05-01T{i // 60:02}:{i % 60:02}:00Z", i * 0.37) for i in range(200)
    ]
    (tmp_path / "a.csv").write_text(
        HEADER + "".join(f"{t},{v},{('walk', 'sit')[i % 2]}\n" for i, (t, v) in enumerate(rows))
    )
    configured = settings(tmp_path, 'path = "a.csv"\ntime = "t"\nnewest = "30 days"\n')
    out = io.StringIO()
    check(configured, out, as_json=False)
    facts = ("1 of 200 rows", "2099-01-01 00:00:00 UTC", "clock")
    counted = ("30 days", "2026-05-01 03:19:00 UTC", "a.csv: line 52")
    assert_tells(out.getvalue(), *facts, *counted)
    samples = open_source(configured.data).read()
    Logbook().tell("data", samples, configured.data, TASK, b"")
    assert_tells(caplog.text, *facts, "line 52")


def recordings(path: Path, rows: int, each: int) -> CsvSettings:
    """So many rows of each recording."""
    with path.open("w") as file:
        file.write("run,v,label\n")
        file.writelines(f"run-{i // each:07},{i % 97},walk\n" for i in range(rows))
    return CsvSettings(source="csv", path=path, series="run", newest=1_000)


def test_a_series_with_a_value_for_each_row_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    facts = telling("column 'run': ", "[data] series", "50000 ", "[data] newest")
    with pytest.raises(DataError, match=facts):
        open_source(recordings(tmp_path / "a.csv", 200_000, 1)).read()


@pytest.mark.slow
def test_recordings_that_are_forgotten_take_a_bounded_part_of_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One recording is a name of 11 characters, two numbers and a time: 420 bytes, with its places in two
    tables. At the bound of 50,000 that is 21 MB."""
    monkeypatch.setattr(thinning, "SLACK", 1 << 12)

    def held(rows: int) -> float:
        source = open_source(recordings(tmp_path / "a.csv", rows, 2))
        tracemalloc.start()
        samples = source.read()
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(samples.X) == 1_000
        return size

    few, many = held(8_000), held(48_000)
    assert few < many < few + 20_000 * 500
    monkeypatch.setattr(thinning, "MOST_RECORDINGS", 20_000)
    with pytest.raises(DataError, match=telling("20000 ")):
        held(48_000)
