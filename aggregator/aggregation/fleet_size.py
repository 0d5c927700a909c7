"""N, the number of devices of the fleet: a number in the ledger, saved with each training round.

SCAFFOLD and FedDyn move what the server keeps by |S| / N of the devices' mean change, where S are the devices
of the round (Karimireddy et al. 2020, Algorithm 1; Acar et al. 2021, Algorithm 1). N is not the cohort's
size: it stays the same in each round of a generation. It is

1. the number of `[federation] devices`, if they are listed (those in quarantine count too);
2. otherwise the number saved with the generation's last round of training;
3. in the first such round the number of devices whose survey or update the generation has admitted; of a
   generation that began with a kept model, the number of the generation which that model is of.

N is never smaller than the number of updates that count in the round. So a device that joins a fleet without
a list raises N once N devices answer besides it. One device counts once, so it raises N by at most 1.
"""

from collections.abc import Sized

from aggregator.core.parts import Parts
from aggregator.ledger.reading import LedgerReader
from fedge.errors import DamagedState
from fedge.wire.freshness import RoundId


def fleet_of(ledger: LedgerReader, round_id: RoundId, listed: int | None, admitted: Sized) -> int:
    """N for a training round that closes now.

    Args:
        ledger: knows the rounds before, and what was admitted.
        round_id: of the round.
        listed: the number of `[federation] devices`; None: there is no list.
        admitted: the updates that count in the round, at least one.

    Raises:
        DamagedState: the ledger's number cannot be read.
    """
    return max(len(admitted), _before(ledger, round_id) if listed is None else listed)


def share_of(parts: Parts, admitted: Sized) -> float:
    """The share of the fleet that counts in a round of these parts; 1 if an older program closed it.

    >>> share_of(Parts(fleet=20), range(5)), share_of(Parts(), range(5))
    (0.25, 1.0)
    """
    return 1.0 if parts.fleet is None else min(1.0, len(admitted) / parts.fleet)


def _before(ledger: LedgerReader, round_id: RoundId) -> int:
    """The number that the ledger has before a round; 0: it has none."""
    last = ledger.trained_up_to(round_id)
    if last is not None and (saved := _saved(ledger, last)) is not None:
        return saved
    known = ledger.devices_admitted(round_id.generation)
    beginning = ledger.beginning(round_id.generation)
    if beginning is None:
        return known
    source = _saved(ledger, beginning.source)
    return max(known, _before(ledger, beginning.source) if source is None else source)


def _saved(ledger: LedgerReader, round_id: RoundId) -> int | None:
    try:
        return Parts.read(ledger.parts(round_id)).fleet
    except ValueError as error:
        raise DamagedState(f"the parts of round {round_id} are damaged: {error}") from None
