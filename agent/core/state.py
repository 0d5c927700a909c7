"""What an algorithm remembers on this device between rounds, as one thing that is kept or dropped whole."""

from dataclasses import dataclass

from fedge.wire.freshness import RoundId


@dataclass(frozen=True)
class AlgorithmState:
    """The state that came of one round's work, as `agent.trainers.states` packs it."""

    round: RoundId
    """The round whose update it was made with."""
    lineage: bytes
    """What it belongs to: 32 bytes; of another lineage it means nothing."""
    data: bytes
