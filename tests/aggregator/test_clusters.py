"""Several shared models (`[personal] name = "clusters"`) on the aggregator, with its ledger and closer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from aggregator.aggregation.models import first_weights
from aggregator.aggregation.replay import replay
from aggregator.aggregation.rollback import Rollback
from aggregator.core.part_compatibility import incompatibility
from aggregator.core.parts import Part, Parts
from aggregator.core.presence import LeaderCheck
from aggregator.core.takeover import TakeUp
from aggregator.shell.startup import take_up
from fedge.algorithms.codecs import float32
from fedge.algorithms.local.sgd import Sgd
from fedge.algorithms.registry import PERSONAL, Entry, registered
from fedge.algorithms.rules.bounds import Factors
from fedge.data.moments import Moments
from fedge.errors import ConfigError
from fedge.nn import Network
from fedge.wire.freshness import RoundId
from fedge.wire.messages.receipt import Receipt
from fedge.wire.reasons import Reason
from tests import counting_codec
from tests.aggregator.parts.lab import DEVICES, SEED, Lab, P
from tests.aggregator.stories import OURS, survey, update
from tests.wording import assert_tells

TWO: Mapping[str, Any] = {"personal": {"name": "clusters", "models": 2}}
SAMPLES = {device: 20 + 10 * number for number, device in enumerate(DEVICES)}
MEMBERS = dict(zip(DEVICES, (0, 1, 1), strict=True))
ALL_AT_ONE = dict.fromkeys(DEVICES, 1)


def step(number: int, device: str) -> np.ndarray:
    """What a device adds to its model in a round."""
    seed = [number, *device.encode()]
    return np.random.default_rng(seed).normal(size=P).astype(np.float32)


class Clusters(Lab):
    """The lab with two models."""

    def models(self, number: int, generation: int = 1) -> tuple[np.ndarray, np.ndarray]:
        message = self.model(RoundId(generation, number))
        assert message.vectors is not None
        assert message.vectors.keys() == {"cluster_1"}
        return float32.decode(message.body, P), float32.decode(message.vectors["cluster_1"], P)

    def sends(self, device: str, vector: np.ndarray, cluster: int | None, samples: int = 20) -> Receipt:
        message = update(
            device,
            self.state.round,
            self.state.model.digest,
            body=float32.encode(vector.astype(np.float32)),
            cluster=cluster,
            samples=samples,
        )
        return self.send(device, message)

    def round(self, members: Mapping[str, int] = MEMBERS) -> None:
        here = self.state.round
        models = self.models(here.round - 1, here.generation)
        for device, cluster in members.items():
            vector = models[cluster] + step(here.round, device)
            receipt = self.sends(device, vector, cluster or None, SAMPLES[device])
            assert (receipt.verdict, receipt.detail) == ("admitted", "")
        self.finish()


def mean(
    models: Sequence[np.ndarray], number: int, cluster: int, members: Mapping[str, int] = MEMBERS
) -> np.ndarray:
    """Σ n_k w_k / Σ n_k over the devices of one cluster, in float64; the model itself without any."""
    counted = [device for device, chosen in members.items() if chosen == cluster]
    if not counted:
        return models[cluster]
    sent = [(models[cluster] + step(number, device)).astype(np.float64) for device in counted]
    total = sum(SAMPLES[device] * w for device, w in zip(counted, sent, strict=True))
    return (total / sum(SAMPLES[device] for device in counted)).astype(np.float32)  # type: ignore[no-any-return]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Clusters]:
    lab = Clusters(tmp_path / "lab", TWO)
    lab.survey()
    yield lab
    lab.ledger.close()


def test_the_first_models_are_drawn_from_different_seeds(lab: Clusters) -> None:
    task = lab.state.task_message
    for number, model in enumerate(lab.models(0)):
        assert model.tobytes() == first_weights(task, SEED + number, 1).tobytes()
    assert lab.models(0)[0].tobytes() != lab.models(0)[1].tobytes()


def test_each_model_is_the_mean_of_the_devices_that_trained_it(lab: Clusters) -> None:
    for number in (1, 2, 3):
        before = lab.models(number - 1)
        lab.round()
        for cluster, model in enumerate(lab.models(number)):
            assert np.allclose(model, mean(before, number, cluster), rtol=1e-6, atol=1e-7)
        assert lab.ledger.clusters(RoundId(1, number)) == (1, 2)


def test_a_model_that_no_device_trained_stays_to_the_bit(lab: Clusters) -> None:
    before = lab.models(0)
    lab.round(ALL_AT_ONE)
    after = lab.models(1)
    assert after[0].tobytes() == before[0].tobytes()
    assert after[1].tobytes() != before[1].tobytes()
    assert lab.ledger.clusters(RoundId(1, 1)) == (0, 3)


def test_the_round_tells_of_the_model_that_moved_farthest(lab: Clusters) -> None:
    before = lab.models(0)
    lab.round()
    moved = [
        float(np.linalg.norm(w.astype(np.float64) - b)) for w, b in zip(lab.models(1), before, strict=True)
    ]
    lengths = [float(np.linalg.norm(b)) for b in before]
    summary = lab.ledger.summary(RoundId(1, 1))
    norms = sorted(float(np.linalg.norm(step(1, device))) for device in DEVICES)
    assert summary["moved"] == pytest.approx(max(moved), rel=1e-5)
    assert summary["weight_change"] == pytest.approx(
        max(m / n for m, n in zip(moved, lengths, strict=True)), rel=1e-5
    )
    assert summary["median_norm"] == pytest.approx(norms[1], rel=1e-5), "of all, each from its own model"


@pytest.mark.parametrize("cluster", [2, 8])
def test_an_update_of_a_model_that_is_not_there_is_refused(lab: Clusters, cluster: int) -> None:
    receipt = lab.sends(DEVICES[0], lab.models(0)[0], cluster)
    assert (receipt.verdict, receipt.reason) == ("refused", Reason.WRONG_KIND)


def test_a_round_of_one_model_refuses_another(tmp_path: Path) -> None:
    lab = Clusters(tmp_path / "lab", {})
    lab.survey()
    receipt = lab.sends(DEVICES[0], np.zeros(P), 1)
    assert (receipt.verdict, receipt.reason) == ("refused", Reason.WRONG_KIND)
    lab.ledger.close()


def test_an_update_is_as_far_as_from_its_own_model(tmp_path: Path) -> None:
    """Three rounds drive model 1 a distance of d each, so d is usual and 2 d is admitted (`max_norm`). Model
    0 is about 3 d away then: the same weights are near as an update of model 1, and too far as one of 0."""
    lab = Clusters(tmp_path / "lab", TWO, max_norm=2)
    lab.survey()
    for number in range(3):
        for device in DEVICES:
            assert lab.sends(device, lab.models(number)[1] + np.float32(100), 1).verdict == "admitted"
        lab.finish()
    same = lab.models(3)[1]
    assert lab.sends(DEVICES[0], same, 1).verdict == "admitted"
    receipt = lab.sends(DEVICES[1], same, None)
    assert (receipt.verdict, receipt.reason) == ("refused", Reason.TOO_FAR)
    lab.ledger.close()


def test_every_round_is_computed_again_to_the_bit(lab: Clusters) -> None:
    lab.round()
    lab.round(ALL_AT_ONE)
    lab.round()
    for number in range(4):
        assert replay(lab.path, number, SEED).same, number


def test_a_restart_in_between_changes_no_bit(lab: Clusters, tmp_path: Path) -> None:
    lab.round()
    lab.round()
    other = Clusters(tmp_path / "other", TWO)
    other.survey()
    for number in (1, 2):
        for device, cluster in MEMBERS.items():
            other.start(TWO)
            other.sends(
                device, other.models(number - 1)[cluster] + step(number, device), cluster, SAMPLES[device]
            )
        other.finish()
    assert other.model(RoundId(1, 2)) == lab.model(RoundId(1, 2))
    other.ledger.close()


def test_a_device_is_left_out_of_the_model_that_it_trained(lab: Clusters) -> None:
    """Device 0 alone trained model 0, so without it that model is the one of round 1. Model 1 is w'_3 = m_2 +
    (m_3 - w_2) with the same devices, which is w_3 but for rounding."""
    for _ in range(3):
        lab.round()
    w1, w3 = lab.models(1), lab.models(3)
    lab.start(TWO, Rollback(round=1, without=(DEVICES[0],)), generation=2)
    begun = lab.models(0, 2)
    assert np.allclose(begun[0], w1[0], rtol=1e-6)
    assert np.allclose(begun[1], w3[1], rtol=1e-6)
    assert not np.allclose(w3[0], w1[0])
    assert replay(lab.path, 0, SEED).same


def test_a_generation_that_keeps_the_model_keeps_them_all(lab: Clusters) -> None:
    lab.round()
    kept = lab.models(1)
    lab.start(TWO, Rollback(), generation=2)
    assert [model.tobytes() for model in lab.models(0, 2)] == [model.tobytes() for model in kept]
    assert replay(lab.path, 0, SEED).same
    lab.round()
    assert np.allclose(lab.models(1, 2)[1], mean(kept, 1, 1), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("tables", [{}, {"personal": {"name": "clusters", "models": 3}}])
def test_the_number_of_models_changes_only_with_a_survey(lab: Clusters, tables: Mapping[str, Any]) -> None:
    lab.round()
    with pytest.raises(ConfigError) as raised:
        lab.start(tables)
    assert_tells(str(raised.value), "[personal]", "new-generation")
    with pytest.raises(ConfigError) as raised:
        lab.start(tables, Rollback(), generation=2)
    assert_tells(str(raised.value), "1.1", "2", "[personal]")


@pytest.mark.parametrize("tables", [{}, {"personal": {"name": "clusters", "models": 3}}])
def test_nor_before_the_first_round_of_a_generation_that_keeps_them(
    lab: Clusters, tables: Mapping[str, Any]
) -> None:
    """The aggregator stops after it has begun the generation, and before it opens a round."""
    lab.round()
    take_up(lab.settings, lab.ledger, OURS, TakeUp(LeaderCheck(0.0), generation=2), back=Rollback())
    assert lab.ledger.round_as_saved(RoundId(2, 1)) is None, "no round is open"
    with pytest.raises(ConfigError) as raised:
        lab.start(tables)
    assert_tells(str(raised.value), "[personal]", "new-generation")


def test_clusters_do_not_begin_within_a_generation(tmp_path: Path) -> None:
    lab = Clusters(tmp_path / "lab", {})
    lab.survey()
    with pytest.raises(ConfigError) as raised:
        lab.start(TWO)
    assert_tells(str(raised.value), "[personal]", "cluster_1", "new-generation")
    lab.ledger.close()


def test_an_update_that_spoils_its_model_is_set_aside_alone(lab: Clusters) -> None:
    models = lab.models(0)
    huge = np.full(P, 3e38, np.float32)  # finite, but its outputs are not
    for device, cluster in MEMBERS.items():
        vector = huge if device == DEVICES[1] else models[cluster] + step(1, device)
        assert lab.sends(device, vector, cluster).verdict == "admitted"
    lab.finish()
    found = {device: (answer.verdict, answer.reason) for device, answer in lab.state.answers.items()}
    assert found.pop(DEVICES[1]) == ("refused", Reason.SET_ASIDE)
    assert set(found.values()) == {("admitted", None)}
    assert lab.state.round == RoundId(1, 1), "fewer than the quorum are left"


TWENTY = tuple(f"pi-{number:02}" for number in range(20))


@pytest.mark.parametrize("honest", [0, 1, 3], ids=lambda number: f"beside-{number}")
def test_a_liar_moves_a_model_of_few_devices_by_at_most_the_bound(tmp_path: Path, honest: int) -> None:
    """One liar of twenty sends an update that is 10^6 long to a cluster with fewer than five devices, with
    the largest n_k. Each honest difference is 1 long, so M = 1, and the model moves by at most c M = 2.5; by
    2.5 where the liar is alone."""
    lab = Clusters(tmp_path / "lab", TWO, TWENTY)
    lab.survey()
    models = lab.models(0)
    for number, device in enumerate(TWENTY[1:]):
        cluster = 1 if number < honest else 0
        direction = step(1, device)
        lab.sends(device, models[cluster] + direction / np.linalg.norm(direction), cluster)
    lies = lab.sends(TWENTY[0], models[1] + np.float32(1e6 / np.sqrt(P)), 1, samples=1_000_000)
    assert lies.verdict == "admitted"
    lab.finish()
    moved = float(np.linalg.norm(lab.models(1)[1] - models[1].astype(np.float64)))
    bound = Factors().clip_norm * 1.0
    assert moved <= bound * (1 + 1e-5)
    if honest == 0:
        assert moved == pytest.approx(bound, rel=1e-5)
    assert replay(lab.path, 1, SEED).same
    lab.ledger.close()


def test_the_servers_rate_is_that_of_each_model(tmp_path: Path) -> None:
    """With the rate η = 1/2 a model goes half of the way to the mean of its devices."""
    tables = {**TWO, "server": {"name": "average", "rate": 0.5}}
    lab = Clusters(tmp_path / "lab", tables)
    lab.survey()
    before = lab.models(0)
    lab.round()
    for cluster, model in enumerate(lab.models(1)):
        half = (before[cluster].astype(np.float64) + mean(before, 1, cluster)) / 2
        assert np.allclose(model, half, rtol=1e-6, atol=1e-7)
    assert replay(lab.path, 1, SEED).same
    lab.ledger.close()


def test_the_surveys_of_others_change_no_answer_of_any_model(tmp_path: Path) -> None:
    lab = Clusters(tmp_path / "lab", TWO)
    for number, device in enumerate(DEVICES):
        columns = Moments(np.full(2, 100.0), np.full(2, 3.0 * number), np.full(2, 100.0)).to_bytes()
        said = survey(device, lab.state.round, base=lab.state.task.digest, features=columns)
        assert lab.send(device, said).verdict == "admitted"
    lab.finish()
    lab.round()
    before, models = Network(lab.state.task_message.network), lab.models(1)
    lab.start(TWO, Rollback(survey_without=(DEVICES[2],)), generation=2)
    after, folded = Network(lab.state.task_message.network), lab.models(0, 2)
    X = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    for old, new in zip(models, folded, strict=True):
        assert old.tobytes() != new.tobytes(), "the frozen layers are others"
        assert np.allclose(before.predict(old, X), after.predict(new, X), atol=1e-5)
    assert replay(lab.path, 0, SEED).same
    lab.ledger.close()


class Named(Sgd):
    """A local algorithm whose vector has the name of a cluster."""

    receives: ClassVar[tuple[str, ...]] = ("cluster_1",)
    sends: ClassVar[tuple[str, ...]] = ("cluster_1",)


def test_what_clusters_cannot_work_with_is_refused_at_the_start() -> None:
    usual = Parts(personal=Part.of(PERSONAL, "clusters", {"models": 3}))
    assert incompatibility(usual, P) is None
    with registered(counting_codec.ENTRY, Entry("local", "named", Named)):
        counting = replace(usual, codec=Part("counting"))
        assert_tells(incompatibility(counting, P) or "", "[plan] codec", "counting", "[personal]", "clusters")
        assert incompatibility(replace(counting, personal=Part("none")), P) is None
        named = Parts(local=Part("named"))
        assert_tells(incompatibility(named, P) or "", "[plan] local", "named", "cluster_1")
    # 3 models of 4 bytes a weight are more than 2^31 - 1 bytes, and one model is not.
    size = 2**31 // 12
    assert_tells(incompatibility(usual, size) or "", "[personal]", "3 models", f"{12 * size} bytes")
    assert incompatibility(Parts(), size) is None
