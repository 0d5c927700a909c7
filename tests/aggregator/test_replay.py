"""A kept round is computed again from the ledger alone, and the ledger stays within its bounds."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from dataclasses import replace as replaced
from pathlib import Path

import numpy as np
import pytest

from aggregator.aggregation.admitted_surveys import surveyed
from aggregator.aggregation.aggregate import aggregate, mean_of
from aggregator.aggregation.models import blob_of, first_weights, weights_of
from aggregator.aggregation.replay import replay
from aggregator.aggregation.updates import Updates
from aggregator.core.verdicts import Verdict
from aggregator.ledger.reading import read_only
from aggregator.ledger.records import LedgerMeta
from aggregator.ledger.views import read_rounds
from aggregator.ledger.writing import Ledger
from fedge import __version__
from fedge.algorithms.codecs import float32
from fedge.algorithms.rules.bounds import Factors
from fedge.data.moments import measure
from fedge.errors import DamagedState, DataError, StateError
from fedge.wire.freshness import RoundId
from fedge.wire.messages.manifest import Cohort
from fedge.wire.messages.message import pack
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.models import model_message
from fedge.wire.reasons import Reason
from tests.aggregator.stories import TASK, P, digest_of, frames, survey, update
from tests.wording import assert_tells, telling

SEED = 5
DEVICES = ("pi-0", "pi-1", "pi-2")
EVERYBODY = Cohort(fraction=1.0, seed=0)


def admit(ledger: Ledger, message: Update | Survey, *, verdict: str = "admitted") -> None:
    for frame in frames(message, 2):
        ledger.spool(message.device, frame)
    answer = Verdict(digest_of(message), verdict, samples=message.samples)  # type: ignore[arg-type]
    ledger.save_answer(RoundId(message.generation, message.round), message.device, answer)


def close(
    ledger: Ledger,
    round_id: RoundId,
    vector: np.ndarray,
    kind: str = "train",
    rule: str = "mean/1",
    factors: Factors | None = None,
) -> None:
    data = model_message(round_id, vector)
    ledger.save_round(round_id, kind, 0, (EVERYBODY,), 0.0)
    ledger.save_content("model", round_id, blob_of(data, round_id.round % 2), data)
    summary = {} if factors is None else asdict(factors)
    rule = rule if factors is None else "mean/2"
    ledger.close_round(round_id, blob_of(data, 0).digest, 3, 60, summary, 1.0, rule)


def survey_round(ledger: Ledger, generation: int, rule: str = "survey/2") -> None:
    first = RoundId(generation, 0)
    with ledger.transaction():
        ledger.begin_generation(LedgerMeta(b"l" * 16, generation, "{}"))
        ledger.save_content("task", first, blob_of(pack(TASK), 0), pack(TASK))
        for number, device in enumerate(DEVICES):
            X = np.random.default_rng(number).normal(size=(20, 2)).astype(np.float32)
            admit(ledger, survey(device, first, samples=20, features=measure(X).to_bytes()))
        task = surveyed(ledger, first, TASK, rule=rule)
        assert isinstance(task, Task)
        ledger.save_content("task", first, blob_of(pack(task), 1), pack(task))
        close(ledger, first, first_weights(task, SEED, generation), "survey", rule)


def training_round(ledger: Ledger, round_id: RoundId) -> None:
    rng = np.random.default_rng(round_id.round)
    with ledger.transaction():
        for device in DEVICES:
            body = float32.encode(rng.normal(size=P).astype(np.float32))
            admit(ledger, update(device, round_id, samples=int(rng.integers(20, 99)), body=body))
        admit(ledger, update("liar", round_id), verdict="refused")
        close(ledger, round_id, mean_of(ledger, round_id, P)[0])


def bounded_round(ledger: Ledger, round_id: RoundId, factors: Factors) -> None:
    """Six honest devices, one whose entries are as large as can be, and one with a million samples."""
    rng = np.random.default_rng(round_id.round)
    newest = ledger.newest("model", round_id.generation)
    assert newest is not None
    base = weights_of(ledger, blob_of(ledger.content(newest), 0), P)
    sent = {f"pi-{i}": (int(rng.integers(20, 99)), base + rng.normal(size=P)) for i in range(6)}
    sent |= {"liar": (50, np.full(P, 3e38)), "crowd": (1_000_000, base + 1)}
    with ledger.transaction():
        for device, (samples, vector) in sent.items():
            body = float32.encode(vector.astype(np.float32))
            admit(ledger, update(device, round_id, samples=samples, body=body))
        found = aggregate(Updates(ledger, round_id, P), base, factors)
        close(ledger, round_id, found.vector, factors=factors)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    path.parent.mkdir()
    ledger = Ledger(path)
    yield ledger
    ledger.close()


@pytest.fixture
def learnt(ledger: Ledger) -> Ledger:
    """Generation 2, with a survey and three rounds of training, and a round that is open."""
    survey_round(ledger, 1)
    survey_round(ledger, 2)
    for number in (1, 2, 3):
        training_round(ledger, RoundId(2, number))
    with ledger.transaction():
        ledger.save_round(RoundId(2, 4), "train", 0, (EVERYBODY,), 0.0)
        ledger.spool("pi-0", frames(update("pi-0", RoundId(2, 4)), 2)[0])
    return ledger


def test_every_kept_round_is_the_same_to_the_bit(learnt: Ledger, path: Path) -> None:
    for number in range(4):
        again = replay(path, number, SEED)
        assert again.same
        assert (again.round, again.kind) == (RoundId(2, number), "train" if number else "survey")
        assert again.rule == ("mean/1" if number else "survey/2")
        assert set(again.samples) == set(DEVICES), "who was refused is not in it"
    answers = learnt.answers(RoundId(2, 3))
    assert dict(again.samples) == {device: answers[device].samples for device in DEVICES}


def test_a_survey_is_computed_again_by_the_rule_that_closed_it(ledger: Ledger, path: Path) -> None:
    """The frozen layers differ from rule to rule, and are compared: the first weights do not tell them."""
    survey_round(ledger, 1, "survey/1")
    assert (replay(path, 0, SEED).rule, replay(path, 0, SEED).same) == ("survey/1", True)
    with ledger.transaction():
        ledger._run("UPDATE rounds SET rule = 'survey/2'")
    other = replay(path, 0, SEED)
    assert (other.announced == other.computed, other.frozen, other.same) == (True, False, False)


def test_a_rule_that_this_program_does_not_know_is_named_and_not_guessed(learnt: Ledger, path: Path) -> None:
    for rule in ("mean/3", "huber/1", None):
        with learnt.transaction():
            learnt._run("UPDATE rounds SET rule = ? WHERE round = 2", rule)
        with pytest.raises(
            DataError,
            match=telling(
                "round 2.2 ", rule or "", f"fedge {__version__} ", "mean/1", "mean/2", "nova/1", "survey/1"
            ),
        ):
            replay(path, 2, SEED)
        assert replay(path, 3, SEED).same


def test_bounds_are_computed_again_with_the_factors_of_their_round(learnt: Ledger, path: Path) -> None:
    """Rounds of both rules, and of other settings than today's, lie in one ledger."""
    settings = (Factors(), Factors(3.0, 2.0), Factors(0, 10.0), Factors(10.0, 0))
    for number, factors in enumerate(settings, 4):
        bounded_round(learnt, RoundId(2, number), factors)
    for number in range(4 + len(settings)):
        again = replay(path, number, SEED)
        assert again.same, number
        assert again.rule == ("survey/2" if number == 0 else "mean/1" if number < 4 else "mean/2")
    assert again.samples["crowd"] == 1_000_000, "as it said it"
    with learnt.transaction():
        learnt._run("UPDATE rounds SET summary = ? WHERE round = 4", json.dumps({**asdict(Factors(9.0))}))
    assert not replay(path, 4, SEED).same
    with learnt.transaction():
        learnt._run("UPDATE rounds SET summary = '{}' WHERE round = 4")
    with pytest.raises(DamagedState, match=telling("round 2.4")):
        replay(path, 4, SEED)


