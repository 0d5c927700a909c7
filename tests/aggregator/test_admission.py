"""What one update must be to count: one row a reason."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.core.admission import Admitted, Terms, admit
from fedge.algorithms.codecs import float32
from fedge.errors import ProtocolError
from fedge.wire.encoding import encode
from fedge.wire.freshness import RoundId
from fedge.wire.messages.manifest import Cohort
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason, Rejection
from fedge.wire.selection import chosen
from tests.aggregator.stories import EVERYBODY, MODEL, TASK, P, blob, survey, update

CAP = 1_000
ROUND = RoundId(3, 5)
TERMS = Terms(ROUND, "train", MODEL.digest, P, TASK, (EVERYBODY,), CAP)
SURVEYING = replace(TERMS, round=RoundId(3, 0), kind="survey", base=blob("task").digest)

NEAR = replace(TERMS, start=np.zeros(P, np.float32), furthest=100.0)


def sent(**changes: Any) -> Update:
    return update("a", ROUND, **changes)


def vector(*at: tuple[int, float]) -> bytes:
    """An update's body: zeros, but for these entries."""
    weights = np.zeros(P, np.float32)
    for i, value in at:
        weights[i] = value
    return float32.encode(weights)


def test_an_honest_update_counts_with_its_samples() -> None:
    assert admit(TERMS, "a", sent(samples=17)) == Admitted(17)


def test_an_honest_survey_counts_with_its_samples() -> None:
    assert admit(SURVEYING, "a", survey("a", SURVEYING.round)) == Admitted(100)


def test_of_the_figures_that_it_tells_those_are_kept_that_are_known() -> None:
    figures = {"accuracy_before": 0.5, "held_loss_before": 1e308, "received_bytes": 7.0}
    found = admit(TERMS, "a", sent(samples=17, metrics={**figures, "brightness": -3.0}))
    assert found == Admitted(17, figures)
    surveyed = admit(SURVEYING, "a", survey("a", SURVEYING.round, metrics={"sent_bytes": 1.0, "x": 2.0}))
    assert surveyed == Admitted(100, {"sent_bytes": 1.0})


NOBODY = Cohort(fraction=1e-12, seed=0)

