"""Judges whether a device can take part with its data as they are: all problems and warnings, with remedies.

This is for the owner: it quotes labels, and names files and columns. `agent.data.dataset` makes the text that
is sent when a device declines. Pure.
"""

from dataclasses import dataclass

from agent.data.data_warnings import warnings_of
from agent.data.finding import Finding
from agent.data.inventory import Inventory, take_inventory
from agent.data.problems import declined, problems
from agent.settings.data import DataSettings
from agent.sources.samples import Samples
from fedge.wire.messages.task import Task


@dataclass(frozen=True)
class Assessment:
    """The problems and warnings of one source's data."""

    inventory: Inventory
    problems: tuple[Finding, ...]
    """Each of these keeps the device from taking part."""
    warnings: tuple[Finding, ...]
    """These do not, but they may make the model worse."""


def assess(samples: Samples, settings: DataSettings, task: Task | None) -> Assessment:
    """Judge samples by everything that is known.

    Args:
        samples: the samples of the source, without the values that its owner excludes.
        settings: the section of the source.
        task: what is learnt; None: not known yet, so any column of numbers may be asked for.
    """
    found = take_inventory(samples, settings, task)
    blocking = list(problems(found, settings, task))
    if task is not None and not blocking:
        blocking = list(declined(samples, settings, task))
    return Assessment(found, tuple(blocking), warnings_of(found, settings, task))
