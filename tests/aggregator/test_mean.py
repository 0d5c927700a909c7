import tracemalloc
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedge.algorithms.contribution import MAX_SAMPLES, Contribution, order
from fedge.algorithms.rules.mean import BLOCK, Partial, finish, partial
from fedge.wire.topics import lane_of
from tests.wording import telling

PROPERTY = settings(deadline=None, max_examples=60)
# Forty devices in five lanes, so that lanes are shared, and forty anywhere.
CROWDED = [device for k in range(2_560) if lane_of(device := f"pi-{k}") in (0, 1, 57, 128, 255)][:40]
DEVICES = CROWDED + [f"node-{k}" for k in range(40)]
P = 4

SAMPLES = st.one_of(st.integers(1, 500), st.integers(1, MAX_SAMPLES))
ANY_WEIGHT = st.floats(allow_nan=False, allow_infinity=False, width=32)
TRAINED_WEIGHT = st.floats(-8.0, 8.0, width=32)


def fleets(weight: st.SearchStrategy[float] = ANY_WEIGHT) -> st.SearchStrategy[list[Contribution]]:
    vector = arrays(np.float32, P, elements=weight)
    contribution = st.builds(Contribution, st.sampled_from(DEVICES), SAMPLES, vector)
    return st.lists(contribution, min_size=1, max_size=30, unique_by=lambda c: c.device)


def in_order(contributions: list[Contribution]) -> list[Contribution]:
    return sorted(contributions, key=lambda c: order(c.device))


def mean(contributions: list[Contribution]) -> np.ndarray:
    return finish(partial(in_order(contributions)))[0]


def reference(contributions: list[Contribution]) -> tuple[np.ndarray, np.ndarray, int]:
    """Law 5 read aloud: the sum in float64, the mean in float32, and n."""
    nodes: list[np.ndarray | None] = [None] * 256
    for c in sorted(contributions, key=lambda c: c.device):
        product = np.float64(c.samples) * c.vector.astype(np.float64)
        lane = lane_of(c.device)
        nodes[lane] = product if nodes[lane] is None else nodes[lane] + product
    while len(nodes) > 1:
        nodes = [
            right if left is None else left if right is None else left + right
            for left, right in zip(nodes[::2], nodes[1::2], strict=True)
        ]
    n = sum(c.samples for c in contributions)
    return nodes[0], (nodes[0] / np.float64(n)).astype(np.float32), n


@PROPERTY
@given(fleets(), st.randoms(use_true_random=False))
def test_the_mean_is_the_reference_to_the_last_bit_in_any_order_of_arrival(fleet, random) -> None:
    total, expected, n = reference(fleet)
    random.shuffle(fleet)
    whole = partial(in_order(fleet))
    vector, samples = finish(whole)
    assert whole.total.tobytes() == total.tobytes()
    assert vector.tobytes() == expected.tobytes()
    assert (vector.dtype, samples) == (np.float32, n)


@PROPERTY
@given(fleets(), st.integers(0, 8))
def test_a_node_is_the_sum_of_its_halves_whoever_has_computed_them(fleet, depth) -> None:
    """So workers may own aligned ranges of lanes, and no bit changes."""
    nodes = []
    for start in range(0, 256, 256 >> depth):
        lanes = range(start, start + (256 >> depth))
        of_it = (c for c in in_order(fleet) if lane_of(c.device) in lanes)
        nodes.append(partial(of_it, lanes).total)
    while len(nodes) > 1:
        nodes = [
            right if left is None else left if right is None else left + right
            for left, right in zip(nodes[::2], nodes[1::2], strict=True)
        ]
    assert nodes[0].tobytes() == reference(fleet)[0].tobytes()


@PROPERTY
@given(fleets(TRAINED_WEIGHT))
def test_the_mean_is_within_one_float32_unit_of_the_exact_one(fleet) -> None:
    n = sum(c.samples for c in fleet)
    for j, computed in enumerate(mean(fleet)):
        exact = sum((Fraction(c.samples, n) * Fraction(float(c.vector[j])) for c in fleet), Fraction(0))
        # Products, sums and division in float64, each off by 2^-53 of no more than Σ n_k|w_k|: seen only
        # where the summands cancel, for then one unit of a tiny result is less than that.
        cancelled = (len(fleet) + 2) * 2.0**-53 * max(abs(float(c.vector[j])) for c in fleet)
        assert abs(Fraction(float(computed)) - exact) <= float(np.spacing(abs(computed))) + cancelled


def test_a_thousand_devices_are_within_one_float32_unit_of_the_exact_mean() -> None:
    rng = np.random.default_rng(11)
    W = rng.standard_normal((1_000, 50), dtype=np.float32)
    samples = rng.integers(20, 5_000, size=1_000).tolist()
    computed = mean([Contribution(f"n-{k}", n, w) for k, (n, w) in enumerate(zip(samples, W, strict=True))])
    for j, value in enumerate(computed):
        exact = sum(n * Fraction(float(w)) for n, w in zip(samples, W[:, j], strict=True)) / sum(samples)
        assert abs(Fraction(float(value)) - exact) <= Fraction(float(np.spacing(abs(value))))


@PROPERTY
@given(fleets(TRAINED_WEIGHT), st.integers(1, 2**20))
def test_the_mean_is_blind_to_a_common_factor_of_the_sample_counts(fleet, factor) -> None:
    fleet = [Contribution(c.device, 1 + c.samples % 2**32, c.vector) for c in fleet]
    scaled = [Contribution(c.device, c.samples * factor, c.vector) for c in fleet]
    largest = np.abs([c.vector for c in fleet]).max()
    a, b = mean(fleet), mean(scaled)
    # A product n_k·w_k has up to 53 + 24 bits and is rounded anew for each factor, so not every bit can stay.
    tolerance = np.spacing(np.maximum(abs(a), abs(b))) + 2 * (len(fleet) + 2) * 2.0**-53 * largest
    assert (abs(a.astype(np.float64) - b) <= tolerance).all()


