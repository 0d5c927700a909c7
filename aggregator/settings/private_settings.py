"""What cannot be combined with `[privacy]`, found before anything starts. Pure."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from aggregator.core.quorum import fewest_of
from aggregator.settings.columns import unfit
from aggregator.settings.privacy import NAME, PrivacySection
from aggregator.settings.rounds import BUFFERED
from fedge.masking.messages import MAX_DEVICES
from fedge.service.settings import Section

if TYPE_CHECKING:
    from aggregator.config import FederationSettings

OF_OTHERS = "lets one device change how the others count, which breaks the sensitivity"
FIGURES = "no device tells figures about its rows, because they have no noise"


def objections(settings: "FederationSettings") -> Iterator[str]:
    """Find what stands in the way of `[privacy]`, or of the rule that belongs to it."""
    privacy = settings.privacy
    if privacy is None:
        if settings.rule.name == NAME:
            yield f'[rule] name = "{NAME}" by itself promises nothing: leave it out, and set [privacy]'
        return
    model, rounds = settings.model, settings.rounds
    if "rule" in settings.model_fields_set:
        yield (
            f'[rule] name = "{settings.rule.name}": with [privacy] the updates are combined by its clipped '
            "mean with noise and nothing else: leave [rule] out"
        )
    if missing := unfit("privacy", privacy.columns, (*model.features, *(model.targets or ()))):
        yield missing
    for key in ("max_norm", "clip_norm", "max_weight"):
        if _is_set(rounds, key) and getattr(rounds, key):
            yield f"[rounds] {key}: with [privacy] no bound is by medians, which {OF_OTHERS}: set it to 0"
    if rounds.schedule == BUFFERED:
        yield (
            f'[rounds] schedule = "{BUFFERED}": an update that begins from an older model has another '
            "sensitivity: with [privacy] leave it out"
        )
    if rounds.target is not None and rounds.target > privacy.cohort:
        yield (
            f"[rounds] target: {rounds.target} updates would close a round, and [privacy] cohort declares "
            f"{privacy.cohort} at most: set [rounds] target to {privacy.cohort} or less"
        )
    if isinstance(rounds.quorum, int) and max(rounds.quorum, fewest_of(privacy.part())) > privacy.cohort:
        yield (
            f"[rounds] quorum: {rounds.quorum} updates are more than the {privacy.cohort} that [privacy] "
            "cohort declares: lower it"
        )
    for key in ("accuracy", "rmse", "patience"):
        if getattr(settings.stopping, key) is not None:
            yield f"[stopping] {key}: with [privacy] {FIGURES}: leave it out, and use rounds or weight_change"
    if _is_set(settings.export, "choose") and settings.export.choose == "best":
        yield f'[export] choose = "best": with [privacy] {FIGURES}: set "newest", or leave it out'
    yield from _of_mechanism(settings, privacy)
    if settings.personal.compare:
        yield f"[personal] compare: with [privacy] {FIGURES}: leave it out"


def _of_mechanism(settings: "FederationSettings", privacy: PrivacySection) -> Iterator[str]:
    """Find what does not fit who adds the noise."""
    masking = settings.masking
    if privacy.mechanism == "central":
        if masking.on:
            yield (
                "[masking] on: the noise of [privacy] is added to updates that the aggregator sees: choose "
                'one of them, or have the devices add it with [privacy] mechanism = "distributed"'
            )
        return
    if not masking.on:
        yield (
            '[privacy] mechanism = "distributed": a device\'s share of the noise hides nothing by '
            "itself, and only masks hide single updates: set [masking] on = true"
        )
        return
    for key in ("clip", "value_bits", "max_weight", "columns"):
        if _is_set(masking, key):
            yield f'[masking] {key}: with mechanism = "distributed" it follows from [privacy]: leave it out'
    if masking.groups > 1:
        yield (
            "[masking] groups: each group's sum would need noise of its own, and [privacy] declares one a "
            "round: leave it out"
        )
    if not masking.cohort <= privacy.cohort <= MAX_DEVICES:
        yield (
            f'[privacy] cohort: at most {privacy.cohort} devices; with mechanism = "distributed" expected '
            f"{masking.cohort}, the [masking] cohort, to {MAX_DEVICES}"
        )
        return
    try:
        settings.noisy_levels()
    except ValueError as error:
        yield f'[privacy] mechanism = "distributed": {error}'


def _is_set(section: Section, key: str) -> bool:
    return key in section.model_fields_set
