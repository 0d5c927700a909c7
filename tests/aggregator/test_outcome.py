"""What a closed round is computed of: the ledger, and nothing but the set of admitted updates in it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from random import Random

import numpy as np
import pytest

from aggregator.aggregation.admitted_surveys import surveyed
from aggregator.aggregation.averaged import Averaged
from aggregator.aggregation.job import ClosingJob, Computed
from aggregator.aggregation.models import first_weights
from aggregator.aggregation.outcome import compute, save
from aggregator.aggregation.survey import Measured, Unmeasured, check, standardize
from aggregator.aggregation.updates import read_update
from aggregator.core.verdicts import Verdict
from aggregator.ledger.records import LedgerMeta
from aggregator.ledger.views import read_rounds
from aggregator.ledger.writing import Ledger
from aggregator.phases.survey import OUTLYING_LOGGED
from aggregator.phases.train import averaged
from aggregator.settings.state import StateSection
from fedge.algorithms.codecs import float32
from fedge.algorithms.contribution import order
from fedge.algorithms.rules.bounds import Factors
from fedge.data.moments import Moments, measure
from fedge.errors import DamagedState, ProtocolError
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.message import pack
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason, Rejection
from tests.aggregator.stories import EVERYBODY, MODEL, TASK, P, blob, digest_of, frames, survey, update
from tests.wording import assert_tells, telling

ROUND = RoundId(1, 1)
SURVEY = RoundId(1, 0)
UNBOUNDED = Factors(clip_norm=0, max_weight=0)
JOB = ClosingJob(ROUND, "train", TASK, blob("task"), MODEL, seed=7, chosen=1.0)


@contextmanager
def ledger_in(folder: Path) -> Iterator[Ledger]:
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(folder / "ledger.db")
    try:
        yield ledger
    finally:
        ledger.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with ledger_in(tmp_path) as ledger:
        yield ledger


def admitted(message: Update | Survey, **metrics: float) -> Verdict:
    return Verdict(digest_of(message), "admitted", samples=message.samples, metrics=metrics)


def admit(ledger: Ledger, *messages: Update | Survey, pieces: int = 1) -> None:
    with ledger.transaction():
        for message in messages:
            for frame in frames(message, pieces):
                ledger.spool(message.device, frame)
            round_id = RoundId(message.generation, message.round)
            ledger.save_answer(round_id, message.device, admitted(message))


def average(ledger: Ledger, base: np.ndarray, factors: Factors = UNBOUNDED) -> Averaged:
    found = averaged(ledger, replace(JOB, factors=factors), base)
    assert isinstance(found, Averaged)
    return found


def trained(count: int, seed: int = 1) -> list[Update]:
    """Updates whose sum depends on its order in float64: weights of very different sizes."""
    rng = np.random.default_rng(seed)
    updates = []
    for i in range(count):
        weights = rng.normal(size=P) * 10.0 ** rng.integers(-6, 7, P)
        body = float32.encode(weights.astype(np.float32))
        updates.append(update(f"pi-{i}", samples=int(rng.integers(1, 1_000)), body=body))
    return updates


def reference(updates: list[Update]) -> np.ndarray:
    """Law 5 read aloud, with Python's own floats: products, lanes by device, a binary tree over the lanes."""
    lanes: dict[int, list[list[float]]] = {}
    for message in sorted(updates, key=lambda message: order(message.device)):
        products = [float(message.samples) * float(w) for w in np.frombuffer(message.body, "<f4")]
        lanes.setdefault(order(message.device)[0], []).append(products)

    def add(left: list[float] | None, right: list[float] | None) -> list[float] | None:
        if left is None or right is None:
            return left if right is None else right
        return [a + b for a, b in zip(left, right, strict=True)]

    def tree(first: int, size: int) -> list[float] | None:
        if size == 1:
            total: list[float] | None = None
            for products in lanes.get(first, []):
                total = add(total, products)
            return total
        return add(tree(first, size // 2), tree(first + size // 2, size // 2))

    total, n = tree(0, 256), sum(message.samples for message in updates)
    assert total is not None
    return np.array([np.float32(entry / n) for entry in total], np.float32)


def test_the_mean_from_a_ledger_is_the_reference_whatever_the_order_of_arrival(tmp_path: Path) -> None:
    updates = trained(400)
    expected = reference(updates)
    assert not np.array_equal(  # the shape of the sum matters in this example
        expected, (sum(np.float32(m.samples) * np.frombuffer(m.body, "<f4") for m in updates) / 1.0)
    )
    base = np.zeros(P, np.float32)
    for attempt in range(3):
        shuffled = Random(attempt).sample(updates, len(updates))
        with ledger_in(tmp_path / str(attempt)) as ledger:
            admit(ledger, *shuffled, pieces=attempt + 1)
            result = average(ledger, base)
        assert result.vector.tobytes() == expected.tobytes()
        assert (result.devices, result.samples) == (400, sum(m.samples for m in updates))


def test_the_mean_is_within_a_float32_unit_of_the_exact_one(ledger: Ledger) -> None:
    updates = trained(5)
    admit(ledger, *updates)
    found = average(ledger, np.zeros(P, np.float32)).vector
    n = sum(message.samples for message in updates)
    for i in range(P):
        weights = [np.frombuffer(message.body, "<f4")[i] for message in updates]
        exact = sum(Fraction(m.samples) * Fraction(float(w)) for m, w in zip(updates, weights, strict=True))
        assert abs(Fraction(float(found[i])) - exact / n) <= Fraction(float(np.spacing(np.abs(found[i]))))


def test_what_was_refused_and_what_was_only_spooled_does_not_count(ledger: Ledger) -> None:
    counts, refused, spooled = trained(3)
    admit(ledger, counts)
    with ledger.transaction():
        for message in (refused, spooled):
            ledger.spool(message.device, frames(message)[0])
        answer = Verdict(digest_of(refused), "refused", Reason.IMPLAUSIBLE)
        ledger.save_answer(ROUND, refused.device, answer)
    result = average(ledger, np.zeros(P, np.float32))
    assert result.vector.tobytes() == counts.body
    assert (result.devices, result.samples) == (1, counts.samples)


def test_how_much_the_weights_changed(ledger: Ledger) -> None:
    base = np.full(P, 2.0, np.float32)
    admit(ledger, update("a", body=float32.encode(base * 1.5)))
    # ‖1.5 w - w‖ / ‖w‖ = 1/2
    assert average(ledger, base).summary["weight_change"] == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("fault", ["lost", "changed", "weighs more"])
def test_an_admitted_update_that_is_damaged_makes_no_model(ledger: Ledger, fault: str) -> None:
    """Without it the mean would silently be another one."""
    admit(ledger, *trained(2), pieces=2)
    statement = {
        "lost": "DELETE FROM frames WHERE device = 'pi-1' AND i = 1",
        "changed": "UPDATE frames SET data = zeroblob(length(data)) WHERE device = 'pi-1' AND i = 1",
        "weighs more": "UPDATE answers SET samples = samples + 1 WHERE device = 'pi-1'",
    }[fault]
    ledger._db.execute(statement)
    with pytest.raises(DamagedState, match=telling("ledger.db", "pi-1")):
        average(ledger, np.zeros(P, np.float32))


# ── the survey ─────────────────────────────────────────────────────────────────────────────────────


def surveys(count: int) -> list[Survey]:
    rng = np.random.default_rng(3)
    found = []
    for i in range(count):
        X = rng.normal([3.0, 1e4], [2.0, 50.0], size=(30 + i, 2)).astype(np.float32)
        found.append(survey(f"pi-{i}", samples=len(X), features=measure(X).to_bytes()))
    return found


def test_the_surveyed_task_is_a_function_of_the_set(tmp_path: Path) -> None:
    messages = surveys(20)
    measured: dict[str, Measured] = {}
    for message in messages:
        checked = check(message, TASK, 10**6)
        assert isinstance(checked, Measured)
        measured[message.device] = checked
    expected = standardize(TASK, measured)
    for seed in range(3):
        with ledger_in(tmp_path / str(seed)) as ledger:
            admit(ledger, *Random(seed).sample(messages, len(messages)))
            assert surveyed(ledger, SURVEY, TASK) == expected


def test_columns_that_nobody_measured_are_named(ledger: Ledger) -> None:
    seen = Moments(np.array([50.0, 0.0]), np.array([1.0, 0.0]), np.array([2.0, 0.0]))
    admit(ledger, survey("a", features=seen.to_bytes()))
    assert surveyed(ledger, SURVEY, TASK) == Unmeasured(("amps",))


def test_a_survey_that_is_lost_ends_the_program(ledger: Ledger) -> None:
    admit(ledger, *surveys(2))
    ledger._db.execute("DELETE FROM frames WHERE device = 'pi-0'")
    with pytest.raises(DamagedState, match="pi-0"):
        surveyed(ledger, SURVEY, TASK)


def closed_survey(ledger: Ledger, liars: int, honest: int = 12) -> None:
    """A survey of honest devices, and so many that say of each column what nobody measures."""
    claim = Moments(np.full(2, 20.0), np.full(2, 1e30), np.zeros(2)).to_bytes()
    with ledger.transaction():
        ledger.begin_generation(LedgerMeta(b"l" * 16, 1, "{}"))
    admit(ledger, *surveys(honest), *(survey(f"liar-{k}", features=claim, samples=20) for k in range(liars)))
    job = ClosingJob(SURVEY, "survey", TASK, blob("task"), None, seed=1, chosen=1.0)
    with ledger.transaction():
        ledger.save_round(SURVEY, "survey", 0, (EVERYBODY,), 0.0)
        computed = compute(ledger, job)
        assert isinstance(computed, Computed)
        save(ledger, job, computed, 1.0, StateSection())


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_who_lies_outside_is_named_and_kept(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    closed_survey(ledger, 1)
    assert [line.partition(": it")[0] for line in warnings(caplog)] == [
        "liar-0: column 'volts'",
        "liar-0: column 'amps'",
    ]
    (row,) = read_rounds(tmp_path / "ledger.db")
    assert row.outlying_devices == 1
    assert [text.partition(": it")[0] for text in row.outlying] == [
        "liar-0: column 'volts'",
        "liar-0: column 'amps'",
    ]
    assert ledger.summary(SURVEY)["outlying_devices"] == 1


def test_of_many_that_lie_outside_the_log_names_few(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """Seven of them, of two columns each."""
    closed_survey(ledger, 7, honest=70)
    assert len(warnings(caplog)) == OUTLYING_LOGGED + 1
    assert_tells(warnings(caplog)[-1], "2 more devices")


# ── reading ────────────────────────────────────────────────────────────────────────────────────────


def test_updates_and_surveys_are_read_as_what_they_are(ledger: Ledger) -> None:
    messages: list[Update | Survey] = [update("a", ROUND), survey("a", SURVEY)]
    admit(ledger, *messages, pieces=3)
    for message in messages:
        assert read_update(ledger, "a", digest_of(message)) == message


def spool(ledger: Ledger, data: bytes, digest: bytes) -> None:
    with ledger.transaction():
        ledger.spool("a", Frame(id=digest, i=0, n=1, size=len(data), data=data))


def test_bytes_that_do_not_add_up_to_their_digest_are_refused(ledger: Ledger) -> None:
    spool(ledger, pack(update("a")), b"d" * 32)
    assert isinstance(read_update(ledger, "a", b"d" * 32), Rejection)


@pytest.mark.parametrize(
    "data", [b"no msgpack", b"\x80", b"\x82\xa1v\x01\xa4type\xa6survey", pack(frames(update("a"))[0])]
)
def test_bytes_that_are_no_update_are_a_protocol_error(ledger: Ledger, data: bytes) -> None:
    digest = hashlib.sha256(data).digest()
    spool(ledger, data, digest)
    with pytest.raises(ProtocolError):
        read_update(ledger, "a", digest)


# ── the first model ────────────────────────────────────────────────────────────────────────────────


def test_the_first_weights_are_a_function_of_seed_and_generation() -> None:
    vector = first_weights(TASK, seed=1, generation=1)
    assert (vector.dtype, vector.shape) == (np.float32, (P,))
    assert np.array_equal(vector, first_weights(TASK, seed=1, generation=1))
    for other in (first_weights(TASK, 2, 1), first_weights(TASK, 1, 2)):
        assert not np.array_equal(vector, other)
