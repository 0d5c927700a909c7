"""What masked rounds cannot be combined with is refused at the start, with the reason and what to do."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.aggregation.masked_mean import as_declared
from aggregator.config import FederationSettings
from aggregator.ledger.records import MaskedSum
from fedge.errors import ConfigError
from fedge.masking.noise import NoisyLevels
from fedge.masking.ring import Ring
from fedge.privacy.mechanism import Grid
from tests.system.toml_text import toml

MODEL = {"features": ["x"], "targets": ["y"]}
PRIVACY = {
    "epsilon": 8.0,
    "noise_multiplier": 4.0,
    "rounds": 10,
    "cohort": 10,
    "clip": 1.0,
    "columns": {"x": [0.0, 1.0], "y": [0.0, 1.0]},
}


SHARED = {**PRIVACY, "mechanism": "distributed"}


def settings(folder: Path, *, ca: bool = True, **tables: Any) -> FederationSettings:
    (folder / "ca.pem").write_text("")
    broker = {"url": "mqtts://127.0.0.1:8883", **({"ca": "ca.pem"} if ca else {})}
    content = {
        "federation": {"name": "pumps"},
        "broker": broker,
        "model": MODEL,
        "masking": {"on": True, "clip": 0.1},
        **tables,
    }
    (folder / "federation.toml").write_text(toml(content))
    return FederationSettings.load(folder / "federation.toml")


def test_what_the_manifest_promises_follows_from_the_settings(tmp_path: Path) -> None:
    rules = settings(tmp_path, masking={"on": True, "clip": 0.1, "cohort": 10}).masking_rules()
    assert rules is not None
    promise = rules.promise()
    assert promise.masked is not None
    assert (promise.masked.cohort, promise.masked.threshold) == (10, 7), "⌊2 · 10 / 3⌋ + 1"
    assert promise.devices == 7, "a sum of fewer is never found"
    assert settings(tmp_path, masking={"on": False}).masking_rules() is None


def test_the_levels_follow_from_the_noise(tmp_path: Path) -> None:
    """n = 10, c = a tenth = 1, and the smallest cohort of 7 has t = 5: m = 4 shares make the noise."""
    masking = {"on": True, "cohort": 7}
    rules = settings(tmp_path, privacy=SHARED, masking=masking).masking_rules()
    assert rules is not None
    assert rules.noise is not None
    assert (rules.noise.devices, rules.noise.threshold_needed, rules.noise.honest) == (10, 5, 4)
    assert (rules.value_bits, rules.clip) == (rules.noise.value_bits, rules.noise.clip)
    assert rules.most == 10
    coarsest = NoisyLevels(Grid(1.0, rules.noise.grid.size, 8), Fraction(4), 10, 1, 10, 5)
    widths = [Ring(each.value_bits, 10).width for each in (coarsest, rules.noise)]
    assert widths[0] == widths[1], "a finer grid is taken only where it costs no bytes"
    assert rules.noise.grid.bits > 8


def test_a_sum_without_the_declared_noise_does_not_count() -> None:
    shares = NoisyLevels(Grid(1.0, 3, 8), Fraction(4), 10, 1, 10, 5)
    names = tuple(f"pi-{number}" for number in range(11))
    levels = np.arange(3)

    def of(devices: int) -> MaskedSum | str:
        return as_declared(MaskedSum(devices, 13, 1.0, names[:devices], levels), shares)

    for devices in (5, 10):
        found = of(devices)
        assert isinstance(found, MaskedSum)
        assert found.weight == 10, "the declared number, whoever survived"
    for devices in (4, 11):
        assert "not released" in str(of(devices))


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"masking": {"on": True}}, "clip: is missing"),
        ({"masking": {"on": True, "clip": 1.0, "threshold": 0.6}}, "threshold: 0.6 is less than the 0.666"),
        (
            {"masking": {"on": True, "clip": 1.0, "threshold": 0.49, "server": "honest-but-curious"}},
            "threshold: 0.49 is less than the 0.5",
        ),
        ({"masking": {"on": True, "clip": 1.0, "columns": {"x": [0.0, 1.0]}}}, "'y' has no mean and spread"),
        (
            {"masking": {"on": True, "clip": 1.0, "columns": {name: [0.0, 1.0] for name in "xyz"}}},
            "'z': [model] has no such column",
        ),
        ({"masking": {"columns": {"x": [0.0, 1.0], "y": [0.0, 1.0]}}}, "columns: they replace the survey"),
        ({"ca": False}, "[broker] ca must name the authority"),
        ({"plan": {"codec": "int8"}}, "cannot be added under masks"),
        ({"plan": {"model_codec": "int8"}}, "model_codec"),
        ({"rule": {"name": "median"}}, "compares single updates"),
        ({"plan": {"local": "scaffold"}, "rule": {"weights": "uniform"}}, "further vectors"),
        ({"personal": {"name": "ditto"}}, "[personal] name"),
        ({"rounds": {"schedule": "buffered", "target": 3}}, "schedule"),
        ({"privacy": PRIVACY, "stopping": {"rounds": 10}}, '[privacy] mechanism = "distributed"'),
        ({"privacy": SHARED}, "[masking] clip: with mechanism"),
        ({"privacy": SHARED, "masking": {"on": True, "max_weight": 2}}, "[masking] max_weight"),
        ({"privacy": SHARED, "masking": {"on": True, "value_bits": 8}}, "[masking] value_bits"),
        ({"privacy": SHARED, "masking": {"on": True, "groups": 3}}, "[masking] groups"),
        ({"privacy": SHARED, "masking": {"on": True, "cohort": 11}}, "[privacy] cohort"),
        ({"privacy": SHARED, "masking": {"on": False}}, "only masks hide single updates"),
        ({"privacy": {**SHARED, "quantile": 0.5}, "masking": {"on": True}}, "the clip is fixed"),
        ({"privacy": SHARED, "masking": {"on": True, "colluders": 3}}, "nobody's share is unknown"),
        ({"privacy": SHARED, "masking": {"on": True}, "rule": {"name": "mean"}}, "leave [rule] out"),
        ({"privacy": SHARED, "masking": {"on": True}, "plan": {"local": "scaffold"}}, "scaffold"),
        ({"stopping": {"rmse": 1.0}}, "tells no figures"),
        ({"stopping": {"patience": 3}}, "tells no figures"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, tables: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        settings(tmp_path, **tables)
    assert said in str(refused.value)


@pytest.mark.parametrize("server", ["lying", "honest-but-curious"])
@pytest.mark.parametrize("percent", [None, 67, 70, 90, 100])
def test_a_threshold_is_a_part_of_the_cohort_and_at_least_what_devices_accept(
    tmp_path: Path, percent: int | None, server: str
) -> None:
    masking = {"on": True, "clip": 0.1, "server": server}
    found = settings(
        tmp_path, masking={**masking, **({} if percent is None else {"threshold": percent / 100})}
    )
    rules = found.masking_rules()
    assert rules is not None
    for devices in range(3, 200):
        threshold = rules.threshold(devices)
        least = 2 * devices // 3 + 1 if server == "lying" else devices // 2 + 1
        assert threshold == max(least, -(-(percent or 0) * devices // 100))
        assert threshold <= devices
        # What devices check of cohorts larger than the promised one (`agent.shell.masked_rounds`).
        assert all(threshold * n > (rules.threshold(n) - 1) * devices for n in range(3, devices + 1))
