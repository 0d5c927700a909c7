"""Secure aggregation as the ledger holds it: messages that were taken, and the attempt that takes place."""

from aggregator.aggregation.updates import read_update
from aggregator.core import exchange
from aggregator.core.federation import Federation, Promised
from aggregator.core.per_device import PerDevice
from aggregator.ledger.reading import LedgerReader
from aggregator.shell.certificates import Certificates
from fedge.errors import ConfigError, DamagedState, ProtocolError
from fedge.frozen import replace
from fedge.masking.messages import Advertise, Consistency, MaskedInput, Share, Terms, Unmask
from fedge.masking.round_messages import Objection, Promise
from fedge.wire.frames import join
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import Message, unpack, unpack_one_of
from fedge.wire.reasons import Rejection

CHANGE_BACK = (
    "change it back until the round is closed, or begin a new generation with "
    "`fedge-aggregator new-generation --keep-model`"
)
KINDS: tuple[type[Message], ...] = (Advertise, Share, MaskedInput, Consistency, Unmask, Objection)
"""What devices send in an attempt."""


def read_masking(ledger: LedgerReader, device: str, digest: bytes) -> Message | Rejection:
    """Put a message's frames together, check its digest, and read it.

    Raises:
        ProtocolError: the bytes are no message of secure aggregation.
    """
    whole = join(digest, ledger.pieces(device, digest))
    if isinstance(whole, Rejection):
        return whole
    return unpack_one_of(whole, KINDS, max_bytes=MAX_SIZE)


def with_exchange(state: Federation, ledger: LedgerReader, certificates: Certificates) -> Federation:
    """The state with what the ledger holds of secure aggregation in the open round.

    Raises:
        DamagedState: it cannot be read, or does not fit together.
        ConfigError: `[masking]` has changed in the middle of an attempt.
    """
    if state.kind != "masked":
        return state
    promised = PerDevice({device: _promised(state, ledger, certificates, device) for device in state.counted})
    state = replace(state, promised=promised, is_summed=ledger.masked_sum(state.round) is not None)
    assert state.masking is not None
    if state.masking.groups > 1 and any(each.drawn is None for each in promised.values()):
        raise ConfigError(f"[masking] groups: devices have promised updates without groups; {CHANGE_BACK}")
    rows = ledger.exchange(state.round)
    if not rows:
        return state
    try:
        begun = exchange.begun(state, unpack(rows[0][1], Terms), state.elapsed_s)
        for device, content in rows[1:]:
            if not device:
                begun, _ = exchange.over(begun, state.elapsed_s)
                continue
            message = read_masking(ledger, device, content)
            if isinstance(message, Rejection):
                raise DamagedState(f"what {device} sent in round {state.round} is damaged: {message.detail}")
            begun = exchange.replayed(state, begun, device, content, message)
    except (ProtocolError, KeyError) as error:
        raise DamagedState(f"secure aggregation in round {state.round} cannot go on: {error}") from None
    except ValueError as error:
        why = f"round {state.round} is in the middle of secure aggregation with other groups or thresholds"
        raise ConfigError(
            f"[masking] groups, cohort, threshold, server: {why} ({error}); {CHANGE_BACK}"
        ) from None
    return replace(state, exchange=begun)


def _promised(state: Federation, ledger: LedgerReader, certificates: Certificates, device: str) -> Promised:
    """What a device's promise brought, which was checked when it was admitted."""
    digest = state.answers[device].digest
    try:
        message = read_update(ledger, device, digest)
    except ProtocolError as error:
        message = Rejection(error.reason, str(error))
    if isinstance(message, Promise):
        key = certificates.key_of(device, message.certificate, now=False)
        if not isinstance(key, Rejection):
            return Promised(message.certificate, key, message.drawn)
    raise DamagedState(f"the promise of {device} in round {state.round} cannot be read")
