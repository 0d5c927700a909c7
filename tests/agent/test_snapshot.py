"""Surveys tell the same until enough rows are new: no two of them give a row away."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.cli.survey import NOTHING, describe, measure_anew
from agent.config import AgentSettings
from agent.core.events import Done
from agent.data.dataset import fit
from agent.data.moments import measured
from agent.data.snapshot import (
    KEPT,
    NEW_ROWS,
    Snapshot,
    count_new,
    current,
    digest_of,
    hash_rows,
)
from agent.settings.data import DataSettings
from agent.settings.sources import CsvSettings
from agent.shell.memory import Memory
from agent.shell.memory_layout import FILE
from agent.sources import open_sources
from agent.sources.arrays import samples_from_arrays
from agent.trainers.worker import Worker
from fedge.data.moments import Moments
from fedge.errors import Conflict, DamagedState
from fedge.nn.spec import Dense, NetworkSpec
from fedge.storage.locks import lock
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.message import unpack
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task
from tests.agent.test_trainer_limits import job
from tests.wording import assert_tells, telling

TOML = 'federation = "lab"\ndevice = "pi-1"\n[data]\nsource = "csv"\npath = "data.csv"\n'
ROWS = np.random.default_rng(3).normal(20, 5, size=(400, 3)).round(3)
"""Columns a, b, c of the file."""


def task(features: tuple[str, ...] = ("a", "b"), targets: tuple[str, ...] = ("c",), **more: Any) -> Task:
    network = NetworkSpec(inputs=len(features), layers=(Dense(units=len(targets)),), loss="mse")
    return Task(network=network, features=features, targets=targets, **more)


class Device:
    """A device's data and memory; each survey is that of a process of its own."""

    def __init__(self, folder: Path, data: str = "") -> None:
        self.folder = folder
        self.write(ROWS[:100])
        self.configure(data)
        (folder / "state").mkdir()

    def configure(self, data: str) -> None:
        (self.folder / "agent.toml").write_text(TOML + data)
        self.settings = AgentSettings.load(self.folder / "agent.toml", {})

    def write(self, rows: Any, name: str = "data.csv") -> None:
        lines = (",".join("" if np.isnan(value) else str(value) for value in row) for row in rows)
        (self.folder / name).write_text("\n".join(("a,b,c", *lines)) + "\n")

    def survey(self, asked: Task | None = None, generation: int = 1) -> Survey:
        memory = Memory(self.folder / "state" / FILE)
        posted: list[Any] = []
        trainer = Worker(self.settings, open_sources(self.settings), posted.append, memory.snapshots())
        work = job(asked or task(), None)
        manifest = work.manifest.model_copy(update={"generation": generation, "task": blob(generation)})
        done = trainer.work(type(work)(manifest, work.task, None, {}))
        assert isinstance(done, Done), done
        memory.save_update(Attempt(RoundId(generation, 0), 0), done.digest, done.payload, done.snapshot)
        memory.close()
        return unpack(done.payload, Survey, max_bytes=len(done.payload))


def blob(number: int) -> Blob:
    return Blob(digest=bytes([number]) * 32, slot=0, frames=1, size=100)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def told(survey: Survey) -> tuple[int, bytes, bytes]:
    return survey.samples, survey.features, survey.targets


def test_two_surveys_around_one_new_row_tell_the_same(device: Device) -> None:
    before = device.survey()
    device.write(ROWS[:101])
    after = device.survey(generation=2)
    assert told(after) == told(before)
    assert (after.generation, after.base) == (2, blob(2).digest), "of the new round, of its task"


def test_the_first_survey_tells_the_moments_of_the_training_part(device: Device) -> None:
    survey = device.survey()
    training = ROWS[:80].astype(np.float32)  # a fifth is held out
    assert survey.samples == 80
    assert survey.features == measured(training[:, :2], "ab").to_bytes()
    count, mean, m2 = np.frombuffer(survey.targets, "<f8")
    c = training[:, 2].astype(np.float64)
    assert (count, mean) == (80, pytest.approx(c.mean(), abs=0.05))  # rounded, as 19.7 and 5.3
    assert np.sqrt(m2 / 80) == pytest.approx(c.std(), abs=0.05)


def test_it_measures_anew_when_twenty_rows_of_the_training_part_are_new(device: Device) -> None:
    before = device.survey()
    for rows in (105, 110, 123):  # 99 of 123 are for training
        device.write(ROWS[:rows])
        assert told(device.survey()) == told(before)
    device.write(ROWS[:124])
    after = device.survey()
    assert after.samples == 100
    assert after.features == measured(ROWS[:100, :2].astype(np.float32), "ab").to_bytes()
    device.write(ROWS[:126])
    assert told(device.survey()) == told(after)