def test_the_oldest_kept_round_finds_what_its_updates_began_from(learnt: Ledger, path: Path) -> None:
    for number in (4, 5, 6, 7):
        bounded_round(learnt, RoundId(2, number), Factors())
    with learnt.transaction():
        learnt.retain(RoundId(2, 7), rounds=2, size=2**40)
    assert set(learnt.kept_rounds(2)) == {0, 6, 7}, "the survey's layers are in use"
    assert replay(path, 6, SEED).same
    with pytest.raises(DataError, match=telling("round 2.5 ", "0, 6 to 7")):
        replay(path, 5, SEED)


def test_an_update_that_was_set_aside_is_in_no_round(learnt: Ledger, path: Path) -> None:
    bounded_round(learnt, RoundId(2, 4), Factors())
    answer = learnt.answers(RoundId(2, 4))["liar"]
    with learnt.transaction():
        learnt.set_aside(RoundId(2, 4), "liar", replaced(answer, verdict="refused", reason=Reason.SET_ASIDE))
    assert learnt.answers(RoundId(2, 4))["liar"].reason is Reason.SET_ASIDE
    again = replay(path, 4, SEED)
    assert "liar" not in again.samples
    assert not again.same, "it was closed with it"


def test_looking_changes_nothing(learnt: Ledger, path: Path) -> None:
    with (
        read_only(path) as reader,
        pytest.raises(StateError, match="readonly"),
    ):
        reader._all("UPDATE rounds SET elapsed_s = 1 WHERE round = 4")


