"""The figures of a closed round's summary."""

from collections.abc import Mapping

import numpy as np

from aggregator.aggregation.figures import bytes_needed, summarize
from aggregator.aggregation.job import ClosingJob
from aggregator.core.verdicts import Verdict


def told(job: ClosingJob, answers: Mapping[str, Verdict], count: int = 0) -> dict[str, float]:
    """The fleet's figures; with an RMSE also `rmse_mean`, that of always answering with the survey's mean.

    `count`: as in `summarize`.
    """
    assert job.model is not None
    summary = summarize(answers, bytes_needed(job.task_blob.size, job.model.size), count)
    last = job.task.network.last
    if "rmse" in summary and last is not None:
        summary["rmse_mean"] = float(np.mean(last.scales, dtype=np.float64))
    return summary
