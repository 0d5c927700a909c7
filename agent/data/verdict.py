"""Whether a device can take part with its data as they are: all problems and doubts, with remedies.

This is for the owner: it quotes labels, and names files and columns. `agent.data.dataset` makes the text that
others get when a device declines. Pure.
"""

from dataclasses import dataclass

from agent.data.account import Account, account
from agent.data.doubts import doubts
from agent.data.finding import Finding
from agent.data.problems import declined, problems
from agent.settings.data import DataSettings
from agent.sources.samples import Samples
from fedge.wire.messages.task import Task


@dataclass(frozen=True)
class Verdict:
    """Problems and doubts of one source's data."""

    account: Account
    problems: tuple[Finding, ...]
    """Each of these keeps the device from taking part."""
    warnings: tuple[Finding, ...]
    """These do not, but the model may become worse."""


def judge(samples: Samples, settings: DataSettings, task: Task | None) -> Verdict:
    """Judge samples by everything that is known.

    Args:
        samples: those of the source, without the values that its owner excludes.
        settings: of the source.
        task: what is learnt; None: not known yet, so any column of numbers may be asked for.
    """
    found = account(samples, settings, task)
    blocking = list(problems(found, settings, task))
    if task is not None and not blocking:
        blocking = list(declined(samples, settings, task))
    return Verdict(found, tuple(blocking), doubts(found, settings, task))
