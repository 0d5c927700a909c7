"""What the ledger holds of one device is removed from it, and rounds that lack it say so."""

import json
import os
import shutil
import sqlite3
from functools import partial
from pathlib import Path

import pytest

from aggregator.aggregation.replay import replay
from aggregator.aggregation.rollback import Rollback
from aggregator.backup import forget as forgetting
from aggregator.backup.forget import Contribution, contribution, forget
from aggregator.backup.snapshot import backup
from aggregator.ledger.layout import FILE
from aggregator.ledger.reading import read_only
from aggregator.ledger.writing import Ledger
from fedge.errors import Conflict, DataError, StateError
from fedge.storage.databases import open_database
from fedge.storage.locks import lock
from fedge.storage.segments import SUFFIX
from fedge.wire.freshness import RoundId
from fedge.wire.reasons import Reason
from tests.aggregator.stories import frames, status, update
from tests.aggregator.test_beginnings import SEED, Place
from tests.aggregator.test_replay import admit
from tests.wording import telling


@pytest.fixture(params=["in the table", "in segments"])
def place(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Six closed rounds, a generation that goes back without `rogue`, and a round there that is open."""
    if request.param == "in segments":
        monkeypatch.setattr(Ledger, "in_the_table", 0)
    (tmp_path / "state").mkdir()
    place = Place(tmp_path)
    place.go_back(Rollback(round=4, without=("rogue",), survey_without=("rogue",)))
    with place.ledger.transaction():
        place.ledger.save_round(RoundId(2, 1), "train", 0, (), 0.0)
        place.ledger.save_status("rogue", status(), 1.0)
        place.ledger.count_refusals("rogue", 1, Reason.NOT_FINITE)
        admit(place.ledger, update("rogue", RoundId(2, 1)))
        place.ledger.spool("rogue", frames(update("rogue", RoundId(2, 2)), 2)[0])
    place.ledger.close()
    for file in tmp_path.glob(f"{FILE}*"):
        file.rename(tmp_path / "state" / file.name)
    place.path = place.settings.state.folder / FILE
    return place


def files(place: Place) -> bytes:
    found = [*place.path.parent.glob(f"{FILE}*"), *place.path.parent.glob(f"{FILE}{SUFFIX}/*")]
    return b"".join(file.read_bytes() for file in found if file.is_file())


def test_nothing_of_it_is_left_in_the_file(place: Place) -> None:
    with read_only(place.path) as ledger:
        found = contribution(ledger, "rogue")
        (digest,) = {a.digest for d, a in ledger.answers(RoundId(1, 3)).items() if d == "rogue"}
        weights = ledger.pieces("rogue", digest)
        body = b"".join(weights)[-24:]
    assert found.rounds == tuple(RoundId(1, number) for number in range(7))
    assert (found.open, found.left_out, found.told) == (RoundId(2, 1), (2,), True)
    assert found.size > 1_000
    assert b"rogue" in files(place)
    assert body in files(place)
    assert forget(place.settings, "rogue") == found
    assert b"rogue" not in files(place)
    assert body not in files(place)
    assert forget(place.settings, "rogue") == Contribution(), "done again it removes nothing more"
    with read_only(place.path) as ledger:
        assert ledger.forgotten(RoundId(1, 3)) == 1
        assert ledger.answers(RoundId(2, 1)) == {}
        assert set(ledger.answers(RoundId(1, 3))) == {"pi-0", "pi-1", "pi-2"}


def test_rounds_that_lack_it_say_so_and_those_that_never_had_it_are_computed_as_before(place: Place) -> None:
    assert replay(place.path, 0, SEED).same
    forget(place.settings, "rogue")
    assert replay(place.path, 0, SEED).same, "it was left out of that"
    with read_only(place.path) as ledger:
        begun = ledger.beginning(2)
    assert begun is not None
    assert (begun.without, begun.survey_without) == (("?",), ("?",))
    forget(place.settings, "pi-1")
    with pytest.raises(
        DataError, match=telling("round 2.0 ", "one device", "fedge forget", "nothing is damaged")
    ):
        replay(place.path, 0, SEED)
    ledger = Ledger(place.path)  # as if the generation of before were still at work
    with ledger.transaction():
        ledger._run("UPDATE life SET generation = 1")
    ledger.close()
    with pytest.raises(DataError, match=telling("round 1.3 ", "2 devices")):
        replay(place.path, 3, SEED)
    with pytest.raises(DataError, match=telling("round 1.0 ", "2 devices")):
        replay(place.path, 0, SEED)


def test_what_is_left_still_makes_a_backup_and_a_new_generation(place: Place, tmp_path: Path) -> None:
    forget(place.settings, "rogue")
    backup(place.settings, tmp_path / "copy")
    place.ledger = Ledger(place.path)
    place.go_back(Rollback(generation=1, round=4, without=("pi-2",)), generation=3)
    assert place.ledger.beginning(3).without == ("pi-2",)  # type: ignore[union-attr]
    place.ledger.close()
    assert set(replay(place.path, 0, SEED).samples) == {"pi-0", "pi-1"}
    assert replay(place.path, 0, SEED).same


def test_nothing_is_removed_under_an_aggregator_at_work(place: Place) -> None:
    held = lock(place.path.parent)
    with pytest.raises(Conflict, match=telling("stop the aggregator")):
        forget(place.settings, "rogue")
    os.close(held)
    assert b"rogue" in files(place)


def test_where_there_is_no_ledger_there_is_nothing_to_forget(place: Place) -> None:
    shutil.rmtree(place.path.parent)
    place.path.parent.mkdir()
    assert forget(place.settings, "rogue").is_nothing
    assert not place.path.exists()


@pytest.mark.parametrize("other", ["rogue", "pi-9"])
def test_what_was_interrupted_is_finished(place: Place, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    """The disk is full: to write the file anew takes room for a second one."""

    def full(*_: object) -> None:
        raise StateError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("aggregator.ledger.changes.forgetting.wipe", full)
        with pytest.raises(StateError, match="disk is full"):
            forget(place.settings, "rogue")
    assert b"rogue" in files(place)
    with read_only(place.path) as ledger:
        found = contribution(ledger, other)
    assert (found.unwiped, found.is_nothing) == (True, False), "whomever one asks about"
    forget(place.settings, other)
    assert b"rogue" not in files(place)
    assert forget(place.settings, other).is_nothing


def test_who_reads_meanwhile_keeps_the_log_with_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient = partial(Ledger, connect=partial(open_database, patience_s=0.1))
    monkeypatch.setattr(forgetting, "Ledger", impatient)
    reader = sqlite3.connect(place.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM frames").fetchone()
    with pytest.raises(StateError, match=telling(FILE, "reads")):
        forget(place.settings, "rogue")
    reader.execute("ROLLBACK")
    reader.close()
    assert forget(place.settings, "rogue") == Contribution(unwiped=True)
    assert b"rogue" not in files(place)


def test_surveys_that_name_it_do_so_no_more(place: Place) -> None:
    ledger = Ledger(place.path)
    outlying = [
        {"device": name, "column": "volts", "what": "mean", "far": 9.0} for name in ("rogue", "pi-1", "rogue")
    ]
    with ledger.transaction():
        summary = json.dumps({"outlying_devices": 2, "outlying": outlying})
        ledger._run("UPDATE rounds SET summary = ? WHERE generation = 1 AND round = 0", summary)
        ledger._run("DELETE FROM answers WHERE generation = 1 AND round = 0")  # as old as that
    ledger.close()
    with read_only(place.path) as reader:
        assert contribution(reader, "rogue").named == (RoundId(1, 0),)
    forget(place.settings, "rogue")
    assert b"rogue" not in files(place)
    with read_only(place.path) as reader:
        ((summary,),) = reader._all("SELECT summary FROM rounds WHERE generation = 1 AND round = 0")
    assert [one["device"] for one in json.loads(summary)["outlying"]] == ["?", "pi-1", "?"]
