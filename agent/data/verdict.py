"""Whether a device can take part with its data as they are: all that is wrong with them, and what would help.

For its owner: it quotes labels, and names files and columns. What a device tells others when it declines is
made in `agent.data.dataset`. Pure.
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
    """What is to be said of one source's data."""

    account: Account
    problems: tuple[Finding, ...]
    """Each keeps the device from taking part."""
    warnings: tuple[Finding, ...]
    """None does, but the model may be the worse for it."""


def judge(samples: Samples, settings: DataSettings, task: Task | None) -> Verdict:
    """Judge samples by all that is known.

    Args:
        samples: of the source, without what its owner excludes.
        settings: of the source.
        task: what is learnt; None: not known yet, so any column of numbers may be asked for.
    """
    found = account(samples, settings, task)
    blocking = list(problems(found, settings, task))
    if task is not None and not blocking:
        blocking = list(declined(samples, settings, task))
    return Verdict(found, tuple(blocking), doubts(found, settings, task))
