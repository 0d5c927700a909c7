"""Of which columns an owner is told that float32 leaves few values: none that the task takes in float64."""

from pathlib import Path

import numpy as np
import pytest

from agent.data.data_warnings import warnings_of
from agent.data.finding import Finding
from agent.data.inventory import take_inventory
from agent.settings.data import DataSettings
from agent.sources import CsvSource
from fedge.nn.spec import Dense, LayerSpec, NetworkSpec, Rescale, Standardize
from fedge.wire.messages.task import Task
from tests.wording import assert_tells

SECONDS = 1.7e9 + 0.25 + np.arange(160.0)
NARROW = np.array([1.7e9], np.float32).tobytes()
SETTINGS = DataSettings(missing="fill")
UNSURVEYED: tuple[LayerSpec, ...] = ()
NARROWED = (Standardize(mean=NARROW, scale=np.array([50], np.float32).tobytes()),)
EXACT = (
    Standardize(
        mean=NARROW, scale=np.array([50], np.float32).tobytes(), rest=np.array([13], np.float32).tobytes()
    ),
)


def told(folder: Path, task: Task, seconds: np.ndarray = SECONDS) -> dict[str, Finding]:
    """By what they are about, the findings of a file with the columns `seen` and `heat`."""
    lines = [f"{second!r},{i % 7}" for i, second in enumerate(seconds.tolist())]
    (folder / "a.csv").write_text("\n".join(["seen,heat", *lines, ""]))
    samples = CsvSource(folder / "a.csv", "label").read()
    return {one.kind: one for one in warnings_of(take_inventory(samples, SETTINGS, task), SETTINGS, task)}


def of_time(first: tuple[LayerSpec, ...]) -> Task:
    """Heat is predicted from the time."""
    spec = NetworkSpec(inputs=1, layers=(*first, Dense(units=1)), loss="mse")
    return Task(network=spec, features=("seen",), targets=("heat",))


@pytest.mark.parametrize(("first", "named"), [(UNSURVEYED, False), (EXACT, False), (NARROWED, True)])
def test_a_feature_is_named_where_the_survey_has_settled_that_it_is_narrowed(
    first: tuple[LayerSpec, ...], named: bool, tmp_path: Path
) -> None:
    found = told(tmp_path, of_time(first))
    assert ("float32" in found) == named
    if named:
        assert found["float32"].column == "seen"
        assert_tells(found["float32"].remedy or "", "new generation")


def test_a_target_is_named_whatever_features_are_and_no_new_generation_helps(tmp_path: Path) -> None:
    first = Standardize(mean=bytes(4), scale=np.array([1], np.float32).tobytes(), rest=bytes(4))
    last = Rescale(mean=NARROW, scale=np.array([50], np.float32).tobytes())
    spec = NetworkSpec(inputs=1, layers=(first, Dense(units=1), last), loss="mse")
    found = told(tmp_path, Task(network=spec, features=("heat",), targets=("seen",)))
    assert found["float32"].column == "seen"
    assert "new generation" not in (found["float32"].remedy or "")


def test_how_far_a_value_lies_is_told_of_the_value_as_it_was_read(tmp_path: Path) -> None:
    """100 seconds from the mean: float32, which rounds to 128, has 64 or none."""
    mean = np.float64(np.float32(1.7e9)) + 13
    seconds = np.where(np.arange(160) == 7, mean + 100, mean + np.arange(160) % 2)
    first = Standardize(
        mean=NARROW,
        scale=np.array([1], np.float32).tobytes(),
        rest=np.array([13], np.float32).tobytes(),
        clip=20,
    )
    found = told(tmp_path, of_time((first,)), seconds)
    assert_tells(found["far"].what, "100 ")
    assert found["far"].count == 1
