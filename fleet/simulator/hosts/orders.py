"""What an operator has told an aggregator to begin with."""

from dataclasses import dataclass, replace

from aggregator.aggregation.rollback import Return
from aggregator.aggregation.updates import admitted
from aggregator.ledger.reading import LedgerReader
from fedge.wire.freshness import RoundId


@dataclass
class Orders:
    """They hold until the aggregator serves."""

    new_generation: bool = False
    """It is told to begin one when it starts next."""
    back: Return | None = None
    """To which model it is to go back then; None: it begins with a survey."""
    far: int = 0
    """How far, if not to the newest: which of the models that are there."""
    told_in: int | None = None
    """The generation in which it was told so; it is told once."""

    def still_hold_in(self, generation: int) -> None:
        """It starts, and this is the newest generation of its ledger: what began one since then is done."""
        self.told_in = generation if self.told_in is None else self.told_in
        self.new_generation = generation == self.told_in

    def wish(self, ledger: LedgerReader, aside: frozenset[str]) -> Return | None:
        """The model to go back to, of those in the ledger, and without whom of those set aside."""
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