REFUSED = [
    (
        TERMS,
        "a",
        sent(metrics={"accuracy_before": 1e9}),
        Reason.IMPLAUSIBLE,
        "accuracy_before = 1000000000: it must be a number in 0…1",
    ),
    (
        TERMS,
        "a",
        sent(metrics={"held_loss_before": -1e300}),
        Reason.IMPLAUSIBLE,
        "held_loss_before = -1e+300: ",
    ),
    (TERMS, "a", sent(metrics={"held_out": 0.5}), Reason.IMPLAUSIBLE, "held_out = 0.5: it must be a whole"),
    (
        SURVEYING,
        "a",
        survey("a", SURVEYING.round, metrics={"received_bytes": 1e300}),
        Reason.IMPLAUSIBLE,
        "received_bytes = 1e+300: ",
    ),
    (TERMS, "b", sent(), Reason.FOREIGN_DEVICE, "the update names 'a', its topic 'b'"),
    (TERMS, "a", sent(generation=2), Reason.OTHER_GENERATION, "generation 2, ours is 3"),
    (TERMS, "a", sent(generation=4), Reason.OTHER_GENERATION, "generation 4, ours is 3"),
    (TERMS, "a", sent(round=4), Reason.STALE_ROUND, "round 3.4 is closed; 3.5 is open"),
    (TERMS, "a", sent(round=6), Reason.FUTURE_ROUND, "round 3.6 is not open yet; 3.5 is"),
    (TERMS, "a", survey("a", ROUND), Reason.WRONG_KIND, "a survey where the round asks for kind 'train'"),
    (
        SURVEYING,
        "a",
        update("a", SURVEYING.round),
        Reason.WRONG_KIND,
        "a update where the round asks for kind 'survey'",
    ),
    (TERMS, "a", sent(kind="delta"), Reason.WRONG_KIND, "kind 'delta': the plan asks for weights"),
    (
        TERMS,
        "a",
        sent(codec="sparse"),
        Reason.UNSUPPORTED,
        "encoded as 'sparse': the plan asks for 'float32'",
    ),
    (replace(TERMS, codec="sparse"), "a", sent(), Reason.WRONG_KIND, "'float32': the plan asks for 'sparse'"),
    (replace(TERMS, cohorts=(NOBODY,)), "a", sent(), Reason.NOT_CHOSEN, "'a' is not chosen for round 3.5"),
    (replace(TERMS, cohorts=()), "a", sent(), Reason.NOT_CHOSEN, "'a' is not chosen for round 3.5"),
    (TERMS, "a", sent(base=bytes(32)), Reason.WRONG_BASE, "made from 000000000000…, the round's is "),
    (
        SURVEYING,
        "a",
        survey("a", SURVEYING.round, base=bytes(32)),
        Reason.WRONG_BASE,
        "made from 000000000000…, the round's is ",
    ),
    (TERMS, "a", sent(samples=0), Reason.BAD_SAMPLE_COUNT, "n_k = 0: a whole number in 1…1000"),
    (TERMS, "a", sent(samples=-1), Reason.BAD_SAMPLE_COUNT, "n_k = -1: "),
    (TERMS, "a", sent(samples=CAP + 1), Reason.BAD_SAMPLE_COUNT, "n_k = 1001: "),
    (TERMS, "a", sent(samples=2**63), Reason.BAD_SAMPLE_COUNT, "n_k = 9223372036854775808: "),
    (
        SURVEYING,
        "a",
        survey("a", SURVEYING.round, samples=19),
        Reason.BAD_SAMPLE_COUNT,
        "19 samples: a survey needs 20 to 1000",
    ),
    (TERMS, "a", sent(body=b""), Reason.WRONG_LENGTH, f"0 bytes where {P} weights take {4 * P}"),
    (TERMS, "a", sent(body=bytes(4 * P - 1)), Reason.WRONG_LENGTH, f"{4 * P - 1} bytes where {P} weights"),
    (TERMS, "a", sent(body=bytes(4 * P + 4)), Reason.WRONG_LENGTH, f"{4 * P + 4} bytes where {P} weights"),
    (TERMS, "a", sent(body=vector((0, np.nan))), Reason.NOT_FINITE, "weight 0 is nan"),
    (TERMS, "a", sent(body=vector((P - 1, np.inf))), Reason.NOT_FINITE, f"weight {P - 1} is inf"),
    (TERMS, "a", sent(body=vector((3, -np.inf))), Reason.NOT_FINITE, "weight 3 is -inf"),
    (TERMS, "a", sent(body=vector((1, 3e38), (4, np.nan))), Reason.NOT_FINITE, "weight 4 is nan"),
    (
        NEAR,
        "a",
        sent(body=vector((2, 3e38))),
        Reason.TOO_FAR,
        "3e+38",
    ),
    (NEAR, "a", sent(body=vector((2, 101.0))), Reason.TOO_FAR, "101"),
    (
        SURVEYING,
        "a",
        survey("a", SURVEYING.round, features=np.full((3, 2), np.nan).tobytes()),
        Reason.NOT_FINITE,
        "column 'volts'",
    ),
    (
        SURVEYING,
        "a",
        survey("a", SURVEYING.round, features=np.array([[50.0] * 2, [0.0] * 2, [-1.0] * 2]).tobytes()),
        Reason.IMPLAUSIBLE,
        "column 'volts': M2",
    ),
]


@pytest.mark.parametrize(("terms", "device", "message", "reason", "text"), REFUSED)
def test_refused(terms: Terms, device: str, message: Update | Survey, reason: Reason, text: str) -> None:
    refusal = admit(terms, device, message)
    assert isinstance(refusal, Rejection)
    assert refusal.reason is reason
    assert text in refusal.detail


