"""What a closed round's summary says of what the devices told."""

from collections.abc import Mapping

import numpy as np

from aggregator.aggregation.figures import bytes_needed, summarize
from aggregator.aggregation.job import ClosingJob
from aggregator.core.verdicts import Verdict
from fedge.nn.spec import Rescale


def told(job: ClosingJob, answers: Mapping[str, Verdict], count: int = 0) -> dict[str, float]:
    """The fleet's figures, `count` as in `summarize`; beside an RMSE that of always the survey's mean."""
    assert job.model is not None
    summary = summarize(answers, bytes_needed(job.task_blob.size, job.model.size), count)
    last = job.task.network.layers[-1]
    if "rmse" in summary and isinstance(last, Rescale):
        summary["rmse_mean"] = float(np.mean(last.scales, dtype=np.float64))
    return summary
