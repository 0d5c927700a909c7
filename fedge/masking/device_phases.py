"""The phases of a device after its advertisement: each gives the next state and effects, or a refusal."""

from collections.abc import Collection

import numpy as np

from fedge.frozen import replace
from fedge.identity.ed25519 import SIGNATURE_BYTES
from fedge.masking import ciphers, statements
from fedge.masking.device_state import Attempt, Effect, Identity, Refuse, Send, Stage, UpdateReady, WantUpdate
from fedge.masking.keys import (
    Directory,
    Secrets,
    directory,
    mask_keys,
    pieces_of,
    public_keys,
    ring_for,
    sealing_keys,
    secrets_of,
)
from fedge.masking.messages import (
    SEALED_BYTES,
    Agreement,
    Consistency,
    Delivery,
    MaskedInput,
    Roster,
    Share,
    Survivors,
    Unmask,
)
from fedge.masking.refusals import Refusal, Why
from fedge.masking.sharing import SHARE_BYTES, split

Found = tuple[Attempt, list[Effect]] | Refusal
MISSING = b"\xff" * SHARE_BYTES
"""Stands for a share that this device does not hold; no number of the field is so large."""


def share(name: str, attempt: Attempt, message: Roster, identity: Identity) -> Found:
    """Phase 2: check the roster, and seal shares of both secrets for each neighbour."""
    terms, own = attempt.terms, attempt.place
    if attempt.stage != Stage.ADVERTISED:
        return _again(attempt, Stage.SHARED, same=_same_roster(attempt, message))
    roster = directory(terms, message)
    if isinstance(roster, Refusal):
        return roster
    secrets = secrets_of(attempt.entropy, terms)
    if roster.keys.get(own) != public_keys(secrets):
        return Refusal(Why.OWN_KEY_CHANGED, "the roster does not have the keys of this device")
    near = roster.graph.neighbours(own)
    for other in near:
        public = roster.keys[other]
        told = public.sealing + public.masking + public.commitment
        said = statements.advertisement(attempt.digest, terms.cohort[other], told)
        if not identity.verify(terms.cohort[other], said, roster.signatures[other]):
            return Refusal(Why.BAD_SIGNATURE, f"{terms.cohort[other]} has not signed the keys in the roster")
    pairs = _split(secrets, roster, own)
    theirs = [roster.keys[other].sealing for other in near]
    ours = secrets.sealing, roster.keys[own].sealing
    sealed, incoming = [], dict[int, bytes]()
    for other, keys in zip(near, sealing_keys(terms, roster.digest, *ours, theirs), strict=True):
        if keys is None:
            return Refusal(Why.WEAK_KEY, f"the sealing key of {terms.cohort[other]}")
        sealed.append(ciphers.sealed(keys.outgoing, pairs[other], roster.digest))
        incoming[other] = keys.incoming
    answer = Share(terms=attempt.digest, device=name, roster=roster.digest, sealed=b"".join(sealed))
    held = {own: pairs[own]}
    after = replace(attempt, stage=Stage.SHARED, sent=answer, roster=roster, held=held, incoming=incoming)
    return after, [Send(answer)]


def receive_shares(attempt: Attempt, message: Delivery) -> Found:
    """Open what the neighbours have sealed. Who sealed badly keeps nobody from going on."""
    terms, own, roster = attempt.terms, attempt.place, attempt.roster
    sharers = statements.members_of(message.sharers, len(terms.cohort))
    if roster is None or attempt.stage != Stage.SHARED:
        return _again(attempt, Stage.READY, same=sharers == attempt.sharers)
    if sharers is None or own not in sharers or not sharers <= roster.keys.keys():
        return Refusal(Why.MALFORMED, "the sharers are not of the roster, or lack this device")
    if len(sharers) < terms.threshold or not roster.graph.holds(sharers):
        return Refusal(Why.TOO_FEW, f"{len(sharers)} devices have shared, or too many are missing in a row")
    near = [other for other in roster.graph.neighbours(own) if other in sharers]
    if len(message.sealed) != SEALED_BYTES * len(near):
        return Refusal(Why.MALFORMED, "the sealed shares are not those of the neighbours that have shared")
    incoming = attempt.incoming or _incoming(attempt, roster, near)
    held, effects = dict(attempt.held), list[Effect]()
    for other, body in zip(near, pieces_of(message.sealed, SEALED_BYTES), strict=True):
        opened = ciphers.opened(incoming[other], body, roster.digest)
        if opened is None:
            name = terms.cohort[other]
            effects.append(Refuse(Refusal(Why.ALTERED_SHARE, f"what {name} has sealed cannot be opened")))
        else:
            held[other] = opened
    after = replace(attempt, stage=Stage.READY, sharers=sharers, held=held, incoming={})
    return after, [*effects, WantUpdate()]


