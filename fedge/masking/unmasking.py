"""The sum, from the masked updates and the revealed shares (Bonawitz et al. 2017, figure 4, round 4)."""

from collections.abc import Mapping
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from fedge.masking import ciphers
from fedge.masking.keys import mask_keys
from fedge.masking.refusals import Refusal, Why
from fedge.masking.server_state import Server, Summed
from fedge.masking.sharing import PRIME, SHARE_BYTES, joined


def unmasked(state: Server) -> Summed | Refusal:
    """Take the masks off the sum: those of the survivors alone, and those between them and the lost."""
    assert state.roster is not None
    assert state.total is not None
    liars, added, taken = set[int](), list[bytes](), list[bytes]()
    for each in sorted(state.alive):
        seed = _secret(state, each, liars)
        if isinstance(seed, Refusal):
            return seed
        taken.append(seed)
    for each in sorted(state.sharers - state.alive):
        secret = _secret(state, each, liars)
        if isinstance(secret, Refusal):
            return secret
        near = [other for other in state.roster.graph.neighbours(each) if other in state.alive]
        for other, key in zip(near, _pairs(state, each, secret, near), strict=True):
            (taken if other < each else added).append(key)
    return _summed(state, state.ring.signed(ciphers.masked(state.total, state.ring, added, taken)))


def _summed(state: Server, found: NDArray[np.int64]) -> Summed | Refusal:
    """The sum, if updates within the terms can have it. What it does not show, a liar can add."""
    names, most = tuple(state.terms.cohort[each] for each in sorted(state.alive)), state.terms.max_weight
    levels, weight = (found, len(names)) if most == 1 else (found[:-1], int(found[-1]))
    if not len(names) <= weight <= len(names) * most:
        return Refusal(Why.WRONG_SUM, f"weights of {weight} together, of {len(names)} devices")
    largest = weight * state.ring.levels
    if int(levels.max()) > largest or int(levels.min()) < -largest:
        return Refusal(Why.WRONG_SUM, f"a sum beyond ±{largest}, of levels up to {state.ring.levels}")
    return Summed(levels, weight, names)


def _pairs(state: Server, lost: int, secret: bytes, survivors: list[int]) -> list[bytes]:
    """The keys of the masks that survivors have added or subtracted with a lost device."""
    assert state.roster is not None
    keys = state.roster.keys
    keyed = mask_keys(state.terms, secret, keys[lost].masking, [keys[other].masking for other in survivors])
    found = [key for key in keyed if key is not None]
    assert len(found) == len(survivors), "the server refuses weak keys"
    return found


def _secret(state: Server, of: int, liars: set[int]) -> bytes | Refusal:
    """The seed of a survivor or the key of a lost device, from revealed shares.

    The roster tells whether it is the right one. If not, each share in turn is left out: one wrong share does
    not keep a sum from being found if there is one more than needed. Who revealed it is added to `liars`,
    whose shares are taken last: the search is paid for once for each liar, and not for each secret.
    """
    assert state.roster is not None
    keys, least = state.roster.keys[of], state.roster.graph.threshold
    wanted, alive = (keys.commitment, True) if of in state.alive else (keys.masking, False)
    given = {by + 1: share for by, share in state.revealed.get(of, {}).items() if _is_share(share)}
    points = sorted(given, key=lambda point: (point in liars, point))
    if len(points) < least:
        return Refusal(Why.TOO_FEW, f"{len(points)} shares for {state.terms.cohort[of]}; {least} are needed")
    for left_out in (None, *points[: least if len(points) > least else 0]):
        chosen = [point for point in points if point != left_out][:least]
        secret = _checked({point: given[point] for point in chosen}, wanted, alive=alive)
        if secret is not None:
            liars |= set() if left_out is None else {left_out}
            return secret
    return Refusal(Why.WRONG_SHARES, f"the shares for {state.terms.cohort[of]} do not give its secret")


def _checked(shares: Mapping[int, bytes], wanted: bytes, *, alive: bool) -> bytes | None:
    secret = joined(shares)
    if secret is None:
        return None
    public = sha256(secret).digest() if alive else ciphers.public_key(secret)
    return secret if public == wanted else None


def _is_share(share: bytes) -> bool:
    return len(share) == SHARE_BYTES and int.from_bytes(share, "big") < PRIME
