"""How `benchmarks.buffered` counts who fills the buffers, by hand."""

import numpy as np
import pytest

from benchmarks import buffer_shares

SECONDS = np.array([1.0, 10.0])
"""A fast device and a slow one."""


def test_a_device_that_has_answered_the_newest_version_waits_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The buffer of two waits for the slow device, and the next version begins when that has sent."""
    monkeypatch.setattr(buffer_shares, "VERSIONS", 2)
    assert buffer_shares.filled(SECONDS, 2, 1, by_base=True) == [
        (0, 0, 0, 1.0),
        (1, 0, 0, 10.0),
        (0, 1, 1, 11.0),
        (1, 1, 1, 20.0),
    ]


def test_without_that_rule_the_fast_device_fills_all_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins again before the version that it has filled is closed, so that update has staleness 1."""
    monkeypatch.setattr(buffer_shares, "VERSIONS", 2)
    assert buffer_shares.filled(SECONDS, 2, None, by_base=False) == [
        (0, 0, 0, 1.0),
        (0, 0, 0, 2.0),
        (0, 0, 1, 3.0),
        (0, 1, 1, 4.0),
    ]


def test_an_update_for_a_buffer_that_has_one_of_its_device_waits_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Device 0 sends at 2, 4 and 6 s, device 1 at 3 and 6 s. Version 0 closes at 3 s. The update of 4 s is in
    version 1, so that of 6 s waits until device 1 has closed it."""
    monkeypatch.setattr(buffer_shares, "VERSIONS", 3)
    found = buffer_shares.filled(np.array([2.0, 3.0, 50.0]), 2, 1, by_base=False)
    assert found[:4] == [(0, 0, 0, 2.0), (1, 0, 0, 3.0), (0, 0, 1, 4.0), (1, 0, 1, 6.0)]
    assert found[4] == (0, 1, 2, 6.0)


def test_the_shares_are_of_all() -> None:
    one, two, many = buffer_shares.dominance(12, 2, 1, 30.0, 1.0)
    for row in (one, two, many):
        assert sum(row["updates"]) == pytest.approx(1.0)
        assert sum(row["sums"]) == pytest.approx(1.0)
    assert one["most"] == 1
    assert one["largest"] <= many["largest"]
