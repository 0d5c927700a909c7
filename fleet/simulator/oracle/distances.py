"""Check the bounds on the distance of updates from their bases: none beyond counts, no other is refused."""

from collections.abc import Iterable, Mapping

from aggregator.core.verdicts import Verdict
from fedge.wire.freshness import RoundId
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason
from fleet.simulator import twins
from fleet.simulator.books import Book
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.oracle.record import Record

SLACK = 1e-9
"""The relative error of a distance that a twin computes in another order."""


def furthest(record: Record, book: Book, generation: int, name: str) -> float:
    """The largest distance of a vector from its base in the open round; 0: there is no bound yet."""
    usual = book.usual.get((generation, name), 0.0)
    recent = book.moved.get((generation, name), ())[-1 - (record.staleness or 0) :]
    return twins.MAX_NORM * max(usual, *recent, 0.0) if usual else 0.0


def require_near(
    record: Record, book: Book, round_id: RoundId, name: str, parts: Iterable[twins.Counted]
) -> None:
    """Check that no vector counts that is too far from its base."""
    most = furthest(record, book, round_id.generation, name)
    longest = max(part.norm for part in parts)
    if 0 < most < longest:
        raise Violation(
            Invariant.DISTANCE, f"{name} at distance {longest} from their base count in round {round_id}"
        )


def require_far(record: Record, book: Book, round_id: RoundId, answers: Mapping[str, Verdict]) -> None:
    """Check that each update that was refused as too far is beyond a bound; the answers are new."""
    for device, answer in answers.items():
        if answer.reason is not Reason.TOO_FAR:
            continue
        update = record.made[answer.digest].message
        assert isinstance(update, Update)
        model = record.vectors[update.base]
        lengths = {"weights": (model[record.composition.models[update.cluster or 0]], update.body)}
        lengths |= {name: ([0.0] * len(model[name]), body) for name, body in (update.vectors or {}).items()}
        for name, (base, body) in lengths.items():
            most = furthest(record, book, round_id.generation, name)
            if 0 < most < twins.length(base, twins.numbers(body)) * (1 + SLACK):
                break
        else:
            raise Violation(
                Invariant.DISTANCE,
                f"the update of {device} is refused as too far in round {round_id}, and is within the bounds",
            )


def note(
    book: Book, round_id: RoundId, name: str, median: float, updates: int, aimed: float, moved: float = 0.0
) -> None:
    """Note what a round says of how far its vectors usually are from their bases.

    Args:
        book: of the aggregator.
        round_id: of the closed round.
        name: of the vector.
        median: the lower median of their distances.
        updates: how many counted.
        aimed: how far the aggregate was from the base.
        moved: how far the round moved the model; 0 for a further vector.
    """
    key = round_id.generation, name
    before = book.moved.get(key, ())
    if updates == 1:
        moved = max([moved, *before[-1:]])
    else:
        book.usual[key] = max(median, book.usual.get(key, 0.0))
    if updates == 2:
        moved = max(moved, aimed)
    book.moved[key] = (*before, moved)
