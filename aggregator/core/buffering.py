"""Updates that began from older models: which the open round admits, with the schedule `buffered`. Pure.

Nguyen, Malik, Zhan, Yousefpour, Rabbat, Malek, Huba, "Federated Learning with Buffered Asynchronous
Aggregation", AISTATS 2022, https://arxiv.org/abs/2106.06639, Algorithm 1.

A *version* of the model is made by one round of training. The round's admitted updates are its buffer. An
update names the round that it was made for; its base is the model that this round began with. If that round
is closed by now, the update counts in the open one. Its staleness τ is the number of rounds in between.
"""

from aggregator.core.federation import Federation
from aggregator.phases.phase import phase_of


def is_buffered(state: Federation) -> bool:
    """Whether the open round admits updates that were made for older rounds."""
    return state.rules.max_staleness is not None and phase_of(state.kind).trains


def may_follow(state: Federation, device: str) -> bool:
    """Whether a device may answer the open round once more: its update for an older version was refused."""
    answer = state.answers.get(device)
    return answer is not None and answer.verdict == "refused" and is_buffered(state)


def base_of(state: Federation, number: int) -> bytes | None:
    """The digest of the model from which an update for this older round began; None: it does not count."""
    return dict(state.earlier).get(number) if is_buffered(state) else None


def earlier_after(state: Federation) -> tuple[tuple[int, bytes], ...]:
    """`Federation.earlier` of the round after the open one."""
    if state.rules.max_staleness is None:
        return ()
    oldest = state.round.round + 1 - state.rules.max_staleness
    found = state.earlier
    if phase_of(state.kind).trains and state.model is not None:
        found = (*found, (state.round.round, state.model.digest))
    return tuple((number, digest) for number, digest in found if number >= oldest)
