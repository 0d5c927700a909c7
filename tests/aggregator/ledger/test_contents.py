"""The aggregator's memory is the same after a restart, and forgets what it may."""

from contextlib import closing
from pathlib import Path

import pytest

from aggregator.core.verdicts import Verdict
from aggregator.ledger.layout import MIGRATIONS
from aggregator.ledger.reading import read_only
from aggregator.ledger.records import LedgerMeta
from aggregator.ledger.views import read_devices, read_rounds
from aggregator.ledger.writing import Ledger
from fedge.errors import StateError
from fedge.storage.databases import open_database
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Frame
from fedge.wire.reasons import Reason
from fedge.wire.topics import lane_of
from tests.aggregator.ledger.ledgers import COHORTS, LIFE, admit, close, count, model_of
from tests.aggregator.stories import blob, digest_of, frames, update
from tests.wording import telling


def reopened(ledger: Ledger, path: Path) -> Ledger:
    ledger.close()
    ledger.__init__(path)  # type: ignore[misc]  # the fixture closes it
    return ledger


# ── what is read back ──────────────────────────────────────────────────────────────────────────────


def test_a_new_ledger_knows_nothing(path: Path) -> None:
    ledger = Ledger(path)
    assert (ledger.meta(), ledger.last_closed(1), ledger.partials(), ledger.slots()) == (None, None, {}, {})
    assert ledger.newest("task", 1) is None
    ledger.close()
    assert (read_rounds(path), read_devices(path)) == ([], [])


def test_what_was_saved_is_the_same_after_a_restart(ledger: Ledger, path: Path) -> None:
    answer = Verdict(b"d" * 32, "refused", Reason.NOT_FINITE, "weight 3 is nan", 0, {"loss_after": 0.1})
    round_id = RoundId(1, 4)
    with ledger.transaction():
        close(ledger, RoundId(1, 3), accuracy=0.75)
        ledger.save_round(round_id, "train", 1, COHORTS, 0.0)
        ledger.save_elapsed(round_id, 12.5)
        admit(ledger, "b", round_id)
        ledger.save_answer(round_id, "a", answer)
    for now in (ledger, reopened(ledger, path)):
        assert now.meta() == LIFE
        assert now.last_closed(1) == (1, 3)
        saved = now.round_as_saved(round_id)
        assert saved is not None
        assert (saved.kind, saved.cohorts, saved.elapsed_s) == ("train", COHORTS, 12.5)
        assert now.round_as_saved(RoundId(1, 5)) is None
        assert now.answers(round_id)["a"] == answer
        assert now.summaries(1) == [{"weight_change": 0.5, "accuracy": 0.75}]
        assert now.slots() == {("model", 1): model_of(RoundId(1, 3))}
        assert now.content(model_of(RoundId(1, 3)).digest) == b"model of 1.3"


def test_another_attempt_begins_its_time_anew(ledger: Ledger) -> None:
    with ledger.transaction():
        ledger.save_round(RoundId(1, 1), "train", 0, COHORTS[:1], 0.0)
        ledger.save_elapsed(RoundId(1, 1), 12.5)
        ledger.save_round(RoundId(1, 1), "train", 1, COHORTS, 0.0)
    saved = ledger.round_as_saved(RoundId(1, 1))
    assert saved is not None
    assert (saved.cohorts, saved.elapsed_s) == (COHORTS, 0)


def test_the_attempts_of_an_older_layout_are_counted_by_their_cohorts(path: Path) -> None:
    with closing(open_database(path, MIGRATIONS[:2])) as db:
        for number, cohorts in enumerate(
            ("[]", '[{"fraction": 0.5, "seed": 1}, {"fraction": 1.0, "seed": 2}]')
        ):
            db.execute(
                "INSERT INTO rounds (generation, round, kind, cohorts, opened_at)"
                " VALUES (1, ?, 'train', ?, 0)",
                (number, cohorts),
            )
    with closing(Ledger(path)) as ledger:
        saved = [ledger.round_as_saved(RoundId(1, number)) for number in (0, 1)]
    assert [(row.attempt, len(row.cohorts)) for row in saved if row] == [(0, 0), (1, 2)]