def test_another_model_is_told(learnt: Ledger, path: Path) -> None:
    assert not replay(path, 0, SEED + 1).same, "first weights of another seed"
    other = update("pi-1", RoundId(2, 2), body=float32.encode(np.zeros(P, np.float32)))
    with learnt.transaction():
        for frame in frames(other, 1):
            learnt.spool("pi-1", frame)
        learnt._run(
            "UPDATE answers SET digest = ?, samples = ? WHERE round = 2 AND device = 'pi-1'",
            digest_of(other),
            other.samples,
        )
    again = replay(path, 2, SEED)
    assert not again.same
    assert again.announced != again.computed
    assert replay(path, 3, SEED).same


def test_a_lost_update_is_damage_and_no_other_model(learnt: Ledger, path: Path) -> None:
    with learnt.transaction():
        learnt._run("DELETE FROM frames WHERE device = 'pi-1' AND i = 1")
    with pytest.raises(DamagedState, match="pi-1"):
        replay(path, 2, SEED)


def test_a_round_that_is_not_there_is_told_with_those_that_are(learnt: Ledger, path: Path) -> None:
    for number in (4, 5, 99):
        with pytest.raises(DataError, match=telling(f"round 2.{number} ", "2.3")):
            replay(path, number, SEED)
    with learnt.transaction():
        learnt.retain(RoundId(2, 3), rounds=2, size=2**40)
    with pytest.raises(DataError, match=telling("round 2.1 ", "0, 2 to 3")):
        replay(path, 1, SEED)
    assert replay(path, 0, SEED).same, "the survey is kept as long as its frozen layers are in use"
    assert replay(path, 2, SEED).same, "the oldest kept one needs nothing of the one before"


def test_a_ledger_without_rounds(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=telling("ledger.db: ")):
        replay(tmp_path / "ledger.db", 1, SEED)
    Ledger(tmp_path / "ledger.db").close()
    with pytest.raises(DataError, match=telling("ledger.db", "no round")):
        replay(tmp_path / "ledger.db", 1, SEED)


# ── the command ────────────────────────────────────────────────────────────────────────────────────


