"""The verdict on an update is told again for every kept round; nobody changes what a round was made of."""

import sqlite3
from contextlib import closing

import pytest

from aggregator.__main__ import main as aggregator
from aggregator.aggregation.replay import replay
from fedge.wire.frames import split
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.message import pack
from fedge.wire.reasons import Reason
from tests.system.audit import check_books
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.wiretap import Wiretap
from tests.wording import lines_telling

pytestmark = pytest.mark.system


def updates(fleet: FleetOfProcesses, device: str) -> dict[int, bytes]:
    """What a device sent in each kept round, as the ledger holds it."""
    with closing(sqlite3.connect(f"file:{fleet.ledger}?mode=ro", uri=True)) as db:
        rows = db.execute(
            "SELECT round, i, data FROM answers JOIN frames USING (device, digest) WHERE device = ?"
            " ORDER BY round, i",
            (device,),
        ).fetchall()
    found: dict[int, bytes] = {}
    for number, _, data in rows:
        found[number] = found.get(number, b"") + data
    return found


def test_no_frame_changes_a_closed_round_and_each_kept_verdict_comes_again(
    fleet: FleetOfProcesses, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.configure(
        model=CLASSIFIER,
        rounds={"quorum": 3, "target": 3, "deadline_s": 3_600.0},
        stopping={"rounds": 99},
        state={"folder": "state", "keep_rounds": 4},
    )
    for number in range(3):
        fleet.device(f"device-{number}", *motions(number))
    fleet.devices["device-2"].hold(4)  # the survey, then rounds 1, 2, 3
    fleet.start_devices()
    fleet.start_aggregator()
    fleet.until(lambda: fleet.admitted(3) == {"device-0", "device-1"}, "round 3 is open")
    sent, held = updates(fleet, "device-0"), updates(fleet, "device-2")
    assert set(sent) == {0, 1, 2, 3}
    with Wiretap(fleet) as tap:
        topic = tap.topics.update("device-0")
        for number in (0, 1, 2):
            whole = split(sent[number])
            # A second frame under the digest of the first update, in another cut, and then the update itself.
            forged = Frame(id=whole.id, i=1, n=2, size=len(sent[number]) + 9, data=b"poison")
            for payload in (pack(forged), whole[0]):
                tap.receipts.clear()
                tap.say(topic, payload)
                receipt = tap.receipt("device-0", whole.id)
                assert (receipt.verdict, receipt.round) == ("admitted", number)
        fleet.devices["device-2"].release()
        fleet.until(lambda: len(fleet.rounds()) > 9, "rounds 0 to 4 are freed")
        fleet.hold_at_work("device-2")
        first = split(held[1])
        tap.say(tap.topics.update("device-2"), first[0])
        receipt = tap.receipt("device-2", first.id)
        assert (receipt.verdict, receipt.reason) == ("refused", Reason.FORGOTTEN)

    assert fleet.terminate("aggregator") == 0
    assert check_books(fleet) >= 3
    kept = [row.round for row in fleet.rounds() if row.closed][-3:]
    for number in kept:
        assert replay(fleet.ledger, number, 0).same, number

    config = str(fleet.folder / "federation.toml")
    assert aggregator(["--config", config, "backup", str(fleet.folder / "copy")]) == 0
    with closing(sqlite3.connect(fleet.ledger)) as db:
        db.execute(
            "INSERT INTO frames SELECT device, digest, 1, 2, 9, x'00', NULL, NULL, NULL FROM answers"
            " WHERE device = 'device-1' AND round = ?",
            (kept[0],),
        )
        db.commit()
    capsys.readouterr()
    assert aggregator(["--config", config, "backup", str(fleet.folder / "copy")]) == 74
    assert lines_telling(capsys.readouterr().err, "device-1", f" 1.{kept[0]} ")
    assert aggregator(["--config", config, "restore", str(fleet.folder / "copy"), "--force"]) == 0
    assert check_books(fleet) >= 3
