"""The answers of one round in the engine `fast`."""

from collections.abc import Mapping, Sequence

from aggregator.aggregation.job import ClosingJob
from aggregator.aggregation.survey import Measured, check
from aggregator.core.verdicts import Verdict
from fedge.algorithms.contribution import order
from fedge.wire.messages.survey import Survey
from fedge.wire.reasons import Reason
from fleet.library.fast.orders import Outcome


class Answers:
    """The answers of one round, over its attempts."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        """Of each device that is admitted or refused."""
        self.rows: dict[str, int] = {}
        self.aside: dict[str, Verdict] = {}
        """Of each device whose update was admitted and then set aside."""
        self.failures: dict[str, str] = {}
        self.reasons: set[Reason] = set()

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Note the answers of an attempt: a failure is no answer, and the device may be asked again."""
        for one in outcomes:
            if one.failed is not None:
                self.failures[one.device] = one.failed.detail
                self.reasons.add(one.failed.reason)
            else:
                self.outcomes[one.device] = one

    def verdicts(self) -> dict[str, Verdict]:
        """By device, in the order of the sum."""
        return {device: self._verdict(device) for device in sorted(self.outcomes, key=order)}

    def _verdict(self, device: str) -> Verdict:
        one = self.outcomes[device]
        if device in self.aside:
            return self.aside[device]
        if one.refused is not None:
            return Verdict(b"", "refused", one.refused.reason, one.refused.detail)
        return Verdict(b"", "admitted", samples=one.samples, metrics=dict(one.metrics))

    def why(self) -> str:
        """Why too few updates were admitted, as the engine `cores` tells it."""
        failed = [f"{device}: {text}" for device, text in sorted(self.failures.items())]
        refused = [
            f"{device}: {verdict.reason}"
            for device, verdict in self.verdicts().items()
            if verdict.verdict == "refused"
        ]
        return "; ".join(failed or refused) or "fewer devices answer than [rounds] requires"


def measured(
    job: ClosingJob, counted: Mapping[str, Verdict], outcomes: Mapping[str, Outcome]
) -> dict[str, Measured]:
    """The surveys that count, by device."""
    found: dict[str, Measured] = {}
    for device, verdict in counted.items():
        message = outcomes[device].survey
        assert isinstance(message, Survey)
        checked = check(message, job.task, verdict.samples)
        assert isinstance(checked, Measured)  # it was admitted
        found[device] = checked
    return found
