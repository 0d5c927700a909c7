"""What a device cannot publish, because it is larger than the broker takes, is told once."""

from pathlib import Path

import pytest

from fedge.transport import Sent
from tests.agent.besieged import Device
from tests.wording import assert_tells


def test_a_status_that_is_too_large_each_time_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    device = Device(tmp_path / "device", None)
    topic = "fedge/v1/lab/status/pi-1"
    for size in range(5_000, 5_010):
        device.runtime.turn(
            Sent(None, f"{topic}: a packet of {size} bytes is over the broker's limit of 4200")
        )
    (line,) = (record.getMessage() for record in caplog.records if topic in record.getMessage())
    assert_tells(line, "not published", "5000", "4200")
