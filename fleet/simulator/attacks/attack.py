"""What an attack is: what the attackers know, and what they send instead of the truth.

An attack is a pure function. In each round the attackers first work as honest devices do. Then the attack
makes what each of them sends, from what they know and a seed. An attack on data changes rows before training.

An attack is one file in this folder, which ends with `ENTRY = Entry("attack", …)`. Those that the papers call
omniscient use the updates of the honest devices of the same round. Where nobody knows these, they use the
attackers' own honest updates as an estimate, as Baruch et al. 2019 (section 3) do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.data.moments import Moments

Matrix = NDArray[np.float64]
State = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What a group of f attackers knows in one round; p is the number of weights.

    Raises:
        ValueError: there is no attacker, or the shapes do not agree.
    """

    base: NDArray[np.floating[Any]]
    """The announced weights, of shape (p,)."""
    own: Matrix
    """The changes of the base that the attackers would send if they were honest, of shape (f, p)."""
    honest: Matrix | None = None
    """The changes of the base by the honest devices, of shape (h, p), h ≥ 1; None: not known."""
    seed: int = 0
    """The source of all randomness; another one in each round."""

    def __post_init__(self) -> None:
        size = self.base.shape
        for name, rows in (("own", self.own), ("honest", self.honest)):
            if rows is not None and (rows.ndim != 2 or rows.shape[1:] != size or not len(rows)):
                raise ValueError(f"{name} is of shape {rows.shape}, expected (1 or more, {size[0]})")

    @property
    def seen(self) -> Matrix:
        """The changes that the attackers take for those of the honest, of shape (h or f, p)."""
        return self.own if self.honest is None else self.honest

    @property
    def devices(self) -> int:
        """The number of devices that the attackers know of, with themselves."""
        return len(self.own) + (0 if self.honest is None else len(self.honest))


@dataclass(frozen=True, eq=False)
class Sent:
    """What the attackers send, and what they remember."""

    changes: Matrix
    """Of the base, by attacker, of shape (f, p)."""
    state: State = field(default_factory=dict)
    """For the next round."""


class Attack:
    """An attack that changes nothing; each attack derives from this class and changes something."""

    omniscient: bool = False
    """Whether it uses the updates of the honest devices."""
    poisons: bool = False
    """Whether it changes rows; it then needs classes."""

    def changes(self, known: Knowledge, state: State) -> Sent:
        """What each attacker sends.

        Args:
            known: by the attackers, who act together.
            state: what they remember of the round before; {} in the first.
        """
        return Sent(known.own, state)

    def rows(
        self, X: NDArray[Any], y: NDArray[Any], outputs: int, seed: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """What an attacker trains on instead of its rows; the arguments are not changed.

        Args:
            X: samples of shape (n, d).
            y: class indices of shape (n,).
            outputs: the number of classes.
            seed: the source of all randomness.

        Raises:
            ValueError: these data do not suit the attack; the text says why.
        """
        return X, y

    def samples(self, samples: int) -> int:
        """The n_k that an attacker tells, who has `samples` rows."""
        return samples

    def survey(self, moments: Moments) -> Moments:
        """The moments of its columns that an attacker tells."""
        return moments
