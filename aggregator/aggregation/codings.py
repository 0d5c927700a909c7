"""The coded forms of announced models, as the ledger keeps them: the form, its key frame, and the errors.

The errors are state of the server, as that of its optimizer is: saved with the round that made them, and read
again when the next round closes or is computed again. They belong to one generation.
"""

from hashlib import sha256

import numpy as np

from aggregator.aggregation import server_state
from aggregator.aggregation.downlink import Before, Coding, coded
from aggregator.aggregation.models import blob_of
from aggregator.core.coded_form import CodedForm
from aggregator.ledger.layout import FILE
from aggregator.ledger.reading import LedgerReader
from aggregator.ledger.records import SavedCoding
from aggregator.ledger.writing import Ledger
from fedge.errors import DamagedState, DataError, ProtocolError
from fedge.wire.freshness import RoundId
from fedge.wire.models import Key, Vector, read_key


def before(ledger: LedgerReader, round_id: RoundId) -> Before:
    """What the announcement that a round began with has left; nothing if its model was not coded.

    Raises:
        DamagedState: it is missing, or does not match its digest.
    """
    last = ledger.trained_up_to(round_id)
    saved = None if last is None else read(ledger, last)
    if saved is None:
        return Before()
    return Before(
        {name: np.asarray(array, np.float32) for name, array in server_state.unpack(saved.errors).items()},
        None if saved.key is None else key_of(ledger, saved.key),
    )


def read(ledger: LedgerReader, round_id: RoundId) -> SavedCoding | None:
    """The coding of a closed round's model; None: it was sent as it is.

    Raises:
        DamagedState: it does not match its digest.
    """
    saved = ledger.coding_of(round_id)
    if saved is not None and _digest(saved) != saved.digest:
        raise DamagedState(
            f"{FILE}: the coded form of the model of round {round_id} does not match its digest"
        )
    return saved


def key_of(ledger: LedgerReader, digest: bytes) -> Key:
    """The key frame with this digest, which is a model in the ledger.

    Raises:
        DamagedState: it is missing or damaged.
    """
    try:
        return read_key(ledger.content(digest))
    except ProtocolError as error:
        raise DamagedState(f"{FILE}: the key frame {digest.hex()[:12]}… cannot be read: {error}") from error


def save(ledger: Ledger, round_id: RoundId, coding: Coding, slot: int, key_slot: int | None = None) -> None:
    """Save the coding of a round's model, inside the caller's transaction.

    Args:
        ledger: of the aggregator that closes the round.
        round_id: of the round.
        coding: of its model.
        slot: of its model, in which the coded form is published.
        key_slot: of a new key frame; None: the one after that of the newest.
    """
    blob = blob_of(coding.data, slot)
    key = coding.key.digest if coding.key is not None else None
    errors = server_state.pack(coding.errors)
    unsigned = SavedCoding(coding.codec, blob.digest, key, errors, b"")
    ledger.save_coding(round_id, unsigned._replace(digest=_digest(unsigned)))
    ledger.save_content("coded", round_id, blob, coding.data)
    if key is not None:
        _place_key(ledger, key, key_slot)


def _place_key(ledger: Ledger, digest: bytes, slot: int | None) -> None:
    """Give a key frame a slot, but not that of the one before, which a device may be reading."""
    slots = [(slot, blob) for (kind, slot), blob in ledger.slots().items() if kind == "key"]
    if not any(blob.digest == digest for _, blob in slots):
        if slot is None:
            newest = ledger.newest_key_slot()
            slot = 0 if newest is None else 1 - newest
        ledger.save_key(blob_of(ledger.content(digest), slot))


def form_of(ledger: LedgerReader, generation: int) -> CodedForm | None:
    """The coded form of a generation's newest model; None: it is sent as it is.

    Raises:
        DamagedState: the ledger has lost it.
    """
    last = ledger.last_trained(generation)
    saved = None if last is None else ledger.coding_of(last)
    if saved is None:
        return None
    slots = ledger.slots()
    blobs = {(kind, blob.digest): blob for (kind, _), blob in slots.items()}
    coded_blob = blobs.get(("coded", saved.coded))
    key = None if saved.key is None else blobs.get(("key", saved.key))
    if coded_blob is None or (key is None) != (saved.key is None):
        raise DamagedState(f"{FILE}: it is not known where the coded form of the model of round {last} lies")
    return CodedForm(saved.codec, coded_blob, key)


def again(ledger: LedgerReader, round_id: RoundId, made: dict[str, Vector], seed: int) -> dict[str, Vector]:
    """The vectors that a closed round announced, from those that its updates make.

    Args:
        ledger: has the round's coding, and that of the round before.
        round_id: of the round.
        made: by name, `weights` among them.
        seed: of the federation when the round was opened.

    Raises:
        DataError: its key frame is no longer kept.
        DamagedState: its coding is damaged.
    """
    saved = read(ledger, round_id)
    if saved is None:
        return made
    if saved.key is not None and not ledger.has_content(saved.key):
        raise DataError(
            f"the key frame of the model of round {round_id} is no longer kept ([state] keep_rounds and "
            "keep_bytes)"
        )
    key = None if saved.key is None else key_of(ledger, saved.key)
    found = coded(round_id, made, saved.codec, seed, before(ledger, round_id).errors, key)
    if found is None:
        raise DamagedState(f"{FILE}: the updates of round {round_id} make no model that could be coded")
    return dict(found.vectors)


def _digest(saved: SavedCoding) -> bytes:
    parts = (saved.codec.encode(), saved.coded, saved.key or b"", sha256(saved.errors).digest())
    return sha256(b"\n".join(parts)).digest()
