"""`clusters` (IFCA): a device takes the model with the least loss; what it needs of the other parts."""

import re

import numpy as np
import pytest

from fedge.algorithms.composition import Choice, Composition, unfit, unmet
from fedge.algorithms.personal.clusters import MOST, Clusters, ClustersOptions
from fedge.algorithms.protocols import Array, cluster_names
from fedge.algorithms.registry import PERSONAL
from fedge.algorithms.rules.bounds import Factors, Medians, bounds
from fedge.wire.messages.fields import MAX_VECTORS

RECEIVED = {name: np.full(3, number, np.float32) for number, name in enumerate(cluster_names(3))}


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((3.0, 2.0, 1.0), 2),
        ((3.0, 1.0, 2.0), 1),
        ((1.0, 1.0, 1.0), 0),  # of equal losses the lowest number
        ((np.nan, 2.0, 2.0), 1),
        ((np.nan, np.inf, 7.0), 2),
        ((np.nan, np.nan, np.nan), 0),
    ],
)
def test_a_device_takes_the_model_with_the_least_loss(losses: tuple[float, ...], expected: int) -> None:
    part = Clusters(ClustersOptions(models=3))
    start = part.start(RECEIVED, part.init(3), lambda weights: losses[int(weights[0])])
    assert start.cluster == expected
    assert start.weights is RECEIVED[cluster_names(3)[expected]]


def test_the_model_of_its_own_is_the_one_that_was_announced() -> None:
    part = Clusters(ClustersOptions())
    start = part.start(RECEIVED, {}, lambda weights: -float(weights[0]))
    found = part.adapt(None, start, np.zeros(3, np.float32), lambda: False)  # type: ignore[arg-type]
    assert found.weights is RECEIVED["cluster_1"]
    assert {name: int(array) for name, array in found.state.items()} == {"cluster": 1}


@pytest.mark.parametrize(
    ("received", "told"),
    [
        ({"weights": RECEIVED["weights"]}, "cluster_1"),
        ({**RECEIVED, "cluster_1": np.zeros(4, np.float32)}, "(4,)"),
    ],
)
def test_an_announced_model_that_lacks_a_cluster_is_no_model(received: dict[str, Array], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        Clusters(ClustersOptions()).start(received, {}, lambda _: 0.0)


def test_the_most_clusters_are_what_a_message_holds() -> None:
    assert MOST == 1 + MAX_VECTORS
    assert PERSONAL.make("clusters", {"models": MOST}).models == MOST
    for wrong in (1, MOST + 1):
        with pytest.raises(ValueError, match="models"):
            PERSONAL.make("clusters", {"models": wrong})


@pytest.mark.parametrize(
    ("kind", "name"), [("local", "scaffold"), ("local", "nova"), ("local", "dyn"), ("server", "adam")]
)
def test_parts_with_a_memory_of_one_model_are_refused(kind: str, name: str) -> None:
    chosen = Composition.usual().having("personal", Choice.of("personal", "clusters"))
    assert unfit(chosen) is None
    assert unfit(chosen.having("local", Choice.of("local", "prox"))) is None
    parts = {kind: name}
    if name == "nova":
        parts["rule"] = "nova"
    if name == "dyn":
        parts["server"] = "dyn"
    for each, named in parts.items():
        chosen = chosen.having(each, Choice.of(each, named))
    assert kind in [each.need.kind for each in unmet(chosen) if each.kind == "personal"]


def test_few_updates_are_bounded_by_the_medians_of_the_whole_round() -> None:
    """Of one update with norm 100 and n_k 900, in a round of 20 whose medians are 2 and 30: the length counts
    as 2.5 · 2 = 5, that is 1/20 of it, and n_k as at most 10 · 30, and then as 30, because more would pull
    harder than 5 · 30."""
    whole = Medians(2.0, 30, 20)
    found = bounds([100.0], [900], Factors(), whole)
    assert (found.scales, found.weights, found.median_norm) == ((0.05,), (30,), 2.0)
    assert bounds([100.0], [900], Factors()).scales == (1.0,), "by itself its own median would not bound it"
    five = [1.0, 1.0, 1.0, 1.0, 100.0]
    assert bounds(five, [1] * 5, Factors(), whole) == bounds(five, [1] * 5, Factors())
    few = Medians(2.0, 30, 4)
    assert bounds([100.0], [900], Factors(), few).scales == (1.0,), "a round of four bounds no lengths"
