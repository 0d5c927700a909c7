"""What is said of devices in the log: once for each device and cause, then counted."""

import logging

import pytest

from aggregator.shell.reports import AGAIN_S, Reports
from tests.wording import assert_tells


@pytest.fixture(autouse=True)
def _everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="fedge.aggregator")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    texts = [record.message for record in caplog.records]
    caplog.clear()
    return texts


def test_each_cause_is_said_once_for_each_device_and_again_after_an_hour(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reports = Reports()
    for device in ("pi-1", "pi-2"):
        for cause in ("malformed", "oversize"):
            for number in range(5):
                reports.tell(logging.WARNING, device, cause, f"{device} {cause} {number}", 10.0)
    assert said(caplog) == ["pi-1 malformed 0", "pi-1 oversize 0", "pi-2 malformed 0", "pi-2 oversize 0"]
    reports.tell(logging.WARNING, "pi-1", "malformed", "much later", 10.0 + AGAIN_S)
    assert said(caplog) == ["much later"]


def test_a_cause_is_said_again_after_something_good_came(caplog: pytest.LogCaptureFixture) -> None:
    reports = Reports()
    for _ in range(3):
        reports.tell(logging.INFO, "pi-1", "declines too_hot", "pi-1 declines", 0.0)
        reports.tell(logging.INFO, "pi-1", "declines too_hot", "pi-1 declines", 0.0)
        reports.renew("pi-1")
    assert said(caplog) == ["pi-1 declines"] * 3


def test_what_was_only_counted_is_summed_up_once_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    reports = Reports()
    reports.sum_up(0.0)
    for number in range(7):
        for _ in range(number + 2):
            reports.tell(logging.WARNING, f"pi-{number}", "malformed", "…", 1.0)
    reports.tell(logging.WARNING, "pi-6", "oversize", "…", 1.0)
    reports.tell(logging.WARNING, "pi-6", "oversize", "…", 1.0)
    said(caplog)
    for second in range(1, int(AGAIN_S)):
        reports.sum_up(float(second))
    assert said(caplog) == []
    reports.sum_up(AGAIN_S)
    (line,) = said(caplog)
    assert_tells(line, "29 ", "pi-6 8 (malformed 7, oversize 1)", "pi-5 6 (malformed 6)")
    assert_tells(
        line, "pi-4 5 (malformed 5)", "pi-3 4 (malformed 4)", "pi-2 3 (malformed 3)", "2 more devices"
    )
    assert "pi-1" not in line
    reports.sum_up(2 * AGAIN_S)
    assert said(caplog) == []
    assert reports._said == {device: {} for device in reports._said}, "what is long past is forgotten"


def test_the_lines_of_a_device_are_bounded_whatever_it_does_between_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A day of a liar that is admitted every second, and misbehaves in forty ways before the next."""
    reports = Reports()
    for second in range(86_400):
        reports.tell(logging.WARNING, "liar", f"cause {second % 40}", "a line", float(second))
        reports.renew("liar")
        reports.sum_up(float(second))
    assert len(said(caplog)) <= 30 + 1_440 + 24
    reports.tell(logging.WARNING, "pi-1", "malformed", "another device's", 86_400.0)
    assert said(caplog) == ["another device's"]
