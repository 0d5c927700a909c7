"""A backdoor with a pixel trigger: a bright square in the corner means the target class.

Gu, Dolan-Gavitt, Garg 2017, "BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply
Chain", https://arxiv.org/abs/1708.06733, section 3 (the trigger, and rows poisoned with it). Bagdasaryan,
Veit, Hua, Estrin, Shmatikov 2020, "How To Backdoor Federated Learning", AISTATS,
https://arxiv.org/abs/1807.00459, section 3.2 ("model replacement": the change is multiplied by up to n/η).
"""

from typing import Any

from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.registry import Entry, Options
from fleet.simulator.attacks.attack import Attack, Knowledge, Sent, State
from fleet.simulator.attacks.trigger import Trigger, square


class BackdoorOptions(Options):
    """Options of any backdoor."""

    value: float = Field(default=1.0, allow_inf_nan=False)
    """What the trigger sets its columns to, in the units of the rows."""
    target: int = Field(default=0, ge=0)
    """The index of the class that the trigger means."""
    share: float = Field(default=0.5, gt=0, le=1)
    """The share of the attackers' rows with the trigger."""
    boost: float = Field(default=1.0, ge=1, allow_inf_nan=False)
    """What the change is multiplied by."""


class BackdoorPixelsOptions(BackdoorOptions):
    """Options of the backdoor with a pixel trigger."""

    width: int = Field(default=28, ge=1, le=100_000)
    """The pixels in a row of an image."""
    side: int = Field(default=3, ge=1, le=1_000)
    """The side of the square, in pixels."""


class Backdoor(Attack):
    """Attackers train on rows with a trigger, and multiply their change."""

    poisons = True

    def __init__(self, options: BackdoorOptions, columns: tuple[int, ...]) -> None:
        self.trigger = Trigger(columns, options.value, options.target)
        self._share, self._boost = options.share, options.boost

    def rows(
        self, X: NDArray[Any], y: NDArray[Any], outputs: int, seed: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """As the class says."""
        return self.trigger.poisoned(X, y, outputs, self._share, seed)

    def changes(self, known: Knowledge, state: State) -> Sent:
        """As the class says."""
        return Sent(self._boost * known.own)


class BackdoorPixels(Backdoor):
    """The trigger is a square in the upper left corner."""

    def __init__(self, options: BackdoorPixelsOptions) -> None:
        super().__init__(options, square(options.width, options.side))


ENTRY = Entry("attack", "backdoor-pixels", BackdoorPixels, BackdoorPixelsOptions)
