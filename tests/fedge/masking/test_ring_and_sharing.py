"""Sums never leave the ring, and secrets come back from any `threshold` shares and from no fewer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.masked_cohort import terms_of
from fedge.masking import ciphers
from fedge.masking.keys import ring_for
from fedge.masking.ring import Ring
from fedge.masking.sharing import PRIME, RANDOM_BYTES, SHARE_BYTES, joined, split

RINGS = st.builds(Ring, st.integers(2, 16), st.integers(1, 1_000), st.integers(1, 2**20))


@given(ring=RINGS, sign=st.sampled_from((-1, 1)))
def test_the_largest_sum_there_can_be_is_exact(ring: Ring, sign: int) -> None:
    """Fault 78: n W L at the bound, computed as that many times the same element."""
    one = ring.elements(np.array([sign * ring.levels, 0]), ring.max_weight)
    total = (one.astype(object) * ring.devices) % (1 << ring.bits)
    found = ring.signed(total.astype(np.uint64).astype(ring.word))
    assert found.tolist() == [sign * ring.levels * ring.max_weight * ring.devices, 0]


@given(ring=RINGS, seed=st.integers(0, 2**32))
def test_masks_cancel_and_bytes_come_back(ring: Ring, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = ring.elements(rng.integers(-ring.levels, ring.levels + 1, 7))
    mask = ciphers.mask(rng.bytes(32), ring, 7)
    body = ring.packed(ring.added(values, mask))
    assert len(body) == 7 * ring.width
    back = ring.unpacked(body, 7)
    assert back is not None
    assert (ring.signed(ring.without(back, mask)) == ring.signed(values)).all()
    assert ring.unpacked(body + b"\0", 7) is None


@pytest.mark.parametrize("size", [1, 16_384, 40_001])
@pytest.mark.parametrize("ring", [Ring(8, 1), Ring(8, 100), Ring(8, 1_000), Ring(16, 1_000, 2**20)])
def test_masks_that_are_added_by_parts_are_the_masks(ring: Ring, size: int) -> None:
    """Words of 1, 2, 4 and 8 bytes, in parts of 65,536 bytes."""
    rng = np.random.default_rng(size)
    values = ring.elements(rng.integers(-ring.levels, ring.levels + 1, size))
    keys = [rng.bytes(32) for _ in range(5)]
    expected = values
    for key in keys[:3]:
        expected = ring.added(expected, ciphers.mask(key, ring, size))
    for key in keys[3:]:
        expected = ring.without(expected, ciphers.mask(key, ring, size))
    found = ciphers.masked(values, ring, keys[:3], keys[3:])
    assert found.dtype == ring.word
    assert (found == expected).all()
    assert (ring.signed(ciphers.masked(found, ring, keys[3:], keys[:3])) == ring.signed(values)).all()


def test_rounding_by_parts_is_that_of_the_whole() -> None:
    """The formula of the module, of all entries at once; some are beyond the clip, and L stays L."""
    ring = Ring(8, 100)
    vector = np.random.default_rng(1).normal(0, 0.5, 40_001).astype(np.float32)
    drawn = np.random.Generator(np.random.SFC64(5)).random(len(vector), np.float32)
    expected = np.floor(np.clip(vector * (127 / np.float64(1.0)), -127, 127) + drawn.astype(np.float64))
    found = ring.rounded(vector, 1.0, seed=5)
    assert (found == expected).all()
    assert (int(found.max()), int(found.min())) == (127, -127)


def test_int8_of_a_hundred_devices_takes_16_bits_and_of_a_thousand_24() -> None:
    """8 + ⌈log2 100⌉ = 15 and 8 + 10 = 18, in whole bytes."""
    assert [Ring(8, n).needed_bits for n in (100, 256, 257, 1_000)] == [15, 16, 17, 18]
    assert [Ring(8, n).bits for n in (100, 256, 257, 1_000)] == [16, 16, 24, 24]
    assert ring_for(terms_of(100)).packed(np.zeros(200_000, np.uint16)) == bytes(400_000)


def test_what_could_overflow_is_no_element_and_no_ring() -> None:
    ring = Ring(8, 100, 10)
    for levels, weight in (([128], 1), ([-128], 1), ([1], 11), ([1], 0)):
        with pytest.raises(ValueError, match="beyond"):
            ring.elements(np.array(levels), weight)
    with pytest.raises(ValueError, match="word"):
        Ring(16, 2**30, 2**20)


def test_rounding_is_right_in_the_mean_and_stays_within_the_levels() -> None:
    """100,000 draws of a level between 12 and 13: a standard deviation of at most .5 / √100,000 = .0016."""
    ring = Ring(8, 100)
    vector = np.full(100_000, 0.1, np.float32)
    levels = ring.rounded(vector, 1.0, seed=3)
    assert set(levels.tolist()) == {12, 13}
    assert levels.mean() == pytest.approx(12.7, abs=0.01)
    assert ring.rounded(np.array([9.0, -9.0]), 1.0, seed=0).tolist() == [127, -127]


@given(data=st.data(), secret=st.binary(min_size=32, max_size=32), holders=st.integers(1, 12))
def test_any_threshold_shares_give_the_secret(data: st.DataObject, secret: bytes, holders: int) -> None:
    threshold = data.draw(st.integers(1, holders))
    random = data.draw(
        st.binary(min_size=(threshold - 1) * RANDOM_BYTES, max_size=(threshold - 1) * RANDOM_BYTES)
    )
    shares = dict(
        zip(range(1, holders + 1), split(secret, threshold, range(1, holders + 1), random), strict=True)
    )
    assert all(len(share) == SHARE_BYTES for share in shares.values())
    chosen = data.draw(st.permutations(sorted(shares)))[: data.draw(st.integers(threshold, holders))]
    assert joined({point: shares[point] for point in chosen}) == secret


@pytest.mark.parametrize("threshold", [2, 3, 7, 43])
def test_one_share_less_gives_something_else(threshold: int) -> None:
    """The polynomial has the full degree; shares of a line, say, would be enough by two."""
    random = np.random.default_rng(threshold).bytes((threshold - 1) * RANDOM_BYTES)
    points = range(1, threshold + 1)
    shares = dict(zip(points, split(b"s" * 32, threshold, points, random), strict=True))
    assert joined(shares) == b"s" * 32
    for least in range(1, threshold):
        assert joined({point: shares[point] for point in points[:least]}) != b"s" * 32


@given(
    secret=st.integers(0, 2**256 - 1),
    other=st.integers(0, 2**256 - 1),
    threshold=st.integers(2, 6),
    seed=st.integers(0),
)
def test_fewer_shares_fit_every_secret(secret: int, other: int, threshold: int, seed: int) -> None:
    """With t - 1 shares, any other secret has a share at the next point that completes it."""
    random = np.random.default_rng(seed).bytes((threshold - 1) * RANDOM_BYTES)
    points = range(1, threshold + 1)
    known = dict(zip(points, split(secret.to_bytes(32, "big"), threshold, points, random), strict=True))
    del known[threshold]
    at_zero = 0
    for x, share in known.items():
        weight = 1
        for y in (*known, threshold):
            weight = weight if y == x else weight * y * pow(y - x, -1, PRIME) % PRIME
        at_zero += weight * int.from_bytes(share, "big")
    last = 1
    for x in known:
        last = last * x * pow(x - threshold, -1, PRIME) % PRIME
    fitting = (other - at_zero) * pow(last, -1, PRIME) % PRIME
    assert joined({**known, threshold: fitting.to_bytes(33, "big")}) == other.to_bytes(32, "big")


def test_what_is_no_share_gives_nothing() -> None:
    share = split(b"s" * 32, 1, [1], b"")[0]
    assert joined({1: share}) == b"s" * 32
    assert joined({1: share[1:]}) is None
    assert joined({1: PRIME.to_bytes(33, "big")}) is None
    assert joined({1: (2**256).to_bytes(33, "big")}) is None, "no secret has 257 bits"
    for threshold, points in ((2, [1]), (1, [0]), (1, [1, 1])):
        with pytest.raises(ValueError, match="shares"):
            split(b"s" * 32, threshold, points, bytes(RANDOM_BYTES * (threshold - 1)))
