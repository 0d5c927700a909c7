"""Whoever sends garbage to a device does not fill its log."""

import logging

import pytest

from agent.shell.refusals import AGAIN_S, SOONEST_S, Refusals
from fedge.errors import ProtocolError
from fedge.wire.reasons import Reason
from tests.wording import assert_tells

WRONG = ProtocolError("no map", Reason.MALFORMED)


def test_a_reason_is_told_once_and_again_after_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    for second in range(int(AGAIN_S)):
        refusals.tell("topic", "round", WRONG, float(second))
    refusals.tell("topic", "receipt", WRONG, 1.0)
    assert len(caplog.records) == 2
    refusals.tell("topic", "round", WRONG, AGAIN_S)
    assert_tells(caplog.records[-1].message, "topic: no map", "3599")


def test_what_is_authentic_lets_it_be_told_again_but_not_twice_in_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    refusals = Refusals()
    refusals.tell("topic", "round", WRONG, 0.0)
    refusals.begin_anew(SOONEST_S)
    refusals.tell("topic", "round", WRONG, SOONEST_S)
    assert len(caplog.records) == 2
    caplog.clear()
    refusals = Refusals()
    for tenth in range(36_000):  # an hour of a flood of garbage and of rounds
        refusals.tell("topic", "round", WRONG, tenth / 10)
        refusals.begin_anew(tenth / 10)
    assert len(caplog.records) <= 2 * 60
