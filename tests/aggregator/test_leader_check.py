"""Who talks without end while an aggregator looks on neither fills its log nor makes it look on longer."""

from pathlib import Path
from typing import Any

import pytest

from aggregator.config import FederationSettings
from aggregator.core.claims import Known
from aggregator.core.presence import QUIET_S, LeaderCheck
from aggregator.shell.leader_check import Watching
from fedge.transport import MessageArrived
from fedge.wire.freshness import RoundId
from fedge.wire.topics import Topics
from tests.aggregator.stories import OPEN, status

TOPICS = Topics("lab")


def looking_on(tmp_path: Path, now_s: list[float]) -> Watching:
    (tmp_path / "federation.toml").write_text(
        '[federation]\nname = "lab"\n[model]\nfeatures = 2\nclasses = ["a", "b"]\n'
    )
    link: Any = None
    known = Known(RoundId(1, 3), frozenset({"liar", "pi-1"}), False, None)
    settings = FederationSettings.load(tmp_path / "federation.toml", {})
    return Watching(settings, link, known, lambda: now_s[0])


def heard(device: str, payload: bytes) -> MessageArrived:
    return MessageArrived(TOPICS.status(device), payload, False, None, 0, 0)


def test_each_cause_of_each_device_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watching = looking_on(tmp_path, [0.0])
    for number in range(1_000):
        for device in ("liar", "pi-1"):
            watching.turn([heard(device, b"\xc1 %d" % number)])
        watching.turn([heard(f"name-{number}", b"\xc1 %d" % number)])
    lines = [line for line in caplog.messages if "ignored a message" in line]
    assert len(lines) == 3, "two devices that are known, and all the others together"


def test_a_device_that_never_stops_talking_makes_nobody_look_on_longer() -> None:
    watch = LeaderCheck(0.0)
    for tenth in range(600):
        watch = watch.status("liar", status(online=tenth % 2 == 0, seen=OPEN), tenth / 10)
    assert watch.over_s() == QUIET_S
    assert watch.status("pi-1", status(seen=OPEN), 50.0).over_s() == 50.0 + QUIET_S, "it may be retained"
    assert watch.devices == {"liar": OPEN}
