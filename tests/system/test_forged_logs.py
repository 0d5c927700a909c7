"""A device that writes control characters into its messages writes no line of the aggregator's log."""

import re

import pytest

from fedge.wire.encoding import decode, encode
from fedge.wire.messages.message import pack
from fedge.wire.reasons import Reason
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.test_refusals import framed, update
from tests.system.wiretap import Wiretap

pytestmark = pytest.mark.system

FORGED = "no data\n<0>kernel: the disk is dying\n\x1b[2J\x1b]0;owned\x07"


def test_a_device_forges_no_line_and_no_priority(fleet: FleetOfProcesses) -> None:
    fleet.configure(
        model=CLASSIFIER, rounds={"quorum": 2, "target": 2, "deadline_s": 3_600.0}, stopping={"rounds": 1}
    )
    for number in range(2):
        fleet.device(f"device-{number}", *motions(number))
    fleet.devices["device-1"].hold(2)
    fleet.start_devices()
    fleet.prefixes["aggregator"] = ["env", "JOURNAL_STREAM=8:1"]
    fleet.start_aggregator("--exit-when-done")
    fleet.until(lambda: fleet.admitted(1) == {"device-0"}, "device 1 is awaited")
    with Wiretap(fleet) as tap:
        fleet.until(lambda: (m := tap.manifest()) is not None and m.round == 1, "it is announced")
        fleet.until(lambda: tap.status("device-1") is not None, "device 1 is there")
        manifest, status = tap.manifest(), tap.status("device-1")
        assert manifest is not None
        assert status is not None
        declined = {
            "generation": manifest.generation,
            "round": 1,
            "attempt": manifest.attempt,
            "reason": "data",
            "detail": FORGED,
        }
        tap.say(tap.topics.status("device-1"), encode({**decode(pack(status)), "declined": declined}))
        fleet.until(lambda: "disk is dying" in fleet.log(), "the decline is told")

        tap.introduce("liar")
        payload, digest = framed(update(manifest, "liar", metrics={FORGED: 1.0}))
        tap.say(tap.topics.update("liar"), payload)
        receipt = tap.receipt("liar", digest)
        assert receipt.reason == Reason.MALFORMED
        assert "update: metrics" in receipt.detail
        assert receipt.detail.isprintable()
        fleet.devices["device-1"].release()
        assert fleet.ends() == 0

    lines = fleet.log().removesuffix("\n").split("\n")
    assert [line for line in lines if not re.match(r"<[3-6]>[^\x00-\x1f\x7f-\x9f]*$", line)] == []
    (told,) = [line for line in lines if "device-1 declines" in line]
    assert told.startswith("<4>round 1.1: device-1 declines (")
    assert "no data\\n<0>kernel: the disk is dying\\n\\x1b[2J" in told
