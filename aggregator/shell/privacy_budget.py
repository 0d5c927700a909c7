"""The privacy budget in the ledger: checked before a round is announced, charged with each model.

A charge is in the transaction that saves the model, so neither is there without the other, and both are there
before anything is announced. The witness, which tells how much has been released, goes out with each
announcement; the one that the broker retains is compared at each start (`fedge.privacy.budget`).
"""

from dataclasses import dataclass

from aggregator.config import FederationSettings
from aggregator.core.presence import LeaderCheck
from aggregator.ledger.layout import DECLARED
from aggregator.ledger.reading import LedgerReader
from aggregator.ledger.writing import Ledger
from fedge.errors import ConfigError, PrivacyRefusal
from fedge.masking.noise import NoisyLevels
from fedge.privacy import budget
from fedge.privacy.charges import Declared, History, Position, Refusal, Release, Witness
from fedge.wire.freshness import RoundId
from fedge.wire.messages.protection import Charges, NoiseShares, Privacy, Protection


@dataclass(frozen=True)
class PrivacyBudget:
    """Pays for the releases of one federation."""

    declared: Declared

    def charge(self, ledger: Ledger, round_id: RoundId, attempt: int, inputs: str, devices: int) -> Charges:
        """Pay for what has been computed, inside the transaction that saves it; return the new witness.

        Args:
            ledger: holds the history.
            round_id: of the round.
            attempt: of the round.
            inputs: the digest of what was computed from.
            devices: the number of updates.

        Raises:
            PrivacyRefusal: it must not be released; the transaction must not be committed.
        """
        history = known(budget.read(ledger.privacy_history()))
        release = Release(Position(*round_id, attempt), inputs, devices)
        # What was released besides is told by the announcement, which was compared at the start.
        charged = budget.charge(history, self.declared, release, history.witness)
        if isinstance(charged, Refusal):
            raise refused(charged)
        if not charged.again:
            ledger.save_charge(len(charged.history.charges), charged.history.charges[-1])
        return charges_of(charged.history.witness)


def begin_or_resume(
    settings: FederationSettings, declared: Declared, ledger: Ledger, seen: LeaderCheck, *, room: bool
) -> History:
    """Return the history to go on with; a new one is saved.

    Args:
        settings: the configuration.
        declared: what it declares.
        ledger: holds the history, or begins one.
        seen: the announcement that the broker retains.
        room: whether at least one release must be left.

    Raises:
        ConfigError: the declared noise is too little for the declared ε, or the accountant is not installed.
        PrivacyRefusal: the history contradicts what was released or declared, or nothing is left.
    """
    try:
        declared.require_affordable()
        if (levels := settings.noisy_levels()) is not None:
            levels.guarantee(declared.delta)
    except ValueError as error:
        raise ConfigError(f"[privacy] noise_multiplier: {error}") from None
    witness, text = _witness(seen), ledger.privacy_history()
    history = budget.begin(declared, witness) if text is None else budget.read(text)
    found = known(budget.resume(history, declared, witness, room=room))
    if text is None:
        with ledger.transaction():
            ledger.save_mark(DECLARED, declared.key)
    return found


def _witness(seen: LeaderCheck) -> Witness:
    """What the retained announcement says was released. Without one nothing is known to have been: a ledger
    that is older than its fleet is found by the devices' claims too."""
    told = seen.charges
    return Witness(0) if told is None else Witness(told.number, told.digest)


def charges_of(witness: Witness) -> Charges:
    """The witness as a message tells it."""
    return Charges(number=witness.charges, digest=witness.digest)


def protection_of(
    declared: Declared, devices: int, witness: Witness, levels: NoisyLevels | None = None
) -> Protection:
    """What the rounds of a federation promise.

    Args:
        declared: of the federation.
        devices: the least number of updates of which a model is made.
        witness: what has been released.
        levels: how devices share the noise; None: they do not.
    """
    privacy = Privacy(
        mechanism=declared.mechanism,
        epsilon=declared.epsilon,
        delta=declared.delta,
        unit="device",
        adjacency=declared.training.adjacency,
        clip=declared.clip,
        noise_multiplier=declared.training.multiplier,
        cohort=declared.cohort,
        rounds=declared.releases,
        shares=None
        if levels is None
        else NoiseShares(devices=levels.honest, size=levels.grid.size, grid_bits=levels.grid.bits),
        witness=charges_of(witness),
    )
    return Protection(privacy=privacy, devices=devices)


def require_private(ledger: LedgerReader, generation: int) -> None:
    """Check that no round of a generation, or of those that it came from, was closed without noise.

    Raises:
        ConfigError: one was, so the model tells of rows what nothing was paid for.
    """
    for rule in ledger.rules_of(generation):
        if rule.partition("/")[0] not in ("private-mean", "masked-private-mean", "given", "kept"):
            raise ConfigError(
                f"[privacy]: generation {generation} has rounds without noise (rule {rule}): begin a new one "
                "with `fedge-aggregator new-generation`, whose first model is made of no rows"
            )
    if (beginning := ledger.beginning(generation)) is not None:
        require_private(ledger, beginning.source.generation)


def known(found: History | Refusal) -> History:
    """Raise a PrivacyRefusal unless there is a history."""
    if isinstance(found, Refusal):
        raise refused(found)
    return found


def refused(refusal: Refusal) -> PrivacyRefusal:
    """The error that ends the program."""
    return PrivacyRefusal(f"privacy ({refusal.reason}): {refusal.text}; nothing is released")
