"""One member sends weights as large as can be: learning goes on, its name is told, the good model stays."""

import json

import numpy as np
import pytest

from fedge.wire.frames import split
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import pack
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason
from tests.system.audit import check_books
from tests.system.federations import CLASSIFIER, motions, steady
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.wiretap import Wiretap, digest
from tests.wording import assert_tells, lines_telling

pytestmark = pytest.mark.system

WEIGHTS = 5 * 12 + 12 + 12 * 3 + 3
"""p of `CLASSIFIER`: two dense layers, 5 → 12 → 3."""


def lie(manifest: Manifest, samples: int = 1) -> bytes:
    """The largest weights there are."""
    assert manifest.model is not None
    return pack(
        Update(
            generation=manifest.generation,
            round=manifest.round,
            base=manifest.model.digest,
            device="liar",
            samples=samples,
            steps=1,
            kind="weights",
            codec="float32",
            body=np.full(WEIGHTS, 3e38, "<f4").tobytes(),
        )
    )


def tell(tap: Wiretap, message: bytes) -> None:
    for frame in split(message):
        tap.say(tap.topics.update("liar"), frame)


def training(fleet: FleetOfProcesses, tap: Wiretap, number: int) -> Manifest:
    """What is announced of a training round, as soon as it is."""
    fleet.until(
        lambda: (said := tap.manifest()) is not None and said.round == number, f"round {number} is open"
    )
    manifest = tap.manifest()
    assert manifest is not None
    return manifest


def test_among_five_honest_devices_it_is_clipped_and_named(fleet: FleetOfProcesses) -> None:
    fleet.configure(
        federation={"seed": 7},
        model=CLASSIFIER,
        plan={"epochs": 3, "batch_size": 8, "learning_rate": 0.05, "momentum": 0.5},
        rounds={"quorum": 5},
        stopping={"rounds": 4},
    )
    for number in range(5):
        fleet.device(f"device-{number}", *motions(number))
    last = fleet.devices["device-4"]
    last.hold(2)
    with Wiretap(fleet) as tap:
        fleet.start_aggregator("--exit-when-done")
        fleet.start_devices()
        first = lie(training(fleet, tap, 1))
        tap.introduce("liar")
        tell(tap, first)
        assert tap.receipt("liar", digest(first)).verdict == "admitted", "nobody knows yet what is usual"
        last.hold(3)  # it goes on in this round, and waits in the next
        second = lie(training(fleet, tap, 2), samples=100)
        tell(tap, second)
        receipt = tap.receipt("liar", digest(second))
        assert (receipt.verdict, receipt.reason) == ("refused", Reason.TOO_FAR)
        last.release()
        assert fleet.ends() == 0
    assert [row.devices for row in fleet.rounds()] == [5, 6, 5, 5, 5]
    assert check_books(fleet) == 4
    log = fleet.log()
    assert_tells(log, "round 1.1: ", "liar", "clipped", "2.5")
    assert_tells(log, "round 1.2: ", "liar", "(too_far)")
    assert len(lines_telling(log, "clipped")) == 1
    assert "Traceback" not in log
    manifest = json.loads((fleet.export / "manifest.json").read_text())
    assert (manifest["round"], "withheld" in manifest) == (4, False)
    assert manifest["files"]["model.onnx"]["round"] == 4
    assert fleet.rounds()[-1].accuracy is not None
    assert fleet.rounds()[-1].accuracy > 0.7


@pytest.mark.parametrize(
    "dies",
    [
        None,
        pytest.param("PublishManifest.before:3", marks=pytest.mark.slow),
        pytest.param("SetAside.before", marks=pytest.mark.slow),
        pytest.param("SetAside.after", marks=pytest.mark.slow),
    ],
)
def test_among_few_it_is_set_aside_and_the_model_is_that_of_the_others(
    fleet: FleetOfProcesses, undisturbed_model: bytes, dies: str | None
) -> None:
    """Also if the aggregator is killed before or after that is durable, and before it is announced."""
    steady(fleet)
    late = fleet.devices["device-2"]
    late.hold(2)
    if dies is not None:
        fleet.prefixes["aggregator"] = ("env", f"FEDGE_FAILPOINT={dies}")
    with Wiretap(fleet) as tap:
        aggregator = fleet.start_aggregator("--exit-when-done")
        fleet.start_devices()
        first = lie(training(fleet, tap, 1), samples=60)
        tap.introduce("liar")
        tell(tap, first)
        if dies is not None:
            # Not by `fleet.until`, which takes the death of a program for a failure.
            del fleet.programs["aggregator"]
            aggregator.process.wait(120)
            fleet.prefixes.clear()
            fleet.start_aggregator("--exit-when-done")
        fleet.until(lambda: (said := tap.manifest()) is not None and said.attempt == 1, "the next attempt")
        tell(tap, first)
        fleet.until(lambda: tap.receipt("liar", digest(first)).verdict == "refused", "it is told")
        assert tap.receipt("liar", digest(first)).reason == Reason.SET_ASIDE
        late.release()
        assert fleet.ends() == 0
    assert fleet.answers(1)["liar"][0] == "refused"
    assert [row.devices for row in fleet.rounds()] == [3] * 5
    assert check_books(fleet) == 4
    assert fleet.final_model() == undisturbed_model
    log = fleet.log()
    assert lines_telling(log, "round 1.1: ", "aside", " liar")
    assert lines_telling(log, "round 1.1: ", "2 of 3 ", "attempt 1 ")
    assert "Traceback" not in log
    manifest = json.loads((fleet.export / "manifest.json").read_text())
    assert (manifest["round"], manifest["files"]["model.onnx"]["round"]) == (4, 4)
