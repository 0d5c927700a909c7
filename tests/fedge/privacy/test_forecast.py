"""The noise that a wanted ε takes, by hand."""

import math
from dataclasses import replace

import pytest

from fedge.privacy.accountant import Training, guarantee
from fedge.privacy.forecast import Wanted, forecast

WANTED = Wanted(epsilon=4.0, delta=1e-5, rounds=200, devices=10_000, weights=10_000, clip=2.0, missing=0.36)


def test_the_noise_of_each_way() -> None:
    """Δ = 2²⁰ + 50 steps of 2 / 2²⁰, so that one device changes a sum by 2.0000954."""
    found = forecast(WANTED)
    z = found.central.multiplier
    assert guarantee(Training(z, 200), 1e-5).epsilon == pytest.approx(4, abs=1e-4)
    assert found.central.per_weight == pytest.approx(z * 2.0000954 / 10_000, rel=1e-7)
    assert found.central.length == pytest.approx(100 * found.central.per_weight)
    assert found.distributed.multiplier == pytest.approx(z, rel=1e-5)
    assert found.distributed.per_weight == pytest.approx(found.central.per_weight / 0.8, rel=1e-5), "√.64"
    assert found.local.multiplier == pytest.approx(2 * z, rel=1e-5)
    assert found.local.per_weight == pytest.approx(2 * z * 2.0000954 / 100, rel=1e-5)


def test_the_signal() -> None:
    found = forecast(WANTED)
    assert (found.agreed, found.unlike) == (2.0, 0.02)


def test_what_the_help_says_of_devices_rounds_and_weights() -> None:
    one = forecast(WANTED).central
    ten = forecast(replace(WANTED, devices=100_000)).central
    assert ten.per_weight == pytest.approx(one.per_weight / 10)
    longer = forecast(replace(WANTED, rounds=800)).central
    assert longer.per_weight == pytest.approx(2 * one.per_weight, rel=1e-4)
    larger = forecast(replace(WANTED, weights=1_000_000)).central
    assert larger.length == pytest.approx(10 * one.length, rel=1e-3)


@pytest.mark.parametrize("wrong", [{"devices": 0}, {"missing": 1.0}, {"clip": 0.0}, {"epsilon": math.nan}])
def test_numbers_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        forecast(replace(WANTED, **wrong))
