"""Aggregators that send coded models wrongly."""

from typing import Any

from aggregator.aggregation import codings, past
from aggregator.aggregation.downlink import Before
from aggregator.ledger.reading import LedgerReader
from aggregator.phases import train
from aggregator.shell.announcements import Announcements
from fedge.frozen import replace
from fedge.wire.freshness import RoundId
from fedge.wire.models import CHANGES, Key
from fleet.simulator.invariants import Invariant
from tests.world.variant import Patch, Variants, noted_in

VARIANTS: Variants = {}
variant = noted_in(VARIANTS)


@variant(
    "the error of a coded model is not fed back",
    Invariant.MEAN,
    within=20,
    needs=["coded models"],
)
def an_error_that_is_not_fed_back(patch: Patch) -> None:
    right = codings.before

    def without(ledger: LedgerReader, round_id: RoundId) -> Before:
        return Before({}, right(ledger, round_id).key)

    patch.setattr(past.codings, "before", without)


@variant(
    "a key frame is used for ever",
    Invariant.CODED_AS_IT_SAYS,
    within=40,
    needs=["key frames"],
)
def a_key_frame_for_ever(patch: Patch) -> None:
    def first(_round_id: RoundId, codec: str, _every: int, before: Before, base: Key) -> Key | None:
        return (before.key or base) if codec in CHANGES else None

    patch.setattr(train, "key_for", first)


@variant(
    "the aggregator announces a coded model without its key frame",
    Invariant.ANNOUNCED_IS_READABLE,
    within=20,
    needs=["key frames"],
)
def a_key_frame_that_is_not_published(patch: Patch) -> None:
    right = Announcements.blobs

    def without(self: Announcements, effect: Any) -> None:
        form = effect.form
        right(self, effect if form is None else replace(effect, form=replace(form, key=None)))

    patch.setattr(Announcements, "blobs", without)
