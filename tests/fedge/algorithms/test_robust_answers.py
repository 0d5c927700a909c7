"""Robust rules give the answers of their slow twins, with liars at the worst places, and some by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from fedge.algorithms.registry import RULES
from fedge.testing.rule import SomeUpdates
from tests.fedge.algorithms.robust_cases import off
from tests.fedge.algorithms.robust_twins import WAYS

ABSOLUTE: dict[str, tuple[dict[str, Any], ...]] = {
    "centered-clipping": ({"radius": 0.8}, {"radius": 0.3, "iterations": 2}, {"iterations": 3}),
    "norm-bound": ({"length": 0.8},),
}


@pytest.mark.parametrize("pre", ["none", "nnm", "bucketing"])
@pytest.mark.parametrize("name", WAYS)
def test_each_rule_gives_the_answer_of_its_twin(name: str, pre: str) -> None:
    for bucket in (2, 3) if pre == "bucketing" else (2,):
        for absolute in ({}, *ABSOLUTE.get(name, ())):
            assert off(name, {"pre": pre, "bucket": bucket, **absolute}) < 1e-6


def answer(name: str, values: Sequence[float], f: int, **options: Any) -> float:
    """What a rule makes of updates of one number each."""
    rule = RULES.make(name, {"f": f, **options})
    vectors = {f"pi-{k}": (np.array([value], np.float32).copy, 1) for k, value in enumerate(values)}
    return float(rule.aggregate(SomeUpdates(vectors, 1), np.zeros(1, np.float32), rule.init(1)).vector[0])


def test_values_that_liars_repeat_do_not_stop_bulyans_search_for_the_nearest() -> None:
    """Of 23 devices 5 send the same lie in one coordinate, and the middle of the other, so Krum chooses them.

    Where four of them are chosen, the lie stands at the low end once more than the 3 values that are taken:
    the search for the nearest ones has to pass all of them.
    """
    honest = np.array([[1000 * k, k] for k in range(-8, 10)])
    matrix = np.concatenate([honest, [[0, -100]] * 5]).astype(np.float32)
    vectors = {f"pi-{k}": (row.copy, 1) for k, row in enumerate(matrix)}
    rule = RULES.make("bulyan", {"f": 5})
    made = rule.aggregate(SomeUpdates(vectors, 2), np.zeros(2, np.float32), {})
    counted = [made.counted[f"pi-{k}"] for k in range(18, 23)]
    assert sorted(counted)[1:] == [0.5] * 4, "four are chosen, and out in one coordinate"
    assert -8 <= made.vector[1] <= 9


def test_answers_worked_out_by_hand() -> None:
    """Krum, n = 5 and f = 1, sums the squares to 3 others.

    | x | others, from the nearest | 2 squares | 3 squares | 3 distances |
    | 0 | 4, 6, 7  | 52 | 101 | 17 |
    | 4 | 2, 3, 4  | 13 |  29 |  9 |
    | 6 | 1, 2, 6  |  5 |  41 |  9 |
    | 7 | 1, 3, 7  | 10 |  59 | 11 |

    So 4 is chosen; with 2 others 6 would be, and by distances 4 and 6 would be equally good.
    """
    five = [0, 4, 6, 7, 100]
    assert answer("krum", five, 1) == 4
    # The liar at 100 has by far the largest score; the others' mean is left.
    assert answer("multi-krum", five, 1) == pytest.approx((0 + 4 + 6 + 7) / 4)
    assert answer("trimmed-mean", five, 1) == pytest.approx((4 + 6 + 7) / 3)
    # Each is replaced by the mean of its 4 nearest: 100 by (100 + 7 + 6 + 4) / 4; the others by 4.25.
    assert answer("median", five, 1, pre="nnm") == pytest.approx(4.25)
    assert answer("trimmed-mean", five, 1, pre="nnm") == pytest.approx(4.25)
