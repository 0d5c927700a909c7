"""The state of an algorithm on this device, which is kept or dropped as a whole."""

from dataclasses import dataclass

from fedge.wire.freshness import RoundId


@dataclass(frozen=True)
class AlgorithmState:
    """The state after one round's work, as `agent.trainers.states` packs it."""

    round: RoundId
    """The round whose update it was made with."""
    lineage: bytes
    """32 bytes that identify where the state belongs. A state of another lineage is not used."""
    data: bytes