def test_rows_that_go_are_no_new_ones_and_a_window_that_moves_has_some(device: Device) -> None:
    before = device.survey()
    device.write(ROWS[1:100])
    assert told(device.survey()) == told(before), "one row less would give that row, too"
    device.write(ROWS[60:100])
    assert told(device.survey()) == told(before)
    for first in range(0, 20):  # a window of 100 rows: as many come as go
        device.write(ROWS[first : first + 100])
        assert told(device.survey()) == told(before)
    device.write(ROWS[20:120])
    assert told(device.survey()) != told(before)


def test_other_columns_are_told_from_the_same_rows(device: Device) -> None:
    """A row that lacks only one column would else be the difference of asking for that and not."""
    rows = ROWS[:100].copy()
    rows[7, 1] = np.nan
    device.configure('missing = "drop"\n')
    device.write(rows)
    first = Moments.from_bytes(device.survey(task(("a",), ("c",))).features, 1)
    device.write(np.concatenate((rows, ROWS[100:103])))
    both = Moments.from_bytes(device.survey(task(("b", "a"), ("c",))).features, 2)
    assert (first.count[0], both.count[1], both.count[0]) == (80, 80, 79)
    assert (first.mean[0], first.m2[0]) == (both.mean[1], both.m2[1])
    b = rows[:80, 1]
    assert both.mean[0] == pytest.approx(b[~np.isnan(b)].mean(), abs=0.05), (
        "never told before, and of the first rows"
    )
    as_target = Moments.from_bytes(device.survey(task(("b",), ("a",))).targets, 1)
    assert (as_target.mean[0], as_target.m2[0]) == (first.mean[0], first.m2[0])


def test_no_choice_of_columns_tells_more_than_one_snapshot(device: Device) -> None:
    rows = ROWS[:100].copy()
    rows[::9, 0], rows[4::7, 1], rows[2::11, 2] = np.nan, np.nan, np.nan
    device.configure('missing = "drop"\n')
    seen: dict[str, set[tuple[float, ...]]] = {"a": set(), "b": set(), "c": set()}
    choices: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
        (("a",), ("b",)), (("b",), ("c",)), (("a", "b"), ("c",)), (("c", "a"), ("b",)), (("c",), ("a",)),
        (("b", "c"), ("a",)), (("a",), ("b", "c")),
    ]  # fmt: skip
    for number, (features, targets) in enumerate(choices):
        device.write(np.concatenate((rows, ROWS[100 : 100 + number])))
        survey = device.survey(task(features, targets))
        for names, body in ((features, survey.features), (targets, survey.targets)):
            moments = Moments.from_bytes(body, len(names))
            for j, name in enumerate(names):
                seen[name].add((survey.samples, moments.count[j], moments.mean[j], moments.m2[j]))
    assert {name: len(values) for name, values in seen.items()} == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize("by", ["time", "every", "random", "series"])
