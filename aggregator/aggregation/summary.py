"""The figures of a closed round's summary."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from aggregator.aggregation.figures import bytes_needed, summarize
from aggregator.aggregation.job import ClosingJob
from aggregator.core.verdicts import Verdict


def told(job: ClosingJob, answers: Mapping[str, Verdict], count: int = 0) -> dict[str, float]:
    """The fleet's figures, of the devices that began with the round's model.

    With an RMSE also `rmse_mean`, that of always answering with the survey's mean. If updates may begin from
    older models: `stale`, the number of those that did, and `staleness`, the mean τ of all updates.

    `count`: as in `summarize`.
    """
    assert job.model is not None
    fresh = {device: _of_this_model(answer) for device, answer in answers.items()}
    summary = summarize(fresh, bytes_needed(job.task_blob.size, job.model.size), count)
    stale = [job.round.round - answer.began for answer in answers.values() if answer.began is not None]
    if stale or job.behind:
        summary |= {"stale": len(stale), "staleness": sum(stale) / max(1, len(answers))}
    last = job.task.network.last
    if "rmse" in summary and last is not None:
        summary["rmse_mean"] = float(np.mean(last.scales, dtype=np.float64))
    return summary


def _of_this_model(answer: Verdict) -> Verdict:
    """The answer, of a stale update without the figures, because they are those of an older model."""
    if answer.began is None:
        return answer
    return replace(answer, metrics={n: v for n, v in answer.metrics.items() if n == "received_bytes"})