@PROPERTY
@given(fleets(TRAINED_WEIGHT), st.integers(0, 20))
def test_a_power_of_two_as_common_factor_changes_no_bit(fleet, exponent) -> None:
    fleet = [Contribution(c.device, 1 + c.samples % 2**32, c.vector) for c in fleet]
    scaled = [Contribution(c.device, c.samples << exponent, c.vector) for c in fleet]
    assert mean(scaled).tobytes() == mean(fleet).tobytes()


@PROPERTY
@given(fleets())
def test_the_mean_lies_between_the_smallest_and_the_largest_weight(fleet) -> None:
    W = np.array([c.vector for c in fleet], dtype=np.float64)
    unit = np.maximum(2.0**-23 * np.abs(W).max(axis=0), 2.0**-149)  # float32's, of the largest
    assert (W.min(axis=0) - unit <= mean(fleet)).all()
    assert (mean(fleet) <= W.max(axis=0) + unit).all()


def test_an_empty_lane_adds_nothing_not_even_a_positive_zero() -> None:
    vector = np.array([-0.0, 1.0], dtype=np.float32)
    alone, n = finish(partial([Contribution("pi-1", 3, vector)]))
    assert alone.tobytes() == vector.tobytes()
    assert n == 3
    assert partial([], range(4, 8)).total is None


def test_float64_weights_stay_float64_where_asked() -> None:
    fleet = [Contribution("a", 1, np.array([1.0])), Contribution("b", 2, np.array([1.0 + 2.0**-40]))]
    vector, _ = finish(partial(in_order(fleet)), dtype=np.float64)
    assert vector.dtype == np.float64
    assert vector[0] == (1.0 + 2.0 * (1.0 + 2.0**-40)) / 3


def test_vectors_longer_than_a_block_are_summed_whole() -> None:
    rng = np.random.default_rng(5)
    fleet = [
        Contribution(d, 7 + k, rng.standard_normal(BLOCK + 3, dtype=np.float32))
        for k, d in enumerate(CROWDED)
    ]
    assert mean(fleet).tobytes() == reference(fleet)[1].tobytes()


def test_memory_does_not_grow_with_the_number_of_updates() -> None:
    p = 20_000
    devices = sorted((f"n-{k}" for k in range(1_000)), key=order)
    buffer = np.ones(p, dtype=np.float32)

    def one_at_a_time() -> Iterator[Contribution]:
        for k, device in enumerate(devices):
            buffer.fill(k)  # what was yielded before is no longer needed
            yield Contribution(device, 1, buffer)

    tracemalloc.start()
    whole = partial(one_at_a_time())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (whole.total == 999 * 1_000 / 2).all()
    assert peak <= (8 + 2) * 8 * p + 8 * BLOCK


W = np.ones(2, dtype=np.float32)
FIRST, SECOND = sorted(("pi-1", "pi-2"), key=order)


@pytest.mark.parametrize(
    ("contributions", "text"),
    [
        ([Contribution("pi-1", 1, W), Contribution("pi-1", 1, W)], "'pi-1'.*twice"),
        ([Contribution(SECOND, 1, W), Contribution(FIRST, 1, W)], f"{FIRST!r}.*{SECOND!r}"),
        ([Contribution("pi-1", -1, W)], "n_k"),
        ([Contribution("pi-1", MAX_SAMPLES + 1, W)], "n_k"),
        ([Contribution("pi-1", True, W)], "n_k"),
        ([Contribution("pi-1", 1.5, W)], "n_k"),
        ([Contribution("pi-1", 1, W.reshape(2, 1))], r"shape \(2, 1\)"),
        (
            [Contribution(FIRST, 1, W), Contribution(SECOND, 1, W[:1])],
            rf"{SECOND!r}.*\(1,\), expected \(2,\)",
        ),
    ],
)
def test_contributions_that_cannot_be_summed_are_refused(contributions, text) -> None:
    with pytest.raises(ValueError, match=text):
        partial(contributions)


@pytest.mark.parametrize("offset", [-1, 1])
def test_a_device_of_another_lane_is_refused(offset: int) -> None:
    lane = lane_of("pi-1") + offset
    with pytest.raises(ValueError, match=telling("'pi-1'", f"{range(lane, lane + 1)}")):
        partial([Contribution("pi-1", 1, W)], range(lane, lane + 1))


@pytest.mark.parametrize(
    "lanes", [range(0), range(3), range(2, 6), range(-2, 0), range(256, 512), range(512), range(0, 4, 2)]
)
def test_only_nodes_of_the_tree_have_partial_sums(lanes: range) -> None:
    with pytest.raises(ValueError, match=telling(f"{lanes}")):
        partial([], lanes)
    with pytest.raises(ValueError, match=telling(f"{lanes}")):
        Partial(lanes, 0, None)


def test_there_is_no_mean_of_some_lanes_only() -> None:
    with pytest.raises(ValueError, match=telling("range(0, 256)", "range(0, 128)")):
        finish(Partial(range(0, 128), 1, np.ones(2)))


@pytest.mark.parametrize("contributions", [[], [Contribution("pi-1", 0, W)]])
def test_no_samples_have_no_mean_and_never_zeros(contributions) -> None:
    with pytest.raises(ValueError, match=telling("no samples")):
        finish(partial(contributions))