@pytest.mark.parametrize("gap", [None, 2])
def test_the_rows_that_are_measured_are_those_of_training(by: Any, gap: int | None) -> None:
    X = np.random.default_rng(3).normal(size=(200, 2))
    samples = samples_from_arrays("f", X, np.arange(200) % 2, np.arange(200) // 20)
    settings = DataSettings(holdout={"part": 0.2, "by": by}, gap=gap)
    network = NetworkSpec(inputs=2, layers=(Dense(units=2),), loss="cross-entropy")
    dataset = fit(samples, Task(network=network, features=("a", "b"), classes=("0", "1")), settings)
    snapshot = current(None, samples, settings)
    assert snapshot.samples == len(dataset.X) < 200
    expected = measured(np.column_stack([dataset.X, dataset.y]), ["a", "b", "y"])
    assert snapshot.moments.to_bytes() == expected.to_bytes()


def test_a_default_is_no_choice_and_the_digest_is_that_of_0_2_0() -> None:
    """Computed by 0.2.0 of these settings: an upgrade must not have everything measured anew."""
    csv = CsvSettings(source="csv", path=Path("/data/a.csv"))
    said = CsvSettings(source="csv", path=Path("/data/a.csv"), missing="refuse", holdout=0.2, gap=0)
    other = CsvSettings(source="csv", path=Path("/data/a.csv"), missing="drop", holdout=0.29, gap=3)
    found = [digest_of(settings).hex()[:16] for settings in (csv, said, other)]
    assert found == ["eda28384d0deab39", "eda28384d0deab39", "ce657120ffa5f768"]
    assert digest_of(csv.model_copy(update={"range": {"a": (0.0, 1.0)}})) != digest_of(csv)


@pytest.mark.parametrize("change", ["holdout = 0.1\n", 'missing = "drop"\n'])
def test_it_measures_anew_when_its_owner_changed_the_data_section(device: Device, change: str) -> None:
    before = device.survey()
    device.write(ROWS[:101])
    device.configure("")
    assert told(device.survey()) == told(before), "written again, and the same"
    device.configure(change)
    assert told(device.survey()) != told(before)


def test_a_key_that_an_upgrade_brings_is_no_change_of_the_owners(device: Device) -> None:
    section = device.settings.offered["data"]

    class Newer(type(section)):  # type: ignore[misc]
        """The section of the next release."""

        smoothing: int = 0

    told = section.model_dump(exclude_unset=True)
    assert digest_of(Newer(**told)) == digest_of(section)
    assert digest_of(Newer(**told, smoothing=3)) != digest_of(section)
    assert digest_of(Newer(**told | {"path": Path("other.csv")})) != digest_of(section)


def test_it_measures_anew_when_its_owner_says_so(device: Device) -> None:
    assert measure_anew(device.settings) == NOTHING
    before = device.survey()
    device.write(ROWS[:101] + 1)  # a sensor was mended
    device.write(ROWS[:101])
    assert told(device.survey()) == told(before)
    assert_tells(measure_anew(device.settings), "deleted", "data")
    assert told(device.survey()) != told(before)


def test_a_running_agent_is_not_disturbed(device: Device) -> None:
    device.survey()
    lock(device.settings.state.folder)
    with pytest.raises(Conflict, match=telling("stop the agent")):
        measure_anew(device.settings)
    assert_tells(describe(device.settings), "source data: 80 rows")


def test_the_owner_sees_what_is_told(device: Device) -> None:
    assert describe(device.settings) == NOTHING
    device.survey()
    said = describe(device.settings)
    assert_tells(said.splitlines()[0], "source data: 80 rows", "20 rows")
    assert "  column a: 80 values, mean 19.7, spread 5.3" in said
    device.configure("holdout = 0.1\n")
    assert_tells(describe(device.settings), "source data: 80 rows", "changed")


def test_sources_are_told_each_on_its_own(device: Device) -> None:
    device.configure('[sources.heart]\nsource = "csv"\npath = "heart.csv"\n')
    device.write(ROWS[:60], "heart.csv")
    data, heart = device.survey(), device.survey(task(source="heart"))
    assert (data.samples, heart.samples) == (80, 48)
    device.write(ROWS[:101])
    assert told(device.survey()) == told(data)
    assert told(device.survey(task(source="heart"))) == told(heart)


def test_few_values_are_told_as_none_also_from_memory(device: Device) -> None:
    rows = ROWS[:100].copy()
    rows[19:, 1] = np.nan
    device.configure('missing = "fill"\n')
    device.write(rows)
    for _ in range(2):
        found = Moments.from_bytes(device.survey().features, 2)
        assert (found.count[1], found.mean[1], found.m2[1]) == (0, 0, 0)
        device.write(np.concatenate((rows, ROWS[100:101])))
    assert_tells(describe(device.settings), "column b: ", "not measured")


# ── arrays ─────────────────────────────────────────────────────────────────────────────────────────


def test_columns_without_names_are_known_by_their_place(tmp_path: Path) -> None:
    device = Device(tmp_path)
    (tmp_path / "agent.toml").write_text(TOML.replace("csv", "npz"))
    device.settings = AgentSettings.load(tmp_path / "agent.toml", {})
    rows = np.random.default_rng(1).normal(size=(101, 3))

    def write(n: int) -> None:
        np.savez(tmp_path / "data.npz", X=rows[:n, :2], y=rows[:n, 2])

    write(100)
    before = device.survey(task(("any", "names"), ("y",)))
    assert before.targets == measured(rows[:80, 2:].astype(np.float32), "y").to_bytes()
    write(101)
    assert told(device.survey(task(("others", "now"), ("z",)))) == told(before)


# ── rows ───────────────────────────────────────────────────────────────────────────────────────────


def samples_of(device: Device) -> Any:
    return open_sources(device.settings)["data"].read()


def everything(samples: Any) -> Any:
    return np.arange(len(samples.X))


def test_rows_are_told_apart_by_what_stands_in_them(device: Device) -> None:
    def hashes(rows: Any) -> Any:
        device.write(rows)
        samples = samples_of(device)
        return hash_rows(samples, everything(samples))

    first = hashes(ROWS[:100])
    assert len(first) == 100
    assert np.array_equal(hashes(ROWS[:100][::-1]), first), "in whichever order"
    assert count_new(first, hashes(ROWS[:130])) == 30
    assert count_new(first, hashes(ROWS[50:130])) == 30
    changed = ROWS[:100].copy()
    changed[3, 2] += 0.001
    assert count_new(first, hashes(changed)) == 1
    stuck = np.repeat(ROWS[:1], 40, axis=0)
    forty = hashes(stuck)
    assert len(forty) == 40, "equal rows are as many as they are"
    assert count_new(forty, hashes(np.repeat(ROWS[:1], 65, axis=0))) == 25
    assert count_new(forty, hashes(stuck[:30])) == 0


@pytest.mark.parametrize("new", [19, 1_000, 4_000])
def test_of_many_rows_a_sample_is_kept_and_never_counts_a_row_as_new_that_is_not(new: int) -> None:
    rng = np.random.default_rng(new)
    rows = np.unique(rng.integers(0, 2**63, size=100_000 + new, dtype=np.uint64))
    rng.shuffle(rows)
    before, after = np.sort(rows[:100_000])[:KEPT], np.sort(rows)
    found = count_new(before, after)
    assert found <= new
    if new == 4_000:
        assert found >= NEW_ROWS, "some 160 of 4,000"


def test_a_snapshot_is_read_as_it_was_written(device: Device) -> None:
    samples = samples_of(device)
    snapshot = current(None, samples, device.settings.offered["data"])
    again = Snapshot.from_bytes(snapshot.to_bytes())
    assert again.to_bytes() == snapshot.to_bytes()
    assert (again.columns, again.samples) == (("column a", "column b", "column c"), 80)
    assert np.array_equal(again.rows, snapshot.rows)
    assert current(again, samples, device.settings.offered["data"]) is again


def test_a_flipped_bit_in_what_was_told_is_noticed(device: Device) -> None:
    device.survey()
    path = device.folder / "state" / FILE
    memory = Memory(path)
    memory._db.execute("UPDATE told SET snapshot = CAST(replace(snapshot, 'samples', 'sampled') AS BLOB)")
    memory.close()
    with pytest.raises(DamagedState, match=telling("'data'", "proof")):
        Memory(path)


def test_what_was_told_is_durable_with_the_survey_or_not_at_all(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full: nothing is told, so the next try may measure anew."""
    samples = samples_of(device)
    snapshot = current(None, samples, device.settings.offered["data"])
    memory = Memory(device.folder / "state" / FILE)
    memory._db.execute("CREATE TRIGGER t BEFORE INSERT ON told BEGIN SELECT RAISE(ABORT, 'disk'); END")
    with pytest.raises(Exception, match="disk"):
        memory.save_update(Attempt(RoundId(1, 0), 0), b"d" * 32, b"payload", ("data", snapshot))
    assert (memory.saved(), memory.snapshots()) == (None, {})
    memory.close()


def test_names_of_columns_are_described_as_a_terminal_can_show_them(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(
        "".join(f'{{"a\\ud800": {i}, "b\\u001b[2J": {i}, "c": {i}}}\n' for i in range(60))
    )
    (tmp_path / "state").mkdir()
    (tmp_path / "agent.toml").write_text(TOML)
    settings = AgentSettings.load(tmp_path / "agent.toml", {})
    memory = Memory(tmp_path / "state" / FILE)
    snapshot = current(None, open_sources(settings)["data"].read(), settings.data)
    memory.save_update(Attempt(RoundId(1, 0), 0), bytes(32), b"", ("data", snapshot))
    memory.close()
    said = describe(settings)
    assert "column a\\ud800: 48 values" in said
    assert "\x1b" not in said


def test_a_fine_column_is_told_of_exactly_and_of_the_training_rows_alone(tmp_path: Path) -> None:
    """Seconds that spread 30: numbers of float32 are 128 apart there, and those that are held out lie far."""
    device = Device(tmp_path, "holdout = 0.25\n")
    seconds = 1.7e9 + np.random.default_rng(4).normal(17, 30, 100).round(2)
    seconds[75:] += 5_000
    device.write(np.column_stack([seconds, ROWS[:100, 1:]]))
    found = Moments.from_bytes(device.survey().features, 2)
    spread = np.sqrt(found.m2[0] / found.count[0])
    assert found.count[0] == 75
    assert spread == pytest.approx(seconds[:75].std(), rel=0.05)
    assert abs(found.mean[0] - seconds[:75].mean()) <= 0.05 * spread
