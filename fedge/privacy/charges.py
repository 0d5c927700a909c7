"""What a budget of privacy consists of: what is declared, what was released, why a release is refused. Pure.

`fedge.privacy.budget` says how it is charged.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal

from fedge.privacy.accountant import Training, guarantee

Mechanism = Literal["central", "distributed", "local", "tree"]


def digest_of(content: Any) -> str:
    """The SHA-256 of JSON, in hexadecimal."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Reason(StrEnum):
    """Why a release is refused."""

    MISSING = "missing"
    """There is no history, and something was released, or nobody can say."""
    DAMAGED = "damaged"
    """The history cannot be read, or contradicts itself."""
    UNWITNESSED = "unwitnessed"
    """No witness can be reached."""
    BEHIND = "behind"
    """The history has fewer charges than were released: it is from an older backup."""
    FORKED = "forked"
    """The history has other charges than those that were released."""
    CHANGED = "changed"
    """What is declared is not what the history was begun with."""
    REPLAYED = "replayed"
    """The round has been charged before, or a later one has."""
    COHORT = "cohort"
    """More devices than declared."""
    SPENT = "spent"
    """All declared releases have been charged."""


@dataclass(frozen=True)
class Refusal:
    """Nothing may be released."""

    reason: Reason
    text: str
    """For people: what is wrong, and what to do."""


@dataclass(frozen=True)
class Declared:
    """What the owners of devices were told; it never changes for a history."""

    epsilon: float
    delta: float
    training: Training
    """The mechanism, its noise and its rounds."""
    clip: float
    """S; with a clip that adapts, that of the first round."""
    cohort: int
    """m, the most devices of a round, and the denominator."""
    mechanism: Mechanism = "central"
    """Who adds the noise."""
    distance: int | None = None
    """Of a tree: d (`fedge.privacy.tree`)."""
    rounds: int | None = None
    """The most releases; None: those of the training. With a tree one release enters several of them."""

    @property
    def key(self) -> str:
        """A digest of all of it. What is as it always was is left out: ledgers have its digest."""
        content = asdict(self)
        return digest_of({name: content[name] for name in content if not _is_usual(self, name)})

    @property
    def releases(self) -> int:
        """The most releases."""
        return self.training.rounds if self.rounds is None else self.rounds

    def require_affordable(self) -> None:
        """Check that the declared rounds stay within (ε, δ).

        Raises:
            ConfigError: dp-accounting is not installed.
            ValueError: they do not; the text says what they cost.
        """
        cost = guarantee(self.training, self.training.accounted(self.delta))
        if not cost.epsilon <= self.epsilon:
            raise ValueError(
                f"ε = {self.epsilon:g} is declared, and the training costs {cost}: more noise or fewer rounds"
            )


def _is_usual(declared: Declared, name: str) -> bool:
    usual = {"mechanism": "central", "distance": None, "rounds": None}
    return name in usual and getattr(declared, name) == usual[name]


@dataclass(frozen=True, order=True)
class Position:
    """Where in the federation's life a release is; positions only grow."""

    generation: int
    round: int
    attempt: int

    def __str__(self) -> str:
        return f"round {self.generation}.{self.round}, attempt {self.attempt}"


@dataclass(frozen=True)
class Release:
    """What is to be released."""

    position: Position
    inputs: str
    """A digest of all that the result follows from: the set of updates, the base, and the noise's seed."""
    devices: int
    """The number of updates."""


@dataclass(frozen=True)
class Charge:
    """A release that has been paid for."""

    position: Position
    inputs: str
    digest: str
    """Of the charge before, or of what is declared, and of this one."""


@dataclass(frozen=True)
class Witness:
    """What was released, as those know who received it."""

    charges: int
    """The number of the newest charge that was released; 0: nothing was."""
    digest: str = ""
    """Its digest."""


@dataclass(frozen=True)
class History:
    """All charges, in their order. Only this module makes one."""

    declared: str
    """The `Declared.key`."""
    charges: tuple[Charge, ...] = field(default=())

    @property
    def witness(self) -> Witness:
        """What an announcement tells when the newest charge is released."""
        return Witness(len(self.charges), self.charges[-1].digest) if self.charges else Witness(0)

    def text(self) -> str:
        """For the ledger."""
        return json.dumps({"declared": self.declared, "charges": [asdict(each) for each in self.charges]})


@dataclass(frozen=True)
class Charged:
    """The release is paid for: make the history durable, then release."""

    history: History
    again: bool
    """Whether it had been charged before, and a crash came between: the history is the same."""
