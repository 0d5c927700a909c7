"""Log lines on closed rounds and on the end of learning, with figures and the best model. Pure.

A line is made of parts, so that other parts can be inserted.
"""

from collections.abc import Mapping, Sequence

from aggregator.core.progress import FIGURES, FIRST_ROUNDS, FigureName, Progress
from aggregator.core.stopping_rule import StoppingRule
from fedge.wire.freshness import RoundId

OWN: tuple[FigureName, ...] = ("accuracy", "rmse")
"""The figures by which the models that devices use are shown."""


def line(parts: Sequence[str]) -> str:
    """Join the parts of a line."""
    return ", ".join(part for part in parts if part)


def closed(
    round_id: RoundId, kind: str, devices: int, samples: int, summary: Mapping[str, float], progress: Progress
) -> list[str]:
    """The parts of the line on a closed round; `progress` includes this round."""
    parts = [f"round {round_id}: {kind} closed", f"{devices} devices", f"{samples} samples"]
    if kind == "train" and "loss" in summary:
        parts.append(f"training loss {summary['loss']:.4f}")
    if ended := int(summary.get("partial", 0)):
        parts.append(f"{ended} ended early ([limits] seconds)")
    if kind != "survey":
        parts += measured(progress, round_id.generation)
    return [*parts, f"{summary['seconds']:.2f} s"]


def measured(progress: Progress, generation: int) -> list[str]:
    """The figures of the model that was measured last, and the best one so far."""
    model = f"model of round {RoundId(generation, progress.measured)}"
    figures = progress.newest
    told = [FIGURES[name] for name in _in_order(progress.by) if FIGURES[name].key in figures]
    if not told:
        few = "too few devices measured it" if progress.final is not None else "no figures of held-out rows"
        return [f"{model} not measured: {few}", *_best(progress)]
    parts = [figure.text(figures[figure.key]) for figure in told]
    parts[0] = f"{model}: {parts[0]}"
    best = _best(progress) if told[0] is FIGURES[progress.by] else []
    parts[1:1] = best
    if "rmse_mean" in figures:
        parts.append(f"RMSE of always the mean {figures['rmse_mean']:.4g}")
    parts += _own(figures)
    return parts if best else [*parts, *_best(progress)]


def _own(figures: Mapping[str, float]) -> list[str]:
    """The figures of the models that devices use, and of those that they trained alone, if they tell any."""
    parts: list[str] = []
    for name in OWN:
        used, alone = figures.get(f"{name}_personal"), figures.get(f"{name}_alone")
        if used is not None:
            beside = "" if alone is None else f" (alone {FIGURES[name].text(alone)})"
            parts.append(f"the devices' own models: {FIGURES[name].text(used)}{beside}")
    if "compared" in figures:
        parts.append(
            f"worse off than alone: {figures['worse_off']:g} of {figures['compared']:g} devices "
            f"({figures['shared_worse_off']:g} with the shared model)"
        )
    return parts


def _in_order(first: FigureName) -> list[FigureName]:
    """The figure that models are compared by, and then the others."""
    return [first, *(name for name in FIGURES if name != first)]


def _best(progress: Progress) -> list[str]:
    best = progress.best
    if best is None:
        return []
    ago = progress.measured - best.round
    when = "this one" if ago == 0 else f"in round {best.round} ({ago} round{'s' if ago > 1 else ''} ago)"
    return [f"best {when}" if ago == 0 else f"best {best.value:.4f} {when}"]


def finished(reason: str, progress: Progress, generation: int) -> str:
    """The line on why learning is done, with its result."""
    if progress.best is None and not any(figure.key in progress.newest for figure in FIGURES.values()):
        return reason
    unmeasured = f"the newest model, of round {RoundId(generation, progress.made)}, is not measured"
    parts = measured(progress, generation)
    return line([reason, *parts, unmeasured if progress.final is None else ""])


def missing(stopping: StoppingRule, progress: Progress) -> str | None:
    """The warning that a stopping rule's figure is missing, once in a row of such rounds; else None."""
    lacks = [name for name in stopping.needs if progress.untold.get(name) == FIRST_ROUNDS]
    if not lacks:
        return None
    labels = " and ".join(FIGURES[name].label for name in lacks)
    keys = " and ".join(_key(stopping, name) for name in lacks)
    if progress.figures.get("stale", 0):
        return (
            f"the last {FIRST_ROUNDS} versions brought no {labels}, because most of their updates began from "
            f"older models, so [stopping] {keys} can end learning only after a version with figures. Set a "
            "larger [rounds] target, or stop by [stopping] rounds or weight_change; until then learning ends "
            f"after [stopping] rounds = {stopping.rounds}"
        )
    return (
        f"the last {FIRST_ROUNDS} rounds brought no {labels}, so [stopping] {keys} cannot end learning. "
        "Either the devices hold no rows out ([data] holdout = 0), or fewer than three of those that count "
        "do, or their program is too old to report it. Set [data] holdout on the devices; until then "
        f"learning ends after [stopping] rounds = {stopping.rounds}"
    )


def _key(stopping: StoppingRule, name: FigureName) -> str:
    keys: list[str] = []
    if name in ("accuracy", "rmse") and getattr(stopping, name) is not None:
        keys.append(name)
    if stopping.patience is not None and stopping.patience_on == name:
        keys.append("patience")
    return " and ".join(keys)


def way_back(bad: RoundId) -> str:
    """What to do about a bad model, in words: go back to that of the round before."""
    before = f" --from-round {bad.round - 1}" if bad.round > 0 else ""
    return (
        f"run `fedge-aggregator new-generation{before}`; the aggregator goes on running "
        "(docs/operations.md, A bad model)"
    )
