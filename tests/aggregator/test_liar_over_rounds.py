"""One device that always steps back as far as counts: what comes of it over many rounds of real training."""

import numpy as np
import pytest

from aggregator.aggregation.survey import RULE, standardize
from fedge.algorithms.contribution import MAX_SAMPLES, Contribution, order
from fedge.algorithms.local.descent import train
from fedge.algorithms.rules.bounds import Factors, bounds, clipped, distance
from fedge.algorithms.rules.mean import finish, partial
from fedge.nn import Network, initialize
from fedge.wire.messages.task import Task
from fleet.demo.baselines import held_out
from tests.aggregator.learning import PLAN, Learner, watch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROUNDS = 100
CLAIM = 1_000_000


def learn(learner: Learner, devices: list[str], liar: str | None, factors: Factors) -> tuple[float, float]:
    """Accuracy on the held-out parts of the others, and ‖w‖, after all rounds."""
    task = standardize(learner.task, learner.surveys(), RULE)
    assert isinstance(task, Task)
    network = Network(task.network)
    w = initialize(task.network, np.random.default_rng(1)).astype(np.float32)
    rngs = {device: np.random.default_rng(k) for k, device in enumerate(devices)}
    data = {
        d: (network.prepare(learner.fleet[d].X), network.prepare_targets(learner.fleet[d].y)) for d in devices
    }
    for _ in range(ROUNDS):
        sent = {d: train(network, w, *data[d], PLAN, rngs[d]).vector for d in devices}
        counts = {d: len(data[d][0]) for d in devices}
        if liar is not None:
            lengths = sorted(distance(w, sent[d]) for d in devices if d != liar)
            back = w - sent[liar].astype(np.float64)
            back *= 10 * lengths[len(lengths) // 2] / np.linalg.norm(back)
            sent[liar], counts[liar] = (w + back).astype(np.float32), CLAIM
        norms = [distance(w, sent[d]) for d in devices]
        found = bounds(norms, [counts[d] for d in devices], factors)
        parts = zip(devices, found.weights, found.scales, strict=True)
        w, _ = finish(partial(Contribution(d, n, clipped(w, sent[d], scale)) for d, n, scale in parts))
    honest = {d: learner.fleet[d] for d in devices if d != liar}
    found_accuracy = network.evaluate(w, *held_out(honest)).accuracy
    assert found_accuracy is not None
    return found_accuracy, float(np.linalg.norm(w.astype(np.float64)))


def test_one_liar_of_twenty_costs_the_others_two_points_at_most() -> None:
    learner = watch(20)
    devices = sorted(learner.fleet, key=order)
    liar = devices[10]
    alone, _ = learn(learner, [d for d in devices if d != liar], None, Factors())
    with_it, _ = learn(learner, devices, liar, Factors())
    assert with_it >= alone - 0.02
    loose, _ = learn(learner, devices, liar, Factors(clip_norm=10))
    assert loose < alone - 0.05, "with the factor 10 it costs more: the test can fail"


@pytest.mark.parametrize("number", [5, 7, 10])
def test_from_five_devices_on_the_model_stays_where_it_is(number: int) -> None:
    """It learns worse, but what the liar pushes does not add up."""
    learner = watch(20)
    devices = sorted(learner.fleet, key=order)[:number]
    accuracy, length = learn(learner, devices, devices[number // 2], Factors())
    assert accuracy > 0.5
    assert length < 50


def test_the_largest_claim_is_no_more_than_a_large_one() -> None:
    norms, rest = [10.0, *[1.0] * 19], [100] * 19
    assert bounds(norms, [CLAIM, *rest], Factors()) == bounds(norms, [MAX_SAMPLES, *rest], Factors())
