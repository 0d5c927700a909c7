"""What robust rules read in blocks: sorted columns, lengths of several updates, means of other rows."""

from itertools import islice

import numpy as np
import pytest
from numpy.typing import NDArray

from fedge.algorithms.rules import bounds
from fedge.algorithms.rules import rows as rows_module
from fedge.algorithms.rules.rows import Mixed, Read, Rows, sorted_columns
from fedge.testing.rule import SomeUpdates

NUMBER, SIZE = 12, 3000
MEMBERS = [[0, 1, 2], [3, 4, 5, 6], [0, 1, 2]] * 4


def drawn(rows: int, columns: int) -> NDArray[np.float32]:
    return np.random.default_rng(rows * columns).normal(size=(rows, columns)).astype(np.float32)


def read() -> Read:
    rows = enumerate(drawn(NUMBER, SIZE))
    return Read(SomeUpdates({f"pi-{k:02d}": (row.copy, 1) for k, row in rows}, SIZE))


def whole(rows: Rows) -> NDArray[np.float64]:
    found = np.full((rows.number, rows.size), np.nan)
    for place, block in rows.blocks():
        found[:, place] = block
    return found


@pytest.mark.parametrize("rows", [1, 2, 19, 300])
def test_each_column_is_sorted(rows: int) -> None:
    block = drawn(rows, 257).astype(float)
    before = block.copy()
    assert (sorted_columns(block) == np.sort(before, axis=0)).all()
    assert (block == before).all(), "the block itself stays"


@pytest.mark.parametrize("size", [1, 7, 2_410, bounds.BLOCK, bounds.BLOCK + 1, 2 * bounds.BLOCK + 5_000])
def test_lengths_of_several_have_the_bits_of_one(size: int) -> None:
    """Also where some are float64, as a clipped update is, and others float32."""
    base, vectors = drawn(1, size)[0], drawn(5, size)
    some = [vectors[0], *(bounds.clipped(base, vector, 0.3) for vector in vectors[1:])]
    for few in (some, some[:1], list(vectors)):
        assert bounds.distances(base, np.stack(few)) == [bounds.distance(base, each) for each in few]


def test_means_of_rows_are_the_same_each_time_and_whatever_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kept after a whole iteration; not kept where they do not fit; made anew after one that was left."""
    kept = Mixed(read(), MEMBERS)
    assert len(list(islice(kept.blocks(), 1))) == 1
    first, second = whole(kept), whole(kept)
    monkeypatch.setattr(rows_module, "BUFFER", 1 << 12)
    small = Mixed(read(), MEMBERS)
    for again in (second, whole(small), whole(small)):
        assert (again == first).all()


def test_a_mean_has_the_bits_of_its_rows_added_by_themselves() -> None:
    rows, found = whole(read()), whole(Mixed(read(), MEMBERS))
    for made, some in zip(found, MEMBERS, strict=True):
        assert (made == rows_module.mean_of_rows(rows, some)).all()