def test_the_closed_rounds_of_an_older_layout_get_the_rules_there_were(path: Path) -> None:
    rounds = ((1, 0, "survey", 1.0), (1, 1, "train", 2.0), (1, 2, "train", None), (2, 0, "kept", 3.0))
    with closing(open_database(path, MIGRATIONS[:3])) as db:
        db.executemany(
            "INSERT INTO rounds (generation, round, kind, cohorts, opened_at, closed_at)"
            " VALUES (?, ?, ?, '[]', 0, ?)",
            rounds,
        )
    told = {RoundId(1, 0): "survey/1", RoundId(1, 1): "mean/1", RoundId(1, 2): None, RoundId(2, 0): None}
    with read_only(path) as reader:
        assert {round_id: reader.rule(round_id) for round_id in told} == told, "only looked at"
    with closing(Ledger(path)) as ledger:
        assert {round_id: ledger.rule(round_id) for round_id in told} == told, "migrated"
        assert ledger.rule(RoundId(9, 9)) is None


def test_the_answers_of_an_older_layout_stay_and_the_first_verdict_too(path: Path) -> None:
    rows = [
        (
            1,
            number,
            lane_of(device),
            device,
            bytes([number]) * 32,
            "admitted",
            None,
            "",
            9,
            '{"a": 1.5}',
            None,
        )
        for number in (1, 2)
        for device in ("b", "a")
    ]
    with closing(open_database(path, MIGRATIONS[:14])) as db:
        db.executemany(f"INSERT INTO answers VALUES ({', '.join('?' * 11)})", rows)
    with read_only(path) as reader:
        before = {number: reader.answers(RoundId(1, number)) for number in (1, 2)}
    with closing(Ledger(path)) as ledger, ledger.transaction():
        ledger.save_answer(RoundId(1, 2), "a", Verdict(b"x" * 32, "refused", Reason.NOT_FINITE))
        ledger.save_answer(RoundId(1, 2), "c", Verdict(b"c" * 32, "admitted", samples=3))
        after = {number: ledger.answers(RoundId(1, number)) for number in (1, 2)}
        assert list(after[1].items()) == list(before[1].items()), "in the order of the sum"
        assert after[2] == {**before[2], "c": Verdict(b"c" * 32, "admitted", samples=3)}
        found = ledger.verdict("a", b"\x01" * 32)
        assert found is not None
        assert (found.round, found.answer.samples) == ((1, 1), 9)


def test_the_first_verdict_stays(ledger: Ledger) -> None:
    with ledger.transaction():
        first = admit(ledger, "a", RoundId(1, 1))
        ledger.save_answer(RoundId(1, 1), "a", Verdict(b"x" * 32, "refused", Reason.NOT_FINITE))
    assert ledger.answers(RoundId(1, 1))["a"].digest == first


def test_answers_come_in_the_order_of_the_sum(ledger: Ledger) -> None:
    devices = [f"pi-{i}" for i in range(600)]  # more than there are lanes
    with ledger.transaction():
        for device in sorted(devices, reverse=True):
            ledger.save_answer(RoundId(1, 1), device, Verdict(b"d" * 32, "admitted", samples=1))
    found = list(ledger.answers(RoundId(1, 1)))
    assert found == sorted(devices, key=lambda device: (lane_of(device), device))


def test_content_that_is_missing_is_named(ledger: Ledger) -> None:
    with pytest.raises(StateError, match=telling("ledger.db: ", "6d6d6d6d6d6d…")):
        ledger.content(b"m" * 32)


# ── the spool ──────────────────────────────────────────────────────────────────────────────────────


def test_what_had_come_of_an_update_is_known_after_a_restart(ledger: Ledger, path: Path) -> None:
    open_round = RoundId(1, 1)
    pieces = frames(update("a"), 5)
    with ledger.transaction():
        admit(ledger, "b", open_round)
        for i in (3, 1, 1):
            ledger.spool("a", pieces[i])
    (device, partial), *others = reopened(ledger, path).partials().items()
    assert (device, others) == ("a", [])  # b's is answered
    assert (partial.id, partial.missing) == (digest_of(update("a")), (0, 2, 4))
    with ledger.transaction():
        for i in partial.missing:
            ledger.spool("a", pieces[i])
    assert b"".join(ledger.pieces("a", partial.id)) == b"".join(frame.data for frame in pieces)


