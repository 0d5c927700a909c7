"""What a device's owner requires of a round's protection, checked against the manifest. Pure.

The manifest is the server's word: the check refuses a promise that is too small, unknown or contradicts
itself. Whether the server keeps a promise of central noise cannot be seen from here (docs/privacy.md).
"""

from collections.abc import Iterator
from hashlib import sha256
from math import exp, inf, log, sqrt
from statistics import NormalDist

from agent.core.limits import Objection
from agent.settings.trust import TrustSettings
from fedge.masking.device import LEAST_COLLUDERS
from fedge.masking.noise import NoisyLevels
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.protection import Charges, Masks, Privacy, Protection
from fedge.wire.reasons import Reason

NOTHING = Protection()
SERVERS = ("lying", "honest-but-curious")
MECHANISMS = ("central", "distributed", "local", "tree")
AGAINST_SERVER = ("distributed", "local")
"""Mechanisms whose noise the server cannot leave out."""
SHIFTS = {"add-remove": 1.0, "replace-one": 2.0}
"""How far a neighbouring federation's sum is, as a multiple of what one device adds."""
OF_ROWS = frozenset(
    {
        Reason.TOO_FEW_SAMPLES,
        Reason.WRONG_INPUT,
        Reason.BAD_DATA,
        Reason.TRAINING_DIVERGED,
        Reason.FAILED,
    }
)
"""Reasons to decline whose texts may quote figures about rows."""


def unprotected(trust: TrustSettings, manifest: Manifest) -> Iterator[Objection]:
    """Find all objections to what a round promises."""
    offered = manifest.protection or NOTHING
    for text in _missing(trust, offered):
        yield Objection(Reason.UNPROTECTED, text)


def withholds(trust: TrustSettings, manifest: Manifest | None) -> bool:
    """Whether the device tells no figures about its rows: the round promises privacy, or the owner
    requires it."""
    promised = manifest.protection if manifest is not None else None
    return trust.private or (promised is not None and promised.privacy is not None)


def noise_promised(offered: Protection | None) -> bytes:
    """A digest of what a round with noise that devices share promises; empty: it has no such noise.

    A device's share is of the noise that was promised when it was added. Under another promise, of fewer
    devices in a sum, the same update would be hidden by less.
    """
    if offered is None or offered.privacy is None or offered.privacy.mechanism != "distributed":
        return b""
    # What had been released grows, and is no part of it.
    privacy = offered.privacy.model_copy(update={"witness": Charges(number=0)})
    return sha256(offered.model_copy(update={"privacy": privacy}).model_dump_json().encode()).digest()


def _missing(trust: TrustSettings, offered: Protection) -> Iterator[str]:
    if trust.private:
        yield from _of_privacy(trust, offered.privacy)
    if offered.privacy is not None and offered.privacy.mechanism == "distributed":
        yield from _of_shares(trust, offered.privacy, offered.masked)
    if "masked" in trust.require:
        yield from _of_masks(offered.masked)
    if trust.min_cohort is not None and offered.devices < trust.min_cohort:
        yield (
            f"the round may release what {offered.devices} devices sent, [trust] min_cohort is "
            f"{trust.min_cohort}"
        )


def _of_privacy(trust: TrustSettings, offered: Privacy | None) -> Iterator[str]:
    if offered is None:
        yield "the round promises no differential privacy, which [trust] requires"
        return
    if offered.mechanism not in MECHANISMS or offered.unit != "device" or offered.adjacency not in SHIFTS:
        yield (
            f"the round promises privacy of another kind ({offered.mechanism}, {offered.unit}, "
            f"{offered.adjacency}) than this program knows, and [trust] requires it"
        )
        return
    if offered.delta > trust.max_delta:
        yield f"the round promises δ = {offered.delta:g}, [trust] max_delta is {trust.max_delta:g}"
    if trust.max_epsilon is not None and offered.epsilon > trust.max_epsilon:
        yield f"the round promises ε = {offered.epsilon:g}, [trust] max_epsilon is {trust.max_epsilon:g}"
    if trust.adversary == "server" and offered.mechanism not in AGAINST_SERVER:
        yield (
            f"the round promises {offered.mechanism} noise, which the server adds to updates that it sees; "
            '[trust] adversary = "server" requires noise that devices add'
        )
    if trust.local_epsilon is not None:
        if offered.mechanism != "local":
            yield f"the round promises {offered.mechanism} noise, [trust] local_epsilon requires local noise"
        elif offered.epsilon > trust.local_epsilon:
            yield (
                f"the round promises ε = {offered.epsilon:g}, [trust] local_epsilon is "
                f"{trust.local_epsilon:g}"
            )
    if least_delta(offered) > offered.delta:
        yield (
            f"the round promises ε = {offered.epsilon:g} at δ = {offered.delta:g}, which its noise "
            f"({offered.noise_multiplier:g}, {offered.rounds} rounds) does not give"
        )


def _of_shares(trust: TrustSettings, offered: Privacy, masks: Masks | None) -> Iterator[str]:
    """Find what is wrong with distributed noise, whatever the owner requires: it hides nothing then."""
    if masks is None:
        yield "the round promises distributed noise and no masks, without which a share of it hides nothing"
        return
    try:
        NoisyLevels.promised(offered, masks)
    except ValueError as error:
        yield f"the round promises distributed noise that cannot be: {error}"
        return
    assert offered.shares is not None, "as NoisyLevels.promised has seen"
    colluders, least = masks.threshold - offered.shares.devices, offered.cohort // LEAST_COLLUDERS
    if trust.adversary == "server" and colluders < least:
        yield (
            f"the round promises noise of which {colluders} devices of {offered.cohort} may tell the server "
            f'their shares; [trust] adversary = "server" requires a tenth, {least}'
        )
    if trust.adversary == "server" and masks.server != "lying":
        yield (
            f'the round promises masks against a server that is "{masks.server}"; [trust] adversary = '
            '"server" requires masks against one that is "lying"'
        )


def _of_masks(offered: Masks | None) -> Iterator[str]:
    if offered is None:
        yield "the round promises no masks, which [trust] requires"
    elif offered.server not in SERVERS:
        yield f"the round promises masks against a server that this program does not know: {offered.server}"
    elif offered.threshold > offered.cohort or 2 * offered.threshold <= offered.cohort:
        yield (
            f"the round promises masks of {offered.cohort} devices with a threshold of "
            f"{offered.threshold}: more than half of them must be needed"
        )


def least_delta(offered: Privacy) -> float:
    """The least δ at which normal noise of this size gives the promised ε, over all rounds.

    Balle and Wang 2018, "Improving the Gaussian Mechanism for Differential Privacy", ICML, Theorem 8, for one
    release whose noise is smaller by the root of the number of rounds (Dong, Roth, Su 2022, "Gaussian
    Differential Privacy", Corollary 3.3). Every accountant's bound for the same noise is at least as large.
    For noise of a tree, which one device enters several times, it is not the whole cost, and still a bound.
    """
    mu = SHIFTS.get(offered.adjacency, 1.0) * sqrt(offered.rounds) / offered.noise_multiplier
    if offered.mechanism == "tree":  # each round's sum has the noise of at least one node of the tree
        mu /= sqrt(offered.rounds)
    normal, epsilon = NormalDist(), offered.epsilon
    tail = normal.cdf(-epsilon / mu - mu / 2)
    weighted = 0.0 if tail == 0 else exp(min(700.0, epsilon + log(tail)))
    return normal.cdf(mu / 2 - epsilon / mu) - weighted if mu < inf else 1.0
