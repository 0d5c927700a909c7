"""What attackers send in a round of the engine `fast`, instead of what they have made honestly.

They work as all devices do, on the rows that their attack gives them. Then each group of them sees its own
updates and those of the honest devices that were admitted in the same attempt, and what it sends instead is
encoded, admitted and decoded as every update is. A codec's state does not bind a liar: it encodes from the
first one. Vectors besides the weights are sent as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aggregator.core.admission import Terms, admit
from aggregator.core.shared_entries import sent_entries
from aggregator.phases.phase import phase_of
from fedge.algorithms.codecs.seeds import vector_seed
from fedge.algorithms.protocols import WEIGHTS, Codec
from fedge.algorithms.registry import CODECS
from fedge.data.moments import Moments
from fedge.errors import ConfigError
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import DELTA, Update
from fedge.wire.messages.update import WEIGHTS as WHOLE
from fedge.wire.reasons import Rejection
from fleet.library.attackers import Attackers
from fleet.library.fast.orders import Outcome
from fleet.simulator.attacks.attack import Attack, Knowledge, State

Vectors = NDArray[np.float32]
MOST = float(np.finfo(np.float32).max)


class Lies:
    """The attackers of a run, and what they remember.

    Args:
        attackers: who they are.
    """

    def __init__(self, attackers: Attackers) -> None:
        self._attackers = attackers
        self._states: dict[int, State] = {}

    def told(
        self,
        terms: Terms,
        names: tuple[str, ...],
        outcomes: Sequence[Outcome],
        rows: Mapping[str, int],
        updates: Vectors,
    ) -> Sequence[Outcome]:
        """The outcomes of an attempt after the attackers' lies.

        Args:
            terms: of admission.
            names: of the vectors of an update, the weights first; (): a survey, or a round that measures.
            outcomes: of all devices that were asked, as if all were honest.
            rows: of each device in `updates`.
            updates: the decoded vectors, of shape (rows, names, p); those of attackers are overwritten.

        Raises:
            ConfigError: an attack cannot be made against the devices of this round.
        """
        if not self._attackers.groups:
            return outcomes
        found = {one.device: one for one in outcomes}
        if phase_of(terms.kind).trains:
            honest = sorted(
                one.device for one in outcomes if one.admitted and one.device not in self._attackers.by_device
            )
            attempt = _Attempt(terms, names, rows, updates)
            changes = attempt.changes(honest) if honest else None
            for number, group in enumerate(self._attackers.groups):
                liars = [name for name in group.devices if name in found and found[name].admitted]
                if not liars:
                    continue
                entropy = [self._attackers.seed, *terms.round, number]
                seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
                known = Knowledge(attempt.base, attempt.changes(liars), changes, seed)
                try:
                    sent = group.attack.changes(known, self._states.get(number, {}))
                except ValueError as error:  # its options do not suit the devices of this round
                    raise ConfigError(f"simulate: attackers: {liars[0]!r}: {error}") from None
                self._states[number] = sent.state
                for name, change in zip(liars, sent.changes, strict=True):
                    found[name] = attempt.sent(found[name], group.attack, change)
        else:
            for name, attack in self._attackers.by_device.items():
                one = found.get(name)
                if one is not None and one.admitted and one.survey is not None:
                    found[name] = _surveyed(terms, one, one.survey, attack)
        return list(found.values())


class _Attempt:
    """One attempt of a training round."""

    def __init__(
        self,
        terms: Terms,
        names: tuple[str, ...],
        rows: Mapping[str, int],
        updates: Vectors,
    ) -> None:
        assert terms.start is not None
        self._terms, self._names = terms, names
        self._rows, self._updates = rows, updates
        self._codec: Codec = CODECS.make(terms.codec, terms.codec_options)
        self._entries = sent_entries(terms.shared, terms.weights)
        self.base = terms.start if terms.shared is None else terms.start[terms.shared]
        """The entries of the announced weights that devices send."""

    def changes(self, devices: Sequence[str]) -> NDArray[np.float64]:
        """The changes of the base that these devices have sent, of shape (len(devices), entries)."""
        chosen = [self._rows[device] for device in devices]
        found = self._updates[chosen, 0, : self._entries].astype(np.float64)
        return found if self._codec.encodes == "change" else found - self.base

    def sent(self, honest: Outcome, attack: Attack, change: NDArray[np.float64]) -> Outcome:
        """The outcome with another change, and with the n_k that the attack tells."""
        terms, device, row = self._terms, honest.device, self._updates[self._rows[honest.device]]
        by_change = self._codec.encodes == "change"
        weights = change if by_change else self.base + change
        given = {WEIGHTS: np.clip(weights, -MOST, MOST).astype(np.float32)}
        given |= {name: np.array(row[number]) for number, name in enumerate(self._names) if number}
        bodies: dict[str, bytes] = {}
        for name, vector in given.items():
            seed = vector_seed(terms.seed, *terms.round, device, name)
            bodies[name], _ = self._codec.encode(vector, self._codec.init(len(vector)), seed)
        message = Update(
            generation=terms.round.generation,
            round=terms.round.round,
            base=terms.base,
            device=device,
            samples=attack.samples(honest.samples),
            steps=honest.steps,
            kind=DELTA if by_change else WHOLE,
            codec=terms.codec,
            body=bodies[WEIGHTS],
            vectors={name: body for name, body in bodies.items() if name != WEIGHTS} or None,
            metrics=dict(honest.metrics),
        )
        verdict = admit(terms, device, message)
        if isinstance(verdict, Rejection):
            return Outcome(device, message.samples, refused=verdict, stateful=honest.stateful)
        for number, name in enumerate(self._names):
            seed, size = vector_seed(terms.seed, *terms.round, device, name), len(given[name])
            row[number, :size] = self._codec.decode(bodies[name], size, seed)
        return replace(
            honest,
            samples=verdict.samples,
            lengths=verdict.lengths,
            sent=sum(map(len, bodies.values())),
        )


def _surveyed(terms: Terms, honest: Outcome, survey: Survey, attack: Attack) -> Outcome:
    """The outcome of a survey with what the attack tells of the device's columns."""
    columns = len(survey.features) // 24
    said = attack.survey(Moments.from_bytes(survey.features, columns))
    message = survey.model_copy(
        update={"features": said.to_bytes(), "samples": attack.samples(survey.samples)}
    )
    verdict = admit(terms, honest.device, message)
    if isinstance(verdict, Rejection):
        return Outcome(honest.device, message.samples, refused=verdict, stateful=honest.stateful)
    return replace(honest, samples=verdict.samples, metrics=verdict.figures, survey=message)
