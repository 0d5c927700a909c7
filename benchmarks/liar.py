"""A lying device: production's agent, except for the content of its messages.

    python benchmarks/liar.py LIE --config agent.toml
    python benchmarks/liar.py --attack NAME --config agent.toml

It takes part in every round as usual; `LIES` has the changes of its messages by name. NAME is an attack of
`fleet.simulator.attacks`, or a JSON table with its `name` and options (`benchmarks.attacking`).
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import agent.__main__
import agent.shell.effect_runner
from agent.phases.phase import Contribution
from agent.phases.survey import Survey as SurveyPhase
from agent.phases.train import Train
from agent.trainers.assignment import Assignment
from agent.trainers.worker import Worker
from fedge.data.moments import Moments
from fedge.wire.messages.message import Message, pack
from fedge.wire.messages.status import Status
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update

LARGEST_N = 1_000_000
"""The default of `[federation] max_samples`."""
Vector = NDArray[np.float32]
Scalar = TypeVar("Scalar", np.float32, np.float64)


@dataclass(frozen=True)
class Lie:
    """How a device changes its messages; None: it sends them unchanged."""

    update: Callable[[Update, Vector], Update] | None = None
    """Makes another update of its update and the model that this was trained from, of shape (p,)."""
    survey: Callable[[Survey], Survey] | None = None
    status: Callable[[Status], Status] | None = None
    silent: bool = False
    """Whether it is online but never answers."""


def _weights(change: Callable[[Vector, Vector], Vector], **said: Any) -> Lie:
    """A lie with other weights, computed from the trained and the received ones, and with these fields."""

    def lie(update: Update, base: Vector) -> Update:
        trained = np.frombuffer(update.body, "<f4")
        with np.errstate(all="ignore"):
            body = change(trained, base).astype("<f4").tobytes()
        return update.model_copy(update={**said, "body": body})

    return Lie(update=lie)


def _figures(**figures: float) -> Lie:
    def lie(update: Update, _base: Vector) -> Update:
        return update.model_copy(update={"metrics": {**update.metrics, **figures}})

    return Lie(update=lie)


def _moments(change: Callable[[Moments], Moments]) -> Lie:
    def lie(survey: Survey) -> Survey:
        columns = len(survey.features) // 24
        said = change(Moments.from_bytes(survey.features, columns))
        return survey.model_copy(update={"features": said.to_bytes()})

    return Lie(survey=lie)


def _status(**said: Any) -> Lie:
    return Lie(status=lambda status: status.model_copy(update=said))


def _full(like: NDArray[Scalar], value: float) -> NDArray[Scalar]:
    return np.full_like(like, value)


LIES: dict[str, Lie] = {
    "weights of 3e38, n_k = 1": _weights(lambda w, _: _full(w, 3e38), samples=1),
    "weights that are NaN": _weights(lambda w, _: _full(w, np.nan)),
    "weights that are 0": _weights(lambda w, _: _full(w, 0.0)),
    "change times -1000": _weights(lambda w, base: base - 1000 * (w - base)),
    "change times -10": _weights(lambda w, base: base - 10 * (w - base)),
    "change times -10, n_k = 1,000,000": _weights(lambda w, base: base - 10 * (w - base), samples=LARGEST_N),
    "n_k = 1,000,000": _weights(lambda w, _: w, samples=LARGEST_N),
    "survey: means of 1e30": _moments(lambda m: Moments(m.count, _full(m.mean, 1e30), m.m2)),
    "survey: spreads of 1e30": _moments(lambda m: Moments(m.count, m.mean, m.count * 1e60)),
    "survey: spreads of 0": _moments(lambda m: Moments(m.count, m.mean, _full(m.m2, 0.0))),
    "survey: NaN": _moments(lambda m: Moments(m.count, _full(m.mean, np.nan), m.m2)),
    "accuracy 1e9": _figures(accuracy_before=1e9, accuracy_after=1e9),
    "accuracy 1, of 1e300 rows": _figures(accuracy_before=1.0, held_out=1e300),
    "loss -1e300": _figures(loss_before=-1e300, loss_after=-1e300, held_loss_before=-1e300),
    "loss 1e308": _figures(loss_before=1e308, loss_after=1e308, held_loss_before=1e308),
    "loss 0": _figures(loss_before=0.0, loss_after=0.0, held_loss_before=0.0),
    "received 1e308 bytes": _figures(received_bytes=1e308),
    "status: round 5000": _status(round=5000),
    "status: the last round there is": _status(generation=2**31 - 2, round=2**31 - 2),
    "status: 2,147,483,647 samples": _status(samples=2**31 - 1),
    "silent": Lie(silent=True),
}


def tell(lie: Lie) -> None:
    """Make the agent of this process lie."""
    train, survey, work = Train.contribute, SurveyPhase.contribute, Worker.work

    def lying_train(self: Train, job: Assignment, *rest: Any) -> Contribution:
        honest = train(self, job, *rest)
        assert job.weights is not None
        assert isinstance(honest.message, Update)
        return (
            honest if lie.update is None else replace(honest, message=lie.update(honest.message, job.weights))
        )

    def lying_survey(self: SurveyPhase, *rest: Any) -> Contribution:
        honest = survey(self, *rest)
        assert isinstance(honest.message, Survey)
        return honest if lie.survey is None else replace(honest, message=lie.survey(honest.message))

    def lying_work(self: Worker, job: Assignment) -> Any:
        if lie.silent:
            while not job.cancelled.wait(1.0):
                self.pulse.within(60.0)
            return None
        return work(self, job)

    def lying_pack(message: Message) -> bytes:
        if isinstance(message, Status) and lie.status is not None:
            message = lie.status(message)
        return pack(message)

    for owner, name, lying in (
        (Train, "contribute", lying_train),
        (SurveyPhase, "contribute", lying_survey),
        (Worker, "work", lying_work),
        (agent.shell.effect_runner, "pack", lying_pack),
    ):
        setattr(owner, name, lying)


def attacks(told: str) -> None:
    """Make the agent of this process attack.

    Raises:
        ValueError: there is no such attack, or an option is wrong.
    """
    # here, because `influence --programs` runs this file beside older programs
    from benchmarks.attacking import begin
    from fleet.simulator.attacks.registry import attack

    begin(attack(json.loads(told) if told.startswith("{") else told))


def main() -> None:
    """Take the lie or the attack from the command line, and run the agent."""
    if sys.argv[1:2] == ["--attack"] and len(sys.argv) > 2:
        try:
            attacks(sys.argv[2])
        except ValueError as error:
            sys.exit(f"liar.py --attack: {error}")
        del sys.argv[1:3]
    elif len(sys.argv) < 2 or sys.argv[1] not in LIES:
        usage = "usage: python benchmarks/liar.py LIE --config agent.toml, or --attack NAME instead of LIE; "
        sys.exit(usage + "LIE: " + "; ".join(LIES))
    else:
        tell(LIES[sys.argv.pop(1)])
    sys.exit(agent.__main__.main())


if __name__ == "__main__":
    main()
