"""Surveys tell the same until enough rows are new: no two of them give a row away."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.cli.survey import NOTHING, describe, measure_anew
from agent.config import AgentSettings
from agent.data.dataset import fit
from agent.data.moments import measured
from agent.data.snapshot import (
    current,
    digest_of,
)
from agent.settings.data import DataSettings
from agent.settings.sources import CsvSettings
from agent.shell.memory import Memory
from agent.shell.memory_layout import FILE
from agent.sources import open_sources
from agent.sources.arrays import samples_from_arrays
from fedge.data.moments import Moments
from fedge.errors import Conflict
from fedge.nn.spec import Dense, NetworkSpec
from fedge.storage.locks import lock
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.task import Task
from tests.agent.surveyed_device import ROWS, TOML, Device, blob, device, task, told
from tests.wording import assert_tells, telling

__all__ = ["device"]


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
