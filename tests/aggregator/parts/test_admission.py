"""What is admitted of an update that a part from outside has encoded."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.aggregation.replay import replay
from aggregator.aggregation.rollback import Rollback
from aggregator.core.admission import Admitted
from aggregator.core.update_limits import max_lengths
from aggregator.core.updates import terms_of
from aggregator.core.usual_distance import UsualDistance
from aggregator.core.vectors import judge
from fedge.algorithms.codecs import float32
from fedge.errors import ConfigError
from fedge.wire.freshness import RoundId
from fedge.wire.reasons import Reason, Rejection
from tests.aggregator.parts.lab import ALL, DEVICES, SEED, Lab, P, half, told
from tests.aggregator.stories import update
from tests.aggregator.toys import Halves

REFUSED: dict[str, tuple[dict[str, Any], Reason]] = {
    "weights where a change is wanted": ({"kind": "weights"}, Reason.WRONG_KIND),
    "another codec": ({"codec": "float32", "body": bytes(4 * P)}, Reason.WRONG_KIND),
    "no further vector": ({"vectors": None}, Reason.WRONG_KIND),
    "another further vector": ({"vectors": {"control": half(*[0] * P), "x": b""}}, Reason.WRONG_KIND),
    "a further vector by another name": ({"vectors": {"contro": half(*[0] * P)}}, Reason.WRONG_KIND),
    "a further vector that is not finite": (
        {"vectors": {"control": half(0, 0, 0, np.inf, 0, 0)}},
        Reason.NOT_FINITE,
    ),
    "a further vector that is too short": ({"vectors": {"control": half(0)}}, Reason.WRONG_LENGTH),
    "a further vector that is too long": ({"vectors": {"control": bytes(2 * P + 2)}}, Reason.WRONG_LENGTH),
    "what its codec dies of": ({"body": b"\xff\x7e" + bytes(2 * P - 2)}, Reason.MALFORMED),
    "what its codec makes another length of": ({"body": b"\xfe\x7e" + bytes(2 * P - 2)}, Reason.MALFORMED),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_update_that_is_not_what_the_plan_asks_for_is_refused(lab: Lab, name: str) -> None:
    lab.survey()
    changes, reason = REFUSED[name]
    receipt = lab.send(DEVICES[0], lab.update(DEVICES[0], **changes))
    assert (receipt.verdict, receipt.reason) == ("refused", reason)
    assert lab.send(DEVICES[1], lab.update(DEVICES[1])).verdict == "admitted"


def test_where_no_further_vector_is_asked_for_none_is_taken(tmp_path: Path) -> None:
    lab = Lab(tmp_path, {})
    lab.survey()
    body = float32.encode(np.ones(P, np.float32))
    more = lab.update(DEVICES[0], kind="weights", codec="float32", body=body)
    assert lab.send(DEVICES[0], more).reason is Reason.WRONG_KIND
    assert lab.model(RoundId(1, 0)).vectors is None
    lab.ledger.close()


def test_one_further_vector_counts_as_some_usual_ones_at_most(tmp_path: Path) -> None:
    """The rule sees it shortened, by the same bound as a difference from the model."""
    mean = {**ALL, "rule": {"name": "mean"}, "server": {"name": "average"}}
    names = [*(f"pi-{i}" for i in range(19)), "liar"]
    lab = Lab(tmp_path, mean, names)
    lab.survey()
    rng = np.random.default_rng(1)
    honest = [rng.normal(size=P).astype(np.float16) for _ in names[1:]]
    usual = sorted(np.linalg.norm(vector.astype(np.float64)) for vector in honest)[9]
    for device, vector in zip(names, [*honest, np.full(P, 60_000.0)], strict=True):
        changes = {"body": half(*[0.1] * P), "vectors": {"control": half(*vector)}}
        assert lab.send(device, update(device, lab.state.round, **{**changes, **_usual(lab)})).verdict
    lab.finish()
    others = np.mean(honest, axis=0, dtype=np.float64)
    pulled = np.linalg.norm(lab.control(RoundId(1, 1)) - others)
    assert pulled <= 2.5 * usual * 1.2 / 11 + np.linalg.norm(others) / 11 + 0.01
    assert replay(lab.path, 1, SEED).same, "and is shortened alike when it is computed again"
    lab.ledger.close()


def test_a_further_vector_is_not_longer_than_is_usual(lab: Lab) -> None:
    """One round tells what is usual, also after a restart; one liar does not."""
    lab.survey()
    long = {"control": half(*[60_000.0] * P)}
    receipt = lab.send(DEVICES[0], lab.update(DEVICES[0], vectors=long))
    assert receipt.verdict == "admitted", "nothing is usual yet"
    for device in DEVICES[1:]:
        lab.send(device, lab.update(device))
    lab.finish()
    usual = sorted(float(np.linalg.norm(told(1, device, "control"))) for device in DEVICES[1:])[-1]
    assert max_lengths(lab.state)["control"] <= 100.0 * usual * 1.001
    before = max_lengths(lab.state)
    lab.start(ALL)
    assert max_lengths(lab.state) == before
    refused = lab.send(DEVICES[0], lab.update(DEVICES[0], vectors=long))
    assert (refused.verdict, refused.reason) == ("refused", Reason.TOO_FAR)
    within = {"control": half(*[90.0 * usual / P**0.5] * P)}
    assert lab.send(DEVICES[1], lab.update(DEVICES[1], vectors=within)).verdict == "admitted"


def test_what_is_usual_of_a_further_vector_is_the_longest_median(tmp_path: Path) -> None:
    usual = (
        UsualDistance()
        .after({"median_norm.a": 2.0})
        .after({"median_norm.a": 1.0, "median_norm.b": 3.0})
        .after({})
    )
    assert usual.vectors == {"a": 2.0, "b": 3.0}
    lab = Lab(tmp_path, max_norm=0)
    lab.survey()
    lab.train(1)
    vectors = {"control": half(*[60_000.0] * P)}
    assert lab.send(DEVICES[0], lab.update(DEVICES[0], vectors=vectors)).verdict == "admitted", "0: no bound"
    lab.ledger.close()


def test_a_change_that_leads_beyond_float32_is_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Base and change are finite each."""
    lab.survey()
    monkeypatch.setattr(
        Halves, "decode", lambda _self, body, size, _seed: np.full(size, 3e38 if body[0] else 0.0, np.float32)
    )
    update = lab.update(DEVICES[0], body=half(*[1.1] * P), vectors={"control": half(*[0.0] * P)})
    terms = replace(terms_of(lab.state), start=np.full(P, 1e38, np.float32))
    refused = judge(terms, update)
    assert isinstance(refused, Rejection)
    assert refused.reason is Reason.NOT_FINITE
    assert isinstance(judge(replace(terms, start=np.zeros(P, np.float32)), update), Admitted)


def _usual(lab: Lab) -> dict[str, Any]:
    return {"base": lab.state.model.digest, "codec": "toy-halves", "kind": "delta", "samples": 20}


# ── settings ───────────────────────────────────────────────────────────────────────────────────────


def test_what_is_read_in_another_way_than_it_was_sent_is_not_closed(lab: Lab) -> None:
    lab.survey()
    lab.send(DEVICES[0], lab.update(DEVICES[0]))
    with pytest.raises(ConfigError, match=r"toy-halves"):
        lab.start({**ALL, "plan": {"local": "toy-controlled"}})
    with pytest.raises(ConfigError, match=r"toy-controlled"):
        lab.start({**ALL, "plan": {"codec": "toy-halves"}})
    lab.start(ALL)


def test_a_model_without_what_the_local_algorithm_receives_is_not_announced(tmp_path: Path) -> None:
    lab = Lab(tmp_path, {})
    lab.survey()
    with pytest.raises(ConfigError, match=r"toy-controlled.*control"):
        lab.start(ALL)
    lab.start(ALL, Rollback(), generation=2)
    lab.train(1)
    lab.ledger.close()
