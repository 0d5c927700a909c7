"""A member whose updates count, and whose figures are lies: learning neither ends by them nor fails."""

import urllib.request
from typing import Any

import numpy as np
import pytest

from aggregator.ledger.reading import read_only
from fedge.data.moments import Moments
from fedge.nn.spec import Standardize
from fedge.wire.frames import split
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fleet.demo.broker import free_port
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.wiretap import Wiretap, digest
from tests.wording import lines_telling

pytestmark = pytest.mark.system

HONEST, ROUNDS, COLUMNS = 3, 3, 5
WEIGHTS = COLUMNS * 12 + 12 + 12 * 3 + 3
"""p of `CLASSIFIER`."""
CLAIMS = {"accuracy_before": 1.0, "held_loss_before": 0.0, "held_out": 2.0**31 - 1, "received_bytes": 2.0**50}


def lie(manifest: Manifest) -> bytes:
    """What the liar answers in a round: it is within all ranges, and counts."""
    where: dict[str, Any] = {"generation": manifest.generation, "round": manifest.round, "device": "liar"}
    if manifest.kind == "survey":
        told = Moments(np.full(COLUMNS, 20.0), np.full(COLUMNS, 1e30), np.zeros(COLUMNS)).to_bytes()
        return pack(Survey(**where, base=manifest.task.digest, samples=20, features=told))
    assert manifest.model is not None
    body = np.zeros(WEIGHTS, "<f4").tobytes()
    update = {"samples": 40, "steps": 15, "kind": "weights", "codec": "float32", "body": body}
    return pack(Update(**where, base=manifest.model.digest, **update, metrics=CLAIMS))


def scraped(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=90) as page:
        return page.read().decode()  # type: ignore[no-any-return]


def test_learning_goes_on_under_a_liar_and_its_log_names_it(fleet: FleetOfProcesses) -> None:
    port = free_port()
    fleet.configure(
        federation={"seed": 7},
        model=CLASSIFIER,
        rounds={"quorum": HONEST + 1, "target": HONEST + 1, "deadline_s": 3_600.0},
        stopping={"rounds": ROUNDS, "accuracy": 0.95, "patience": ROUNDS},
        metrics={"listen": f"127.0.0.1:{port}"},
    )
    for number in range(HONEST):
        X, y = motions(number)
        fleet.device(f"device-{number}", X, np.random.default_rng(number).permutation(y))  # nothing to learn
    fleet.start_devices()
    fleet.start_aggregator()
    with Wiretap(fleet) as tap:
        for number in range(ROUNDS + 1):
            fleet.until(
                lambda n=number: (m := tap.manifest()) is not None and m.round == n, f"round {number}"
            )
            manifest = tap.manifest()
            assert manifest is not None
            said = lie(manifest)
            (frame,) = split(said)
            tap.say(tap.topics.update("liar"), frame)
            assert tap.receipt("liar", digest(said)).verdict == "admitted"
        fleet.until(lambda: fleet.times_learnt() == 1, "learning is done")

    log = fleet.log()
    rows = fleet.rounds()
    assert [row.devices for row in rows] == [HONEST + 1] * (ROUNDS + 1)
    for row in rows[1:]:
        assert row.accuracy is not None
        assert row.accuracy < 0.8
        assert row.held_loss is not None
        assert 0.3 < row.held_loss < 10
        assert row.bytes_down < 10_000_000
    # The survey: who lies far outside is named, by column and how far, and the others learn undisturbed.
    assert lines_telling(log, "liar", "'z'")
    assert rows[0].outlying_devices == 1
    assert [text.partition(":")[0] for text in rows[0].outlying] == ["liar"] * 3
    assert "fedge_survey_outlying_devices 1.0" in scraped(port)
    fleet.terminate("aggregator")
    fleet.start_aggregator()
    fleet.until(lambda: fleet.times_learnt() == 2, "it takes up where the ledger stands")
    assert "fedge_survey_outlying_devices 1.0" in scraped(port)
    with read_only(fleet.ledger) as ledger:
        found = ledger.newest("task", 1)
        assert found is not None
        first = unpack(ledger.content(found), Task, max_bytes=MAX_SIZE).network.layers[0]
    assert isinstance(first, Standardize)
    assert np.abs(first.means).max() < 1_000