def mask_update(attempt: Attempt, event: UpdateReady, identity: Identity) -> Found:
    """Phase 3: add the masks to the update. Another update is never masked in this attempt."""
    terms, roster = attempt.terms, attempt.roster
    if roster is None or attempt.stage != Stage.READY:
        return _again(attempt, Stage.MASKED, same=False)
    if event.levels.shape != (terms.size,):
        return Refusal(Why.BAD_UPDATE, f"an update of shape {event.levels.shape}, and not ({terms.size},)")
    ring = ring_for(terms)
    try:
        values = ring.elements(event.levels, event.weight)
    except ValueError as error:
        return Refusal(Why.BAD_UPDATE, str(error))
    if terms.max_weight > 1:
        values = np.append(values, ring.word.type(event.weight))
    secrets = secrets_of(attempt.entropy, terms)
    near = [other for other in roster.graph.neighbours(attempt.place) if other in attempt.sharers]
    theirs = [roster.keys[other].masking for other in near]
    keyed = mask_keys(terms, secrets.masking, roster.keys[attempt.place].masking, theirs)
    added, taken = [secrets.self_mask], list[bytes]()
    for other, key in zip(near, keyed, strict=True):
        if key is None:
            return Refusal(Why.WEAK_KEY, f"the masking key of {terms.cohort[other]}")
        (added if attempt.place < other else taken).append(key)  # the lower place adds, the higher subtracts
    masked = ciphers.masked(values, ring, added, taken)
    said = statements.masked_with(roster.digest, statements.bitmap(attempt.sharers, len(terms.cohort)))
    answer = MaskedInput(
        terms=attempt.digest,
        device=terms.cohort[attempt.place],
        values=ring.packed(masked),
        signature=identity.sign(said),
    )
    return replace(attempt, stage=Stage.MASKED, sent=answer, entropy=b""), [Send(answer)]


def sign_survivors(attempt: Attempt, message: Survivors, identity: Identity) -> Found:
    """Phase 4: sign one survivor set, and the sharers with whom this device has masked."""
    terms, roster, devices = attempt.terms, attempt.roster, len(attempt.terms.cohort)
    alive = statements.members_of(message.alive, devices)
    dead = statements.members_of(message.dead, devices)
    if attempt.stage != Stage.MASKED or roster is None:
        if attempt.stage >= Stage.SIGNED and alive != attempt.alive:
            return Refusal(Why.TWO_SURVIVOR_SETS, "this device has signed another survivor set")
        return _again(attempt, Stage.SIGNED, same=alive == attempt.alive)
    if alive is None or dead is None:
        return Refusal(Why.MALFORMED, "the survivors are not of the cohort")
    if alive & dead:
        named = ", ".join(terms.cohort[each] for each in sorted(alive & dead)[:3])
        return Refusal(Why.ALIVE_AND_DEAD, f"called both: {named}")
    if alive | dead != attempt.sharers or attempt.place not in alive:
        return Refusal(Why.NOT_A_SHARER, "alive and dead are not the sharers, or this device is not alive")
    if len(alive) < terms.threshold or not roster.graph.holds(alive):
        return Refusal(Why.TOO_FEW, f"{len(alive)} survivors: too few, or too many are missing in a row")
    vouching = [other for other in roster.graph.vouchers(attempt.place) if other in alive]
    said = statements.masked_with(roster.digest, statements.bitmap(attempt.sharers, devices))
    if (wrong := _unsigned(attempt, said, vouching, message.signatures, identity)) is not None:
        return wrong
    signature = identity.sign(_agreed(roster, attempt.sharers, alive, devices))
    answer = Consistency(terms=attempt.digest, device=terms.cohort[attempt.place], signature=signature)
    return replace(attempt, stage=Stage.SIGNED, sent=answer, alive=alive), [Send(answer)]


