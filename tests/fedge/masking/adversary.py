"""What a server knows that keeps all messages and has the secrets of some devices."""

import numpy as np

from benchmarks.masked_cohort import Cohort
from fedge.masking import ciphers
from fedge.masking.keys import mask_keys, pieces_of, sealing_keys, secrets_of
from fedge.masking.messages import SEALED_BYTES, MaskedInput, Share, Unmask
from fedge.masking.ring import Values
from fedge.masking.sharing import SHARE_BYTES, joined


def residual(cohort: Cohort, victim: int, helpers: frozenset[int]) -> Values:
    """A masked update without every mask that the server can compute."""
    terms, roster = cohort.terms, cohort.server.roster
    assert roster is not None
    ring, names = cohort.server.ring, terms.cohort
    masked = cohort.seen[names[victim], MaskedInput.TYPE]
    assert isinstance(masked, MaskedInput)
    values = ring.unpacked(masked.values, terms.size)
    assert values is not None
    seed = _secret(cohort, victim, helpers, 0)
    if seed is not None:
        values = ring.without(values, ciphers.mask(seed, ring, terms.size))
    own = _secret(cohort, victim, helpers, 1)
    for other in roster.graph.neighbours(victim):
        theirs = _secret(cohort, other, helpers, 1)
        secret, public = (own, other) if own is not None else (theirs, victim)
        if secret is not None:
            side = victim if own is not None else other
            (key,) = mask_keys(terms, secret, roster.keys[side].masking, [roster.keys[public].masking])
            assert key is not None
            mask = ciphers.mask(key, ring, terms.size)
            values = ring.without(values, mask) if victim < other else ring.added(values, mask)
    return values


def _secret(cohort: Cohort, of: int, helpers: frozenset[int], which: int) -> bytes | None:
    """The seed of the self-mask (0) or the masking key (1), if it can be found."""
    terms, roster = cohort.terms, cohort.server.roster
    assert roster is not None
    if of in helpers:
        secrets = secrets_of(cohort.entropy[terms.cohort[of]], terms)
        return (secrets.self_mask, secrets.masking)[which]
    shares: dict[int, bytes] = {}
    near = roster.graph.neighbours(of)
    sealed = cohort.seen[terms.cohort[of], Share.TYPE]
    assert isinstance(sealed, Share)
    for holder, body in zip(near, pieces_of(sealed.sealed, SEALED_BYTES), strict=True):
        if holder in helpers:
            secret = secrets_of(cohort.entropy[terms.cohort[holder]], terms).sealing
            keys = roster.keys[holder].sealing, [roster.keys[of].sealing]
            (sealing,) = sealing_keys(terms, roster.digest, secret, *keys)
            assert sealing is not None
            pair = ciphers.opened(sealing.incoming, body, roster.digest)
            assert pair is not None
            shares[holder + 1] = pair[which * SHARE_BYTES :][:SHARE_BYTES]
    for holder in range(len(terms.cohort)):
        told, attempt = cohort.seen.get((terms.cohort[holder], Unmask.TYPE)), None
        if isinstance(told, Unmask) and holder not in helpers:
            attempt = cohort.states[terms.cohort[holder]].attempt
        if attempt is not None and (of in attempt.alive) == (which == 0):
            assert isinstance(told, Unmask)
            held = [each for each in roster.graph.holders(holder) if each in attempt.sharers]
            if of in held:
                shares[holder + 1] = pieces_of(told.shares, SHARE_BYTES)[held.index(of)]
    least = roster.graph.threshold
    return joined(dict(list(shares.items())[:least])) if len(shares) >= least else None


def chi_square(values: Values) -> float:
    """Of the lowest bytes against equal shares: mean 255, standard deviation 22.6 if they are uniform."""
    counts = np.bincount(values.astype(np.uint64).view(np.uint64) & 0xFF, minlength=256)
    even = len(values) / 256
    return float(((counts - even) ** 2).sum() / even)


def looks_random(values: Values) -> bool:
    """Within six standard deviations: a uniform one fails once in 10⁸ times. Both bytes have to."""
    return all(abs(chi_square(part) - 255) < 6 * 22.6 for part in (values, values >> 8))
