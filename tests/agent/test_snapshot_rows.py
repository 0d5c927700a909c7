"""How the rows behind a survey are told apart, kept and read again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.config import AgentSettings
from agent.data.moments import measured
from agent.data.snapshot import (
    KEPT,
    NEW_ROWS,
    Snapshot,
    count_new,
    current,
    hash_rows,
)
from agent.shell.memory import Memory
from agent.shell.memory_layout import FILE
from agent.sources import open_sources
from fedge.data.moments import Moments
from fedge.errors import DamagedState
from fedge.wire.freshness import Attempt, RoundId
from tests.agent.surveyed_device import ROWS, TOML, Device, device, task, told
from tests.wording import telling

__all__ = ["device"]


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
