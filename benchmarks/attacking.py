"""Have the agent of this process attack as `fleet.simulator.attacks` describes: `liar.py --attack`.

A real process knows the announced model, its own rows and its own honest update; no other device's update
reaches it. So an attack that needs those of the honest estimates them: the attacker divides its rows at
random into `PARTS` parts and trains on each, as if each were another device.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.data.dataset import Dataset
from agent.phases.phase import Cancelled, Contribution, Equipment
from agent.phases.survey import Survey as SurveyPhase
from agent.phases.train import Train
from agent.trainers.assignment import Assignment
from fedge.algorithms.codecs.seeds import vector_seed
from fedge.algorithms.protocols import WEIGHTS, Codec
from fedge.algorithms.registry import CODECS
from fedge.data.moments import Moments
from fedge.wire.freshness import round_of
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update
from fleet.simulator.attacks.attack import Attack, Knowledge, Sent

PARTS = 4
"""Devices that an attacker makes of its own rows."""
Honest = Callable[[Train, Assignment, Equipment, Cancelled], Contribution]


class Attacker:
    """A device that attacks.

    Args:
        attack: what it does.
        honest: production's training, which it uses.
    """

    def __init__(self, attack: Attack, honest: Honest) -> None:
        self._attack, self._honest = attack, honest
        self._sent = Sent(np.zeros((1, 0)))

    def train(
        self, phase: Train, job: Assignment, equipment: Equipment, cancelled: Cancelled
    ) -> Contribution:
        """Train, and answer with the attack's change and n_k. Only codecs without a state are supported."""
        assert job.weights is not None
        plan = job.manifest.plan
        assert plan is not None
        codec = CODECS.make(plan.codec, plan.codec_options)
        seed = vector_seed(job.manifest.seed, *round_of(job.manifest), equipment.settings.device, WEIGHTS)
        base, dataset = job.weights.astype(np.float64), self._poisoned(job, equipment.dataset)

        def change(rows: NDArray[Any] | None = None) -> tuple[NDArray[np.float64], Contribution]:
            some = (
                dataset if rows is None else replace(dataset, X=dataset.X[rows], y=dataset.y[rows], rows=None)
            )
            made = self._honest(phase, job, replace(equipment, dataset=some), cancelled)
            assert isinstance(made.message, Update)
            return _change(codec, made.message.body, base, seed), made

        own, answer = change()
        estimated = None
        if self._attack.omniscient:
            order = np.random.default_rng(seed).permutation(len(dataset.X))
            parts = [part for part in np.array_split(order, PARTS) if len(part)]
            estimated = np.stack([change(part)[0] for part in parts])
        self._sent = self._attack.changes(Knowledge(base, own[None], estimated, seed), self._sent.state)
        vector = self._sent.changes[0] if codec.encodes == "change" else base + self._sent.changes[0]
        with np.errstate(over="ignore"):
            sent = vector.astype(np.float32)
        body, _ = codec.encode(sent, codec.init(len(base)), seed)
        assert isinstance(answer.message, Update)
        said = {"body": body, "samples": self._attack.samples(answer.message.samples)}
        return replace(answer, message=answer.message.model_copy(update=said))

    def survey(self, honest: Contribution) -> Contribution:
        """The answer to a survey with what the attack tells of the columns."""
        message = honest.message
        assert isinstance(message, Survey)
        moments = Moments.from_bytes(message.features, len(message.features) // 24)
        said = {
            "features": self._attack.survey(moments).to_bytes(),
            "samples": self._attack.samples(message.samples),
        }
        return replace(honest, message=message.model_copy(update=said))

    def _poisoned(self, job: Assignment, dataset: Dataset) -> Dataset:
        if not self._attack.poisons:
            return dataset
        if job.task.classes is None:
            raise ValueError("this attack changes labels, and the task has no classes")
        X, y = self._attack.rows(dataset.X, dataset.y, len(job.task.classes), 0)
        return replace(dataset, X=X, y=y)


def _change(codec: Codec, body: bytes, base: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    decoded = codec.decode(body, len(base), seed).astype(np.float64)
    return decoded if codec.encodes == "change" else decoded - base


def begin(attack: Attack) -> None:
    """Make the agent of this process attack."""
    train, survey = Train.contribute, SurveyPhase.contribute
    attacker = Attacker(attack, train)

    def attacking_train(self: Train, *rest: Any) -> Contribution:
        return attacker.train(self, *rest)

    def attacking_survey(self: SurveyPhase, *rest: Any) -> Contribution:
        return attacker.survey(survey(self, *rest))

    for owner, method in ((Train, attacking_train), (SurveyPhase, attacking_survey)):
        setattr(owner, "contribute", method)  # noqa: B010 # a plain assignment to a method is a type error
