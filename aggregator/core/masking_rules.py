"""The rules of masked rounds, and what they cannot be combined with. Pure."""

from dataclasses import dataclass
from math import ceil
from typing import Literal

from aggregator.core.parts import Parts
from fedge.algorithms.registry import RULES
from fedge.masking.messages import MAX_DEVICES
from fedge.masking.noise import NoisyLevels
from fedge.masking.thresholds import least_threshold
from fedge.wire.messages.protection import Masks, Privacy, Protection


@dataclass(frozen=True)
class MaskingRules:
    """How training rounds are masked; the same keys as `[masking]`."""

    federation: str
    clip: float
    value_bits: int = 8
    max_weight: int = 1
    cohort: int = 3
    server: Literal["lying", "honest-but-curious"] = "lying"
    colluders: int | None = None
    dropouts: int | None = None
    phase_s: float = 30.0
    share: float | None = None
    """The part of a cohort that has to answer, if more than devices ask for."""
    groups: int = 1
    """G: each has `cohort` devices or more, and masks of its own."""

    noise: NoisyLevels | None = None
    """Of which each device adds its share before it masks; None: there is none."""

    @property
    def most(self) -> int:
        """The most devices of an attempt."""
        return MAX_DEVICES if self.noise is None else self.noise.devices

    def threshold(self, devices: int) -> int:
        """The fewest devices in a sum, of an attempt with so many."""
        wanted = 0 if self.share is None else ceil(round(self.share * devices, 9))
        return max(least_threshold(devices, lying=self.server == "lying"), wanted)

    def promise(self, privacy: Privacy | None = None) -> Protection:
        """What the manifest promises; `privacy`: besides the masks."""
        masks = Masks(
            server=self.server,
            cohort=self.cohort,
            threshold=self.threshold(self.cohort),
            value_bits=self.value_bits,
            clip=self.clip,
            max_weight=self.max_weight,
            groups=self.groups if self.groups > 1 else None,
        )
        return Protection(privacy=privacy, masked=masks, devices=masks.threshold)


def unfit_for_masking(
    parts: Parts, *, buffered: bool, by_figures: bool, model_codec: str, groups: int = 1
) -> str | None:
    """Why masked rounds cannot have these settings, and what to do; None: they can.

    Args:
        parts: of the algorithm.
        buffered: whether a round admits updates from older models.
        by_figures: whether learning ends by the devices' figures.
        model_codec: how models are announced.
        groups: with masks of their own.
    """
    if parts.codec.name != "float32":
        return (
            f"[plan] codec: {parts.codec.name!r} gives each update values of its own form, which cannot be "
            "added under masks: remove it; [masking] value_bits says how values are rounded"
        )
    if parts.rule.name != "mean" and groups == 1:
        return (
            f"[rule] name: {parts.rule.name!r} compares single updates, and nobody sees one of a masked "
            'round: set [rule] name = "mean", or let it compare the means of groups with [masking] groups'
        )
    rule = parts.rule.made(RULES)
    if rule.fewest > groups > 1:
        return (
            f"[masking] groups: {groups} groups have as many means, and [rule] name = {parts.rule.name!r} "
            f"needs {rule.fewest} of them: set more groups, or a smaller [rule] f"
        )
    if groups > 1 and rule.init(1):
        return (
            f"[rule] name: {parts.rule.name!r} remembers earlier rounds, whose groups were others: choose "
            "another one"
        )
    if parts.sends or parts.hands_on:
        return (
            f"[plan] local: {parts.local.name!r} exchanges further vectors, which are not masked: choose "
            "another one"
        )
    if parts.personal.name != "none":
        return f"[personal] name: {parts.personal.name!r} does not work with [masking] yet: remove one"
    if buffered:
        return (
            '[rounds] schedule: with "buffered" updates come from different models and at different times, '
            'and a masked sum is of one model: set schedule = "rounds"'
        )
    if by_figures:
        return (
            "[stopping]: a masked round tells no figures of the devices' held-out rows: stop by `rounds` or "
            "`weight_change`"
        )
    if model_codec != "float32":
        return "[plan] model_codec: does not work with [masking] yet: remove it"
    return None
