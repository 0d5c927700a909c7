"""What a device keeps of a round's work, as a whole or not at all."""

from dataclasses import dataclass, field

from fedge.wire.freshness import RoundId


@dataclass(frozen=True)
class AlgorithmState:
    """The state after one round's work, as `agent.trainers.states` packs it."""

    round: RoundId
    """The round whose update it was made with."""
    lineage: bytes
    """32 bytes that identify where the state belongs. A state of another lineage is not used."""
    data: bytes


@dataclass(frozen=True)
class MaskedUpdate:
    """An update of a masked round. It leaves the device under masks alone."""

    round: RoundId
    base: bytes
    """The digest of the model that it is a step from."""
    value_bits: int
    clip: float
    weight: int
    levels: bytes = field(repr=False)
    """Of shape (p,), as whole numbers of two bytes, the lower one first (`fedge.masking.ring`)."""
    drawn: bytes = b""
    """The random bytes that its promise brought, from which groups follow; empty: the round has none."""
    promised: bytes = b""
    """With noise that devices share, a digest of what the round promised when this device's share was added
    (`agent.core.protection.noise_promised`); empty: it has none."""


SHARED, PERSONAL = 0, 1
"""The model that a device uses: the shared one, or its personal one."""
USES = ("shared", "personal")
"""Their names, for people and scripts."""


@dataclass(frozen=True)
class PersonalState:
    """A device's models of its own after one round's work. It never leaves the device."""

    round: RoundId
    """The round with whose update it was made."""
    lineage: bytes
    """32 bytes: the task, and the personal model with its options."""
    task: bytes
    """The task's digest."""
    base: bytes
    """The digest of the shared model that it was made from."""
    name: str
    """The name of the personal model's part; `none` if there is only a model alone."""
    chose: int
    """The model that the device uses: `SHARED` or `PERSONAL`."""
    data: bytes
    """The part's state, the model alone, and the model in use where it is not the shared one, as
    `agent.trainers.personal_states` packs them."""
