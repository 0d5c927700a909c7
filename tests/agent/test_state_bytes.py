"""An algorithm's state as bytes, and the lineage that it belongs to."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.trainers import states
from fedge.algorithms.plan import Plan
from tests.agent.algorithm_states import LINEAGE, state_of
from tests.agent.test_questions import manifest

arrays = st.dictionaries(
    st.text(max_size=20),
    st.sampled_from(
        [
            np.arange(6, dtype=np.float32).reshape(2, 3),
            np.array(3.5),
            np.array([], np.float64),
            np.array([True, False]),
            np.arange(4, dtype=">i8"),
            np.array([np.nan, np.inf, -0.0], np.float32),
            np.ones((2, 2), np.complex64)[:, :1],
        ]
    ),
    max_size=5,
)


@given(arrays)
def test_a_state_comes_back_as_it_was(state: dict[str, Any]) -> None:
    found = states.unpack(states.pack(state))
    assert found.keys() == state.keys()
    for name, array in state.items():
        assert found[name].shape == array.shape
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].tobytes() == array.astype(found[name].dtype).tobytes()


def test_the_same_state_is_the_same_bytes_in_whatever_order() -> None:
    one, two = np.ones(2), np.zeros(3)
    assert states.pack({"a": one, "b": two}) == states.pack({"b": two, "a": one})


@pytest.mark.parametrize(
    "state",
    [
        {"a": np.array(["text"])},
        {"a": np.array([object()])},
        {"a" * (states.MAX_NAME + 1): np.zeros(1)},
        {str(n): np.zeros(1) for n in range(states.MAX_ARRAYS + 1)},
        {"a": np.lib.stride_tricks.as_strided(np.zeros(1), (states.MAX_BYTES // 8 + 1,), (0,))},
    ],
    ids=["text", "objects", "name", "arrays", "bytes"],
)
def test_what_cannot_be_kept_is_refused_before_it_is_written(state: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="state"):
        states.pack(state)


@given(st.binary(max_size=60))
def test_other_bytes_are_no_state(data: bytes) -> None:
    whole = states.pack({"a": np.arange(3.0)})
    for spoilt in (data, whole + data[:1], whole[:-1], data + whole):
        if spoilt != whole:
            with pytest.raises((ValueError, TypeError)):
                states.unpack(spoilt)


def test_a_state_of_another_lineage_is_not_gone_on_with() -> None:
    said = manifest(2)
    kept = replace(state_of(1), data=states.pack({"local/n": np.array(1)}))
    assert states.current(kept, LINEAGE, said) == {"local/n": np.array(1)}
    assert states.current(kept, bytes(32), said) is None
    assert states.current(None, LINEAGE, said) is None
    assert states.current(replace(kept, data=b"of a newer program"), LINEAGE, said) is None


def test_a_lineage_is_of_what_stays_from_round_to_round() -> None:
    plan = Plan()

    def lineage(round_: int = 1, *, plan: Plan = plan, trainer: str = "", **fields: Any) -> bytes:
        return states.lineage_of(manifest(round_, **fields), plan, trainer)

    assert lineage(1) == lineage(7, attempt=3, seed=99, seconds_left=1.0)
    assert lineage(plan=Plan(epochs=9, learning_rate=0.2)) == lineage(), "how far it goes, not what it is"
    others = [
        lineage(generation=2, task=manifest(1).task),
        lineage(task=manifest(1, generation=9).task),
        lineage(plan=Plan(local="other")),
        lineage(plan=Plan(local_options={"mu": 0.1})),
        lineage(plan=Plan(codec="other")),
        lineage(plan=Plan(codec_options={"k": 3})),
        lineage(trainer="mine:make"),
    ]
    assert len({lineage(), *others}) == 1 + len(others)
    told, kept = (lineage(plan=Plan(local="dyn", local_options=o)) for o in ({"alpha": 0.1}, None))
    assert told == kept != lineage(plan=Plan(local="dyn", local_options={"alpha": 0.2})), "0.1 is the default"
