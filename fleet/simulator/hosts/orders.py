"""The operator's orders for an aggregator's next start."""

from dataclasses import dataclass, replace

from aggregator.aggregation.rollback import Rollback
from aggregator.aggregation.updates import admitted
from aggregator.ledger.reading import LedgerReader
from fedge.wire.freshness import RoundId


@dataclass
class Orders:
    """The orders, which hold until the aggregator serves."""

    new_generation: bool = False
    """Whether it begins a generation at its next start."""
    back: Rollback | None = None
    """The model that the generation begins with; None: it begins with a survey."""
    far: int = 0
    """The number of the model among those that are kept; 0: the newest."""
    told_in: int | None = None
    """The newest generation when the order was given."""

    def still_hold_in(self, generation: int) -> None:
        """Drop the order for a new generation if this newest generation of the ledger was begun since."""
        self.told_in = generation if self.told_in is None else self.told_in
        self.new_generation = generation == self.told_in

    def wish(self, ledger: LedgerReader, aside: frozenset[str]) -> Rollback | None:
        """The model in the ledger to go back to, and the quarantined devices to leave out of it."""
        life, back = ledger.meta(), self.back
        models = ledger.kept_models(life.generation) if life is not None else []
        if back is None or not self.far or life is None or not models:
            return back
        source = models[self.far % len(models)]
        parts = [
            set(admitted(ledger, RoundId(life.generation, number))) for number in models if number > source
        ]
        culprit = min(aside, default=None)
        some = parts and all(len(part - {culprit}) >= 2 for part in parts)
        without = (culprit,) if culprit in set().union(*parts) and some else ()
        return replace(back, round=source, without=without)
