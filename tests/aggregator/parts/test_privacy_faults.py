"""Random crashes, restarts, backups, new generations: what was seen is paid for, each seed is used once.

An auditor keeps what was announced, as the broker and the devices do. Three deliberate mistakes are found.
"""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aggregator.aggregation.noise import inputs_of
from aggregator.core.federation import Stage
from aggregator.ledger.reading import read_only
from aggregator.shell import round_job
from aggregator.shell.closer import close
from aggregator.shell.privacy_budget import PrivacyBudget
from fedge.errors import PrivacyRefusal
from fedge.wire.messages.protection import Charges
from tests.aggregator.parts.lab import DEVICES
from tests.aggregator.parts.test_privacy import PrivateLab

WALKS, STEPS = 12, 14
ROUNDS = 4


class ReleaseError(AssertionError):
    """What must never happen has happened."""


class Auditor:
    """Remembers all that was seen outside: announced models, the seeds behind them, the newest witness."""

    def __init__(self) -> None:
        self.models: dict[bytes, str] = {}
        """What each announced model was made from, by its digest."""
        self.used: dict[bytes, str] = {}
        """The set of updates that each seed was used for."""
        self.witness: Charges | None = None

    def look(self, lab: PrivateLab) -> None:
        """Look at what is announced now."""
        state, ledger = lab.state, lab.ledger
        last = ledger.last_closed(state.round.generation)
        if last is not None and last.round > 0:
            digest, seed = ledger.model_of(last), ledger.noise_of(last)
            before = ledger.model_of(last._replace(round=last.round - 1))
            assert digest is not None
            assert seed is not None
            assert before is not None
            answers = {d: a for d, a in ledger.answers(last).items() if a.verdict == "admitted"}
            inputs = inputs_of(last, before, seed, answers)
            if ledger.charged_inputs(last) != inputs:
                raise ReleaseError(f"the model of round {last} is seen, and not paid for")
            if self.used.setdefault(seed, inputs) != inputs:
                raise ReleaseError(f"round {last}: its seed was used for other updates")
            self.models.setdefault(digest, inputs)
        if len(self.models) > ROUNDS:
            raise ReleaseError(f"{len(self.models)} models were released, and {ROUNDS} are declared")
        self.witness = lab.charges


def walk(folder: Path, seed: int) -> Auditor:
    """One random life of a federation."""
    rng = random.Random(seed)
    auditor, copies = Auditor(), []
    folder.mkdir()
    lab = PrivateLab(folder / "0")
    auditor.look(lab)
    for step in range(STEPS):
        match rng.choice(("train", "train", "train", "crash", "restart", "copy", "restore", "generation")):
            case "train" | "crash" as what if lab.state.stage is not Stage.DONE:
                for device in DEVICES:
                    if device not in lab.state.answers:
                        # Other updates each time, as from a device that lost its own in the crash.
                        lab.send(device, lab.update(device, steps=rng.randrange(1, 10**6)))
                if what == "train":
                    lab.finish()
                    auditor.look(lab)
                else:  # it is computed, and the power fails before the commit
                    job = lab.jobs[-1]
                    close(lambda: read_only(lab.path), job)  # noqa: B023 # called at once
                    lab.again(auditor.witness)
            case "restart":
                lab.again(auditor.witness)
            case "copy":
                copies.append(folder / f"copy-{step}")
                shutil.copytree(lab.folder, copies[-1])
            case "restore" if copies:
                lab = _restored(lab, auditor, folder / f"{step}", rng.choice(copies))
            case "generation" if lab.state.stage is not Stage.DONE:
                lab.again(auditor.witness, generation=lab.state.round.generation + 1)
                auditor.look(lab)
    return auditor


def walks(folder: Path, count: int) -> list[Auditor]:
    """So many lives."""
    return [walk(folder / str(seed), seed) for seed in range(count)]


def _restored(lab: PrivateLab, auditor: Auditor, folder: Path, copy: Path) -> PrivateLab:
    """Start with a copy; if it may release nothing, the operator puts the newest ledger back."""
    shutil.copytree(copy, folder)
    try:
        restored = PrivateLab(folder, auditor.witness)
    except PrivacyRefusal:
        return lab
    auditor.look(restored)
    return restored


def test_each_model_that_was_seen_is_paid_for_once(tmp_path: Path) -> None:
    lives = walks(tmp_path, WALKS)
    assert any(len(life.models) == ROUNDS for life in lives), "some live to the end of their budget"
    assert all(life.models for life in lives)


# ── deliberate mistakes ────────────────────────────────────────────────────────────────────────────


def forget_the_charge(patch: pytest.MonkeyPatch) -> None:
    """The model is released, and charged only in the next turn, which a crash prevents."""

    def later(*_arguments: object) -> Charges:
        return Charges(number=0)

    patch.setattr(PrivacyBudget, "charge", later)


def one_seed_for_each_round(patch: pytest.MonkeyPatch) -> None:
    """The seed belongs to the round's number, so a generation or an attempt begun anew uses it again."""
    right = round_job.RoundJob.begin

    def begin(job: Any, state: Any) -> None:
        job._entropy = lambda size: bytes([state.round.round]) * size
        right(job, state)

    patch.setattr(round_job.RoundJob, "begin", begin)


@pytest.mark.parametrize("mistake", [forget_the_charge, one_seed_for_each_round])
def test_a_deliberate_mistake_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: Callable[[pytest.MonkeyPatch], None]
) -> None:
    mistake(monkeypatch)
    with pytest.raises(ReleaseError):
        walks(tmp_path, WALKS)


def test_a_history_that_is_not_compared_with_what_was_announced_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the witness an older copy goes on, and releases more than is declared."""
    right = PrivateLab.__init__
    monkeypatch.setattr(
        PrivateLab, "__init__", lambda lab, folder, _charges=None, **more: right(lab, folder, None, **more)
    )
    again = PrivateLab.again
    monkeypatch.setattr(PrivateLab, "again", lambda lab, _charges, generation=0: again(lab, None, generation))
    with pytest.raises(ReleaseError):
        walks(tmp_path, 4 * WALKS)
