"""`[data] newest` and clocks that were wrong: a row from the future does not make the others old."""

import io
from pathlib import Path

import pytest

from agent.cli.check import check
from agent.shell.data_log import Logbook
from agent.sources import CsvSource, open_source
from agent.sources.form_settings import FormSettings
from agent.sources.newest_rows import Newest
from agent.sources.times import written
from tests.agent.timed_rows import DAY, HEADER, TASK, line, settings, slack, values
from tests.wording import assert_tells

__all__ = ["slack"]

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