def test_dropping_an_update_leaves_the_others(ledger: Ledger) -> None:
    mine, other = update("a"), update("a", samples=11)
    with ledger.transaction():
        for message in (mine, other):
            ledger.spool("a", frames(message)[0])
        ledger.spool("b", frames(mine)[0])
        ledger.drop_spool("a", digest_of(mine))
    assert list(ledger.pieces("a", digest_of(mine))) == []
    assert list(ledger.pieces("a", digest_of(other))) != []
    assert list(ledger.pieces("b", digest_of(mine))) != []


def test_an_old_update_that_is_sent_once_more_and_refused_still_belongs_to_its_round(ledger: Ledger) -> None:
    with ledger.transaction():
        digest = admit(ledger, "a", RoundId(1, 1))
        close(ledger, RoundId(1, 1))
        ledger.spool("a", frames(update("a"), 2)[0])  # again, three rounds later
        ledger.drop_spool("a", digest)
    assert len(list(ledger.pieces("a", digest))) == 2
    assert ledger.update_bytes(RoundId(1, 1)) > 0


# ── keeping and forgetting ─────────────────────────────────────────────────────────────────────────


def test_old_rounds_keep_their_figures_and_lose_what_they_were_computed_of(
    ledger: Ledger, path: Path
) -> None:
    with ledger.transaction():
        for number in range(1, 6):
            for device in ("a", "b"):
                admit(ledger, device, RoundId(1, number))
            close(ledger, RoundId(1, number), accuracy=number / 10)
        ledger.save_content("task", RoundId(1, 0), blob("task"), b"task")
        open_round = RoundId(1, 6)
        ledger.save_round(open_round, "train", 1, COHORTS, 0.0)
        kept = admit(ledger, "a", open_round)
        ledger.spool("c", Frame(id=b"c" * 32, i=0, n=2, size=20, data=bytes(10)))
        ledger.forget_rounds_before(RoundId(1, 5))
    assert [row.accuracy for row in read_rounds(path)] == [0.1, 0.2, 0.3, 0.4, 0.5, None]
    assert len(ledger.summaries(1)) == 5
    assert [number for number in range(1, 7) if ledger.answers(RoundId(1, number))] == [5, 6]
    assert len(list(ledger.pieces("a", kept))) == 2
    assert set(ledger.partials()) == {"c"}
    assert ledger.content(blob("task").digest) == b"task"
    assert ledger.newest("model", 1) == model_of(RoundId(1, 5)).digest
    assert ledger.content(model_of(RoundId(1, 4)).digest), "the updates of round 5 began from it"
    assert set(ledger.kept_rounds(1)) == {5}
    with pytest.raises(StateError, match="missing"):
        ledger.content(model_of(RoundId(1, 3)).digest)
    assert count(path, "frames") == 2 * 2 + 2 + 1


def test_a_new_generation_forgets_what_was_spooled_and_its_task_is_the_newest(ledger: Ledger) -> None:
    task = blob("task")
    with ledger.transaction():
        ledger.save_content("task", RoundId(1, 0), task, b"task")
        ledger.save_content("task", RoundId(1, 0), blob("surveyed", 1), b"surveyed")
        ledger.spool("c", Frame(id=b"c" * 32, i=0, n=2, size=20, data=bytes(10)))
    assert ledger.newest("task", 1) == blob("surveyed").digest  # of the same round, but later
    with ledger.transaction():
        ledger.begin_generation(LedgerMeta(LIFE.ledger, 2, "{}"))
        ledger.save_content("task", RoundId(2, 0), task, b"task")  # the very same bytes
    assert ledger.newest("task", 2) == task.digest
    assert ledger.newest("model", 2) is None
    assert ledger.partials() == {}
    with ledger.transaction():
        ledger.save_content("task", RoundId(2, 0), blob("surveyed", 1), b"surveyed")
    assert ledger.newest("task", 2) == blob("surveyed").digest
