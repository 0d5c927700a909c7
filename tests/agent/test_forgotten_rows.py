"""`[data] newest`: rows that are too old are not kept in memory."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from agent.settings.sources import CsvSettings
from agent.sources import newest_rows as thinning
from agent.sources import open_source
from fedge.errors import DataError
from tests.wording import telling

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


@pytest.mark.slow  # files of 300,000 rows
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