def fedge_replay(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    (folder / "federation.toml").write_text(
        f'[federation]\nname = "lab"\nseed = {SEED}\n[model]\nfeatures = 2\nclasses = ["a", "b"]\n'
    )
    command = [sys.executable, "-m", "fleet", "replay", *options, "--config", str(folder / "federation.toml")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "200"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_fedge_replay_tells_people_and_programs(learnt: Ledger, path: Path, tmp_path: Path) -> None:
    told = fedge_replay(tmp_path, "3")
    assert told.returncode == 0, told.stderr
    assert_tells(told.stdout, "round 2.3 (train, mean/1, 3 devices): ", "same model")
    assert all(device in told.stdout for device in DEVICES)
    again = replay(path, 3, SEED)
    printed = json.loads(fedge_replay(tmp_path, "3", "--json").stdout)
    assert printed == {
        "generation": 2,
        "round": 3,
        "kind": "train",
        "rule": "mean/1",
        "same": True,
        "announced": again.announced.hex(),
        "computed": again.announced.hex(),
        "samples": dict(again.samples),
    }

    with learnt.transaction():
        learnt._run("UPDATE answers SET verdict = 'refused' WHERE round = 3 AND device = 'pi-1'")
    differs = fedge_replay(tmp_path, "3")
    assert differs.returncode == 1
    assert_tells(differs.stdout, "round 2.3 (train, mean/1, 2 devices): ", "not the same")
    unknown = fedge_replay(tmp_path, "9", "--json")
    assert (unknown.returncode, unknown.stdout) == (65, "")
    assert_tells(unknown.stderr, "round 2.9 ", "2.3")


# ── bounds ─────────────────────────────────────────────────────────────────────────────────────────

ROUND_BYTES = 3 * 2 * 4_096
"""What one round of these takes at most: three updates of two frames and their rows, a page each."""


def test_two_hundred_rounds_take_no_more_room_than_those_that_are_kept(ledger: Ledger, path: Path) -> None:
    survey_round(ledger, 1)
    sizes = []
    for number in range(1, 201):
        training_round(ledger, RoundId(1, number))
        with ledger.transaction():
            ledger.retain(RoundId(1, number), rounds=10, size=2**40)
        sizes.append(ledger.bytes_held())
    assert len(ledger.kept_rounds(1)) == 10 + 1  # the survey
    # What stays of an older round is its row of figures: a page holds several.
    assert sizes[-1] - sizes[20] < 180 * 1_000
    wal = path.with_name("ledger.db-wal").stat().st_size
    assert wal < 5 * 2**20, "SQLite takes its WAL in at 1,000 pages"
    held = ledger.bytes_held()
    ledger.close()
    assert path.stat().st_size < held + 4 * ROUND_BYTES, "what was freed is used again"
    assert len(read_rounds(path)) == 201, "their figures are all there"


def test_bytes_bound_the_ledger_before_rounds_do(ledger: Ledger) -> None:
    survey_round(ledger, 1)
    bound = ledger.bytes_held() + 5 * ROUND_BYTES
    for number in range(1, 60):
        training_round(ledger, RoundId(1, number))
        with ledger.transaction():
            ledger.retain(RoundId(1, number), rounds=10_000, size=bound)
        kept = ledger.kept_rounds(1)
        assert ledger.bytes_held() <= bound
        assert set(kept) >= {number, number - 1}
        assert kept.pop(0)[0] == "survey"
        assert set(kept) == set(range(min(kept), number + 1)), "the newest ones"
    assert 2 < len(kept) < 59


def test_two_rounds_are_kept_whatever_they_take(ledger: Ledger, path: Path) -> None:
    survey_round(ledger, 1)
    for number in (1, 2, 3):
        training_round(ledger, RoundId(1, number))
    with ledger.transaction():
        ledger.retain(RoundId(1, 3), rounds=20, size=1)
    assert set(ledger.kept_rounds(1)) == {0, 2, 3}
    assert replay(path, 2, SEED).same
