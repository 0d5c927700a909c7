"""The export job of the model that is chosen among those that the ledger keeps."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation.models import clusters_of, task_of
from aggregator.core.choice import Candidate, Choice, How, choose, measures_of
from aggregator.core.federation import Federation, Stage
from aggregator.core.parts import Parts
from aggregator.core.progress import Progress, progress_of
from aggregator.core.shared_entries import shared_by
from aggregator.export.job import BEST, NEWEST, Beside, Clusters, Job
from aggregator.export.privacy_entry import privacy_entry
from aggregator.ledger.reading import LedgerReader
from fedge.algorithms.kept_parameters import UNTRAINED, kept_parameters, untrained
from fedge.export.metadata import PRIVACY
from fedge.wire.freshness import RoundId
from fedge.wire.messages.task import Task


def job_of(ledger: LedgerReader, state: Federation, until: RoundId, how: How) -> Job | None:
    """The export of the model that is chosen after the round `until`, which closed last.

    If that round was a survey, no device has trained in this generation yet. Then it is the model chosen at
    the end of the generation before; None, and the exported files stay, if the ledger does not keep that. The
    first weights are exported only in a federation's first generation.

    Raises:
        DamagedState: a model in the ledger does not match its digest.
    """
    assert state.model is not None
    untrained = until.round == 0 and ledger.surveyed(until.generation)
    if untrained and (before := _before(ledger, until.generation)) is not None:
        earlier, task = before
        progress = progress_of(ledger.history(earlier), state.progress.by)
        job = _job(ledger, task_of(ledger, task), earlier, progress, how, None)
        waits = f"; generation {until.generation} has not closed a round of training yet"
        choice = {**job.choice["choice"], "why": job.choice["choice"]["why"] + waits}
        return replace(job, until=until, choice={**job.choice, "choice": choice})
    if untrained and until.generation > 1:
        return None
    job = _job(ledger, state.task_message, until.generation, state.progress, how, state.model.digest)
    promised = state.protection.privacy if state.protection is not None else None
    if promised is not None:
        entry = privacy_entry(promised, ledger.charges(job.round))
        job = replace(job, choice={**job.choice, PRIVACY: entry})
    return replace(job, last=state.stage is Stage.DONE, until=until)


def _before(ledger: LedgerReader, generation: int) -> tuple[int, bytes] | None:
    """The last trained generation before this one and its task, if its newest model is kept."""
    last = ledger.trained_before(generation)
    task = ledger.task_after(last) if last is not None and ledger.model_of(last) is not None else None
    return (last.generation, task) if last is not None and task is not None else None


def _job(
    ledger: LedgerReader, task: Task, generation: int, progress: Progress, how: How, made: bytes | None
) -> Job:
    """The export of a generation's chosen model; `made`: the digest of its newest one, None: look it up."""
    size = task.network.schema.size
    models = {n: RoundId(generation, n) for n in ledger.kept_models(generation)}
    choice = choose(progress, models, how, begun_untrained=ledger.surveyed(generation))
    newest = RoundId(generation, progress.made)

    def digest_of(round_id: RoundId) -> bytes:
        found = made if made is not None and round_id == newest else ledger.model_of(round_id)
        assert found is not None
        return found

    def parts_of(
        candidate: Candidate,
    ) -> tuple[RoundId, bytes, NDArray[np.float32], dict[str, float], Clusters | None]:
        round_id = RoundId(generation, candidate.round)
        digest = digest_of(round_id)
        models = clusters_of(ledger, digest, size)
        clusters = Clusters(models, ledger.clusters(round_id)) if len(models) > 1 else None
        vector = models[clusters.most if clusters is not None else 0]
        metrics = {name: value for name, value in ledger.summary(round_id).items() if name != "seconds"}
        return round_id, digest, vector, metrics, clusters

    beside = None
    if choice.other is not None:
        round_id, digest, vector, metrics, clusters = parts_of(choice.other)
        said = {"measured": dict(choice.other.figures) or None, **_untrained(ledger, round_id, task)}
        folder = NEWEST if how == "best" else BEST
        origin = came_from(ledger, round_id)
        beside = Beside(folder, round_id, digest, vector, metrics, said, origin, clusters)
    round_id, digest, vector, metrics, clusters = parts_of(choice.chosen)
    return Job(
        round_id,
        digest,
        task,
        vector,
        metrics,
        last=False,
        came_from=came_from(ledger, round_id),
        choice={**choice_entry(choice, progress), **_untrained(ledger, round_id, task)},
        clusters=clusters,
        beside=beside,
    )


def _untrained(ledger: LedgerReader, round_id: RoundId, task: Task) -> dict[str, Any]:
    """The manifest's entry on parameters that the round's devices have kept to themselves; {} if none."""
    try:
        mask = shared_by(Parts.read(ledger.parts(round_id)).personal, task.network)
    except ValueError:  # the round was closed with a part that is not installed any more
        return {}
    names = kept_parameters(mask, task.network)
    return {UNTRAINED: untrained(names)} if names else {}


def came_from(ledger: LedgerReader, round_id: RoundId) -> str | None:
    """The older rounds that a model comes from, if a generation began with it."""
    beginning = ledger.beginning(round_id.generation) if round_id.round == 0 else None
    if beginning is None:
        return None
    source, last = beginning.source, beginning.source._replace(round=beginning.last)
    return f"{source}" if last == source else f"{source}, and on to {last} without some devices"


def choice_entry(choice: Choice, progress: Progress) -> dict[str, Any]:
    """The manifest's entries on a choice: the model's figures, and the candidates."""
    best = progress.best
    return {
        "measured": dict(choice.chosen.figures) or None,
        "choice": {
            "choose": choice.how,
            "by": choice.by,
            "why": choice.why,
            "best": {"round": best.round, "value": best.value} if best is not None else None,
            "newest": {"round": progress.made, "measured": bool(measures_of(progress, progress.made))},
        },
    }
