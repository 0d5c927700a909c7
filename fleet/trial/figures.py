"""The figures of a trial: of the fleet, of each device, and of the fleet without each device."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from aggregator.config import FederationSettings
from fleet.demo.comparison import Compared
from fleet.demo.figure import figure_of
from fleet.demo.provision import Federation
from fleet.trial import conclusion, twin
from fleet.trial.files import FEWEST
from fleet.trial.options import Options
from fleet.trial.participants import Participant
from fleet.trial.proposal import Proposal
from fleet.trial.result import DeviceResult


def of_fleet(compared: Compared, alone_mean: float) -> conclusion.Figures:
    """The figures of the models; `alone_mean` is the mean of the devices' own on the held-out parts of
    all."""
    figure, fleet = compared.figure, compared.fleet
    together, central = compared.together, compared.central.outputs
    own = [value for value in compared.by_device(together).values() if value == value]
    alone_own = [one.own for one in compared.alone if one.own == one.own]
    answers = np.concatenate([data.y for data in fleet.values()])
    return conclusion.Figures(
        figure=figure,
        together=figure.of(together, compared.truth),
        alone=alone_mean,
        central=figure.of(central, compared.truth),
        constant=conclusion.constant(figure, answers, compared.truth),
        together_own=sum(own) / len(own),
        alone_own=sum(alone_own) / len(alone_own),
        noise=conclusion.noise(figure, together, central, compared.truth),
    )


def by_device(
    compared: Compared, origins: Mapping[str, str], without: Mapping[str, float]
) -> tuple[DeviceResult, ...]:
    """The figures of the models on each device's own part.

    Args:
        compared: the models' answers.
        origins: by device, the source of its data.
        without: by device, the result of `without_each`.
    """
    together, central = (compared.by_device(o) for o in (compared.together, compared.central.outputs))
    alone = {one.device: one for one in compared.alone}
    return tuple(
        DeviceResult(
            device=device,
            origin=origins[device],
            training=len(data.X),
            held_out=len(data.held_X),
            together=together[device],
            alone=alone[device].own if device in alone else None,
            alone_everyone=alone[device].everyone if device in alone else None,
            central=central[device],
            without=without.get(device),
        )
        for device, data in compared.fleet.items()
    )


def without_each(
    files: Federation,
    devices: Sequence[Participant],
    proposal: Proposal,
    rounds: int,
    options: Options,
    enough: Callable[[], bool],
) -> dict[str, float]:
    """For each device the figure of what the others learn without it, on all its rows."""
    task = FederationSettings.load(files.settings).task()
    fleet = {device.found.device: device.dataset(task, proposal, options) for device in devices}
    found: dict[str, float] = {}
    if len(fleet) <= FEWEST:
        return found
    for left, data in fleet.items():
        if enough():
            break
        others = {name: other for name, other in fleet.items() if name != left}
        X, y = np.concatenate([data.X, data.held_X]), np.concatenate([data.y, data.held_y])
        outputs = twin.predict(task, others, proposal.plan, rounds, options.seed, X)
        found[left] = figure_of(task).of(outputs, y)
    return found
