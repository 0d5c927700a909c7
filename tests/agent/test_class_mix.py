"""What a device tells of its classes: nothing unless its owner says so, and then names and rounded counts."""

import doctest
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.data import class_mix
from agent.data.class_mix import LEAST, Mix, mix_of, rounded
from agent.data.snapshot import Snapshot, current
from agent.settings.data import DataSettings
from agent.sources.samples import Samples
from fedge.wire.messages.survey import MAX_CLASSES_TOLD, ClassCount

TELLING = DataSettings(tell_classes=True)


def samples(y: NDArray[Any] | None, unanswered: NDArray[np.bool_] | None = None) -> Samples:
    n = 40 if y is None else len(y)
    X = np.arange(n, dtype=np.float32)[:, None]
    return Samples("here", X, ("heat",), y, "y", np.zeros(n, np.int64), (("here", n),), unanswered=unanswered)


def texts(**rows: int) -> NDArray[Any]:
    return np.array([name for name, n in rows.items() for _ in range(n)])


def of_all(y: NDArray[Any], **meant: str) -> Mix:
    return mix_of(samples(y), np.arange(len(y)), meant)


def told(found: Mix, classes: tuple[str, ...], first: int | None = None) -> dict[str, int]:
    return {each.name: each.rows for each in found.tell(classes, first)}


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(class_mix) == (0, 1)


@given(st.integers(LEAST, 2**31 - 1))
def test_a_rounded_count_is_near_and_none_is_lost(rows: int) -> None:
    assert rounded(rows) >= LEAST
    assert abs(rounded(rows) - rows) <= max(2, rows / 20)


def test_half_of_a_character_is_no_name_that_is_told_and_spoils_no_survey() -> None:
    """JSON lines, archives and functions can hold one."""
    data = samples(texts(**{"a\ud800": 40, "run": 60}))
    assert current(None, data, TELLING).mix == Mix((("run", 40),), numbered=False)


def test_unless_the_owner_says_so_nothing_is_measured() -> None:
    data = samples(texts(walk=40, run=60))
    assert current(None, data, DataSettings()).mix is None
    assert current(None, data, TELLING).mix == Mix((("run", 40), ("walk", 40)), numbered=False)


def test_to_turn_it_on_or_off_is_a_change_of_the_owners() -> None:
    data = samples(texts(walk=40, run=60))
    silent = current(None, data, DataSettings())
    telling = current(silent, data, TELLING)
    assert telling.mix is not None
    assert current(telling, data, DataSettings()).mix is None


def test_it_is_told_again_as_it_was_until_twenty_rows_are_new() -> None:
    """Two surveys around one new row of a class give nothing away."""
    y = texts(walk=47, run=60)
    before = current(None, samples(y), TELLING)
    assert current(before, samples(np.append(y, "walk")), TELLING) is before


def test_the_snapshot_keeps_it_and_one_of_a_program_before_has_none() -> None:
    found = current(None, samples(texts(walk=40, run=60)), TELLING)
    assert Snapshot.from_bytes(found.to_bytes()).mix == found.mix
    silent = replace(found, mix=None).to_bytes()
    size = int.from_bytes(silent[:4], "little")
    head = silent[4 : 4 + size].replace(b', "mix": null', b"")
    older = len(head).to_bytes(4, "little") + head + silent[4 + size :]
    assert older != silent
    assert Snapshot.from_bytes(older).mix is None


def test_a_text_of_few_rows_may_be_a_note_and_is_not_told() -> None:
    y = texts(walk=40, **{"met Anna": LEAST - 1})
    assert told(of_all(y), ("walk",)) == {"walk": 40}


@pytest.mark.parametrize("name", ["x" * 61, "a\nb", "a\u202eb", ""])
def test_a_name_that_no_message_holds_is_not_told(name: str) -> None:
    assert told(of_all(np.array([name] * 40 + ["walk"] * 40)), ("walk",)) == {"walk": 40}


def test_of_very_many_classes_those_with_the_most_rows_are_told() -> None:
    y = np.array([f"c{k}" for k in range(MAX_CLASSES_TOLD + 50) for _ in range(5 if k < 50 else 10)])
    found = told(of_all(y), ("walk",))
    assert len(found) == MAX_CLASSES_TOLD
    assert set(found.values()) == {10}


def test_of_more_rows_than_count_the_same_shares_are_told() -> None:
    found = Mix((("walk", 3_000), ("run", 1_000), ("fall", 5)), False)
    assert found.as_if_of(4_000, 400) == Mix((("walk", 300), ("run", 100)), False)
    assert found.as_if_of(4_000, 4_000) == found


def test_numbers_are_told_as_the_tasks_classes_where_they_count_them() -> None:
    found = of_all(np.array([0] * 40 + [1] * 60 + [7] * 10))
    assert told(found, ("still", "walk")) == {"walk": 60, "still": 40, "7": 10}
    assert told(found, ("still", "walk"), first=1) == {"still": 60, "0": 40, "7": 10}
    assert told(found, ("0", "1")) == {"1": 60, "0": 40, "7": 10}
    assert told(of_all(np.array(["0"] * 40)), ("still", "walk")) == {"0": 40}, "a text counts nothing"
    assert told(found, ("x" * 61, "walk")) == {"walk": 60, "0": 40, "7": 10}


def test_what_the_owner_says_is_meant_is_told_whatever_the_task() -> None:
    """Else two tasks, one with that class and one without, would tell more than one."""
    found = of_all(texts(Walk=8, walk=33), Walk="walk")
    for classes in (("walk", "run"), ("run", "jump")):
        assert found.tell(classes, None) == (ClassCount(name="walk", rows=40),)


def test_a_number_and_a_text_that_mean_one_class_are_one() -> None:
    found = Mix((("0", 40), ("walk", 10)), numbered=True)
    assert told(found, ("walk", "run")) == {"walk": 50}


@pytest.mark.parametrize("y", [None, np.zeros(40, np.float32), np.zeros((40, 2), np.int64)])
def test_answers_that_are_no_classes_are_not_told(y: NDArray[Any] | None) -> None:
    assert mix_of(samples(y), np.arange(40), {}) == Mix((), numbered=False)


def test_rows_without_an_answer_do_not_count() -> None:
    data = samples(np.array([0] * 40), np.arange(40) < 10)
    assert mix_of(data, np.arange(40), {}).rows == (("0", 30),)


def test_only_the_rows_for_training_count() -> None:
    found = current(None, samples(texts(walk=80, run=20)), TELLING).mix
    assert found is not None
    assert found.rows == (("walk", 80),), "the last fifth is held out"
