"""What admission has measured of updates: closing does not read them for it, and makes the same model."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.aggregation import updates
from aggregator.aggregation.aggregate import aggregate
from aggregator.aggregation.outcome import job_of
from aggregator.aggregation.updates import Updates
from aggregator.core.verdicts import Measured, Verdict
from aggregator.ledger.writing import Ledger
from fedge.algorithms.codecs import float32
from fedge.algorithms.rules.bounds import Factors, distance
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update
from tests.aggregator.stories import OPEN, P, digest_of, running, update
from tests.aggregator.test_outcome import admit, ledger_in

BASE = np.linspace(-1, 1, P).astype(np.float32)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with ledger_in(tmp_path) as ledger:
        yield ledger


def sent(device: str, seed: int) -> Update:
    """An update of 7 + `seed` steps, at a distance that grows with `seed`."""
    vector = BASE + np.random.default_rng(seed).normal(0, seed, P)
    return update(device, OPEN, samples=100 + seed, steps=7 + seed, body=float32.encode(vector.astype("f4")))


def measured(*messages: Update) -> dict[str, Verdict]:
    return {
        each.device: Verdict(
            digest_of(each),
            "admitted",
            samples=each.samples,
            measured=Measured(each.steps, distance(BASE, float32.decode(each.body, P))),
        )
        for each in messages
    }


@contextlib.contextmanager
def counting() -> Iterator[list[str]]:
    """The devices whose updates are read."""
    once, devices = updates.read_each, list[str]()

    def counted(*of: Any) -> Iterator[tuple[str, Verdict, Update | Survey]]:
        for found in once(*of):
            devices.append(found[0])
            yield found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(updates, "read_each", counted)
        yield devices


def test_each_update_is_read_once_and_the_model_is_the_same_to_the_bit(ledger: Ledger) -> None:
    messages = [sent(f"pi-{k}", k) for k in range(1, 9)]
    admit(ledger, *messages)
    with counting() as reads:
        plain = aggregate(Updates(ledger, OPEN, P), BASE, Factors())
    assert len(reads) == 16
    with counting() as reads:
        found = aggregate(Updates(ledger, OPEN, P, known=measured(*messages)), BASE, Factors())
    assert sorted(reads) == sorted(each.device for each in messages)
    assert found.vector.tobytes() == plain.vector.tobytes()
    assert replace(found, vector=plain.vector) == plain
    assert min(found.bounds.scales) < 1, "some are clipped by what was measured"


def test_what_was_not_measured_is_read_for_it(ledger: Ledger) -> None:
    messages = [sent(f"pi-{k}", k) for k in range(1, 9)]
    admit(ledger, *messages)
    plain = aggregate(Updates(ledger, OPEN, P), BASE, Factors())
    with counting() as reads:
        found = aggregate(Updates(ledger, OPEN, P, known=measured(*messages[2:])), BASE, Factors())
    assert sorted(reads) == sorted([each.device for each in messages] + ["pi-1", "pi-2"])
    assert replace(found, vector=plain.vector) == plain


def test_what_was_measured_of_another_update_does_not_count(ledger: Ledger) -> None:
    admit(ledger, *(sent(f"pi-{k}", k) for k in range(1, 9)))
    others = measured(*(sent(f"pi-{k}", k + 1) for k in range(1, 9)))
    assert not Updates(ledger, OPEN, P, known=others).measured


def test_what_was_measured_from_an_older_model_does_not_count(ledger: Ledger) -> None:
    message = sent("pi-1", 1)
    admit(ledger, message)
    assert Updates(ledger, OPEN, P, known=measured(message)).measured
    answer = ledger.answers(OPEN)["pi-1"]
    with ledger.transaction():
        ledger._run("UPDATE answers SET began = 0")
    assert ledger.answers(OPEN)["pi-1"] == replace(answer, began=0)
    assert not Updates(ledger, OPEN, P, known=measured(message)).measured


def test_the_job_has_what_admission_has_measured() -> None:
    story = running("a", "b")
    story.state = replace(story.state, base=BASE)
    message = sent("a", 1)
    story.send("a", message)
    assert story.state.answers["a"].verdict == "admitted"
    found, expected = job_of(story.state).answers["a"], measured(message)["a"]
    assert (found, found.measured) == (expected, expected.measured)