def test_every_reason_that_admission_gives_has_a_row() -> None:
    elsewhere = {
        Reason.MALFORMED, Reason.UNKNOWN_VERSION, Reason.OVERSIZE, Reason.TOO_MANY_PARTIAL,
        Reason.UNKNOWN_DEVICE, Reason.ROUND_CLOSED, Reason.ALREADY_ANSWERED, Reason.FORGOTTEN,
        Reason.SET_ASIDE, Reason.UNSIGNED, Reason.BAD_SIGNATURE, Reason.REVOKED_SIGNER, Reason.OTHER,
        Reason.TOO_FEW_SAMPLES, Reason.WRONG_INPUT, Reason.BAD_DATA, Reason.TRAINING_DIVERGED, Reason.FAILED,
        Reason.TOO_MANY_EPOCHS, Reason.TOO_LONG, Reason.UNKNOWN_SOURCE, Reason.FORBIDDEN_SOURCE,
        Reason.OUTSIDE_HOURS, Reason.CLOCK_NOT_SYNCHRONISED, Reason.ON_BATTERY, Reason.TOO_HOT,
        Reason.TOO_BUSY, Reason.OVER_BYTE_BUDGET, Reason.CANNOT_MEASURE, Reason.QUARANTINED,
        Reason.TOO_MUCH_MEMORY, Reason.TOO_MUCH_STATE, Reason.UNPROTECTED,
    }  # fmt: skip
    assert {row[3] for row in REFUSED} == set(Reason) - elsewhere


def test_the_bound_of_the_distance_is_within_and_needs_a_closed_round() -> None:
    assert admit(NEAR, "a", sent(body=vector((2, 100.0)))) == Admitted(10)
    far = sent(body=vector((2, 3e38)))
    assert admit(replace(NEAR, furthest=None), "a", far) == Admitted(10)
    assert admit(TERMS, "a", far) == Admitted(10)


@pytest.mark.parametrize("samples", [1, CAP])
def test_the_bounds_of_n_k_are_within(samples: int) -> None:
    assert admit(TERMS, "a", sent(samples=samples)) == Admitted(samples)


@pytest.mark.parametrize("value", [3e38, -3e38, np.finfo(np.float32).max, 1e-45])
def test_finite_weights_count_though_their_squares_overflow(value: float) -> None:
    everywhere = float32.encode(np.full(P, value, np.float32))
    assert admit(TERMS, "a", sent(body=everywhere)) == Admitted(10)


@given(st.integers(0, P - 1), st.sampled_from([np.nan, np.inf, -np.inf]), st.floats(-3e38, 3e38))
def test_a_number_that_is_not_finite_is_found_wherever_it_stands(i: int, bad: float, rest: float) -> None:
    weights = np.full(P, rest, np.float32)
    weights[i] = bad
    refusal = admit(TERMS, "a", sent(body=float32.encode(weights)))
    assert refusal == Rejection(Reason.NOT_FINITE, f"weight {i} is {np.float32(bad)}")


@pytest.mark.parametrize("samples", [True, 10.0, "10", None])
def test_an_n_k_that_is_no_whole_number_is_no_message(samples: object) -> None:
    fields = {"v": 1, "type": "update", **sent().model_dump(), "samples": samples}
    with pytest.raises(ProtocolError, match="samples") as caught:
        unpack(encode(fields), Update)
    assert caught.value.reason is Reason.MALFORMED


def test_the_largest_whole_number_of_the_wire_is_judged_and_not_a_crash() -> None:
    message = unpack(pack(sent(samples=2**64 - 1)), Update)
    refusal = admit(TERMS, "a", message)
    assert isinstance(refusal, Rejection)
    assert refusal.reason is Reason.BAD_SAMPLE_COUNT


def test_who_was_asked_in_any_attempt_may_answer() -> None:
    cohorts = tuple(Cohort(fraction=0.3, seed=seed) for seed in range(3))
    terms = replace(TERMS, cohorts=cohorts)
    for i in range(60):
        device = f"pi-{i}"
        asked = any(chosen(cohort, *ROUND, k, device) for k, cohort in enumerate(cohorts))
        assert isinstance(admit(terms, device, update(device, ROUND)), Admitted) == asked