def agree(attempt: Attempt, message: Agreement, identity: Identity) -> Found:
    """Phase 5: with t signatures of the set that it signed, reveal one share of each sharer nearby."""
    terms, roster, devices = attempt.terms, attempt.roster, len(attempt.terms.cohort)
    if attempt.stage != Stage.SIGNED or roster is None:
        return _again(attempt, Stage.REVEALED, same=True)
    signers = statements.members_of(message.signers, devices)
    if signers is None or not signers <= attempt.alive:
        return Refusal(Why.MALFORMED, "the signers are not among the survivors")
    if len(signers) < terms.threshold:
        return Refusal(Why.TOO_FEW, f"{len(signers)} signatures, and {terms.threshold} are needed")
    said = _agreed(roster, attempt.sharers, attempt.alive, devices)
    if (wrong := _unsigned(attempt, said, sorted(signers), message.signatures, identity)) is not None:
        return wrong
    shares = []
    for other in roster.graph.holders(attempt.place):
        if other in attempt.sharers:
            pair = attempt.held.get(other)
            start = 0 if other in attempt.alive else SHARE_BYTES
            shares.append(MISSING if pair is None else pair[start : start + SHARE_BYTES])
    answer = Unmask(terms=attempt.digest, device=terms.cohort[attempt.place], shares=b"".join(shares))
    return replace(attempt, stage=Stage.REVEALED, sent=answer, held={}), [Send(answer)]


def _incoming(attempt: Attempt, roster: Directory, near: list[int]) -> dict[int, bytes]:
    """The keys of what neighbours have sealed for this device, after a restart."""
    ours = secrets_of(attempt.entropy, attempt.terms).sealing, roster.keys[attempt.place].sealing
    theirs = [roster.keys[other].sealing for other in near]
    keyed = sealing_keys(attempt.terms, roster.digest, *ours, theirs)
    return {other: keys.incoming for other, keys in zip(near, keyed, strict=True) if keys is not None}


def _split(secrets: Secrets, roster: Directory, own: int) -> dict[int, bytes]:
    """For each holder: its share of the self-mask's seed, then its share of the masking key."""
    holders, threshold = roster.graph.holders(own), roster.graph.threshold
    points = [holder + 1 for holder in holders]
    kept = split(secrets.self_mask, threshold, points, secrets.polynomial(b"self" + roster.digest, threshold))
    lost = split(secrets.masking, threshold, points, secrets.polynomial(b"key" + roster.digest, threshold))
    return {holder: a + b for holder, a, b in zip(holders, kept, lost, strict=True)}


def _agreed(roster: Directory, sharers: Collection[int], alive: Collection[int], devices: int) -> bytes:
    return statements.survivors(
        roster.digest, statements.bitmap(sharers, devices), statements.bitmap(alive, devices)
    )


def _unsigned(
    attempt: Attempt, said: bytes, signers: list[int], signatures: bytes, identity: Identity
) -> Refusal | None:
    """Why these are not the signatures of these devices. What this device has signed itself is known."""
    if len(signatures) != SIGNATURE_BYTES * len(signers):
        return Refusal(Why.MALFORMED, f"{len(signatures)} bytes where {len(signers)} have signed")
    for signer, signature in zip(signers, pieces_of(signatures, SIGNATURE_BYTES), strict=True):
        name = attempt.terms.cohort[signer]
        if signer != attempt.place and not identity.verify(name, said, signature):
            return Refusal(Why.BAD_SIGNATURE, f"{name} has not signed this set of devices")
    return None


def _same_roster(attempt: Attempt, message: Roster) -> bool:
    named = statements.roster_digest(message.terms, message.members, message.advertised)
    return attempt.roster is not None and attempt.roster.digest == named


def _again(attempt: Attempt, then: Stage, *, same: bool) -> Found:
    """A message of another phase: the answer goes out again if it is the newest, and nothing changes."""
    if attempt.stage == then and same:
        return attempt, [Send(attempt.sent)] if then != Stage.READY else [WantUpdate()]
    if attempt.stage >= then and not same:
        return Refusal(Why.TWICE, "this device has answered another message of this phase")
    return Refusal(Why.WRONG_PHASE, f"this device is at {attempt.stage.name}")
