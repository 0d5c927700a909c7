"""What a device tells of its columns, and what it tells its owner."""

import logging

import numpy as np
import pytest

from agent.data.moments import measured
from fedge.data.moments import bounds, measure, rounded
from tests.wording import assert_tells


def test_a_fault_now_and_then_is_left_out_and_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    X = np.random.default_rng(1).normal(20, 3, (400, 2)).astype(np.float32)
    X[7, 1] = X[200, 1] = -99_999
    with caplog.at_level(logging.WARNING):
        found = measured(X, ("heat", "damp"))
    assert abs(found.mean[1] - 20) < 1
    (line,) = (r.getMessage() for r in caplog.records if r.levelname == "WARNING")
    assert_tells(line, "column 'damp': ", "2 values")
    assert "99999" not in line


def test_good_columns_are_told_as_they_are_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    X = np.random.default_rng(1).normal(20, 3, (400, 2)).astype(np.float32)
    assert measured(X, ("heat", "damp")).to_bytes() == rounded(measure(X)).to_bytes()
    assert not bounds(X).beyond.any()
    assert [r for r in caplog.records if r.levelname == "WARNING"] == []
