"""A closed training round, computed again from the ledger by the parts that it names."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation import clustered, server_state, survey
from aggregator.aggregation.aggregate import Vector, aggregate, mean_of
from aggregator.aggregation.fleet_size import share_of
from aggregator.aggregation.further_vectors import handed_on
from aggregator.aggregation.models import clusters_of, task_of, vector_of, vectors_of
from aggregator.aggregation.noise import inputs_of, is_private, seeded
from aggregator.aggregation.updates import Updates
from aggregator.core.parts import Part, Parts
from aggregator.core.shared_entries import shared_by
from aggregator.ledger.reading import LedgerReader
from fedge import __version__
from fedge.algorithms.protocols import State
from fedge.algorithms.registry import CODECS, LOCAL, PERSONAL, RULES, SERVER, register
from fedge.algorithms.rules import mean
from fedge.algorithms.rules.bounds import Factors
from fedge.algorithms.rules.private_mean import PRIVATE_MEAN
from fedge.errors import DamagedState, DataError
from fedge.wire.freshness import RoundId

KEPT = "kept/1"
"""The rule of round 0 in a generation that began with a kept model (`beginnings` beside this file)."""


@dataclass(frozen=True, eq=False)
class Made:
    """The result of a training round."""

    vector: Vector
    """The model's weights, of shape (p,)."""
    vectors: Mapping[str, Vector] = field(default_factory=dict)
    """Its further vectors, which are announced with the model."""
    state: State = field(default_factory=dict)
    """The server optimizer's state after it."""
    rule_state: State = field(default_factory=dict)
    """The rule's state after it."""


def made_by(
    ledger: LedgerReader,
    round_id: RoundId,
    size: int,
    without: Collection[str] = (),
    state: tuple[Part, State] | None = None,
    rule_state: tuple[Part, State] | None = None,
) -> Made:
    """Compute a closed training round again, by the parts that it names.

    Args:
        ledger: holds its updates.
        round_id: of the round.
        size: p, the number of weights.
        without: devices that are left out.
        state: the server optimizer before the round, and its state; None: as the ledger has it.
        rule_state: the same of the rule.

    Raises:
        DataError: this program does not have one of the parts, the round's base is not kept, or no device is
            left.
        DamagedState: an admitted update is missing or damaged.
        PartError: one of the parts fails.
    """
    named = ledger.rule(round_id)
    parts = parts_of(ledger, round_id)
    updates = Updates(ledger, round_id, size, without=without)
    if not updates.answers:
        raise DataError(
            f"no device is left in round {round_id} without {', '.join(sorted(without))}; leave out fewer"
        )
    if named == mean.UNBOUNDED:
        return Made(mean_of(ledger, round_id, size, without=without)[0])
    rule, server = parts.rule.made(RULES), parts.server.made(SERVER)
    announced = round_id._replace(round=round_id.round - 1)
    base = model_of(ledger, announced, size)
    codec = parts.codec.name, parts.codec.made(CODECS)
    shared = _shared(ledger, round_id, parts)
    updates = Updates(
        ledger, round_id, size, without=without, codec=codec, base=base, shared=shared, seed=parts.seed or 0
    )
    factors = _factors(ledger, round_id)
    if len(parts.models) > 1:
        bases = clusters_of(ledger, digest_of(ledger, announced), size)
        clusters = clustered.clusters_in(ledger, round_id, parts, bases, without=without)
        models = clustered.again(clusters, factors, parts)
        return Made(models[0], dict(zip(parts.models[1:], models[1:], strict=True)))
    if rule_state is None or rule_state[0] != parts.rule:
        known = server_state.rule_before(ledger, round_id, parts.rule, rule, size)
    else:
        known = rule_state[1]
    if is_private(parts.rule):
        known = seeded(parts.rule, known, _noise_of(ledger, round_id, digest_of(ledger, announced), updates))
    found = aggregate(updates, base, factors, rule, state=known)
    aggregates = {
        name: aggregate(updates, np.zeros_like(base), factors, rule, name).vector for name in parts.hands_on
    }
    share = share_of(parts, updates.answers)
    model = digest_of(ledger, announced)
    vectors = handed_on(round_id, parts.local, partial(vectors_of, ledger, model), aggregates, share)
    if state is None or state[0] != parts.server:
        begun = server_state.before(ledger, round_id, parts.server, server, size)
    else:
        begun = state[1]
    vector, after = server_state.step(round_id, parts.server, server, base, found.vector, begun, share)
    return Made(vector, vectors, after, found.state)


def _noise_of(ledger: LedgerReader, round_id: RoundId, base: bytes, updates: Updates) -> bytes:
    """The seed of a round's noise, if these are the updates that it was used for.

    Raises:
        DataError: it is no longer kept, or these are others: with two sets of updates a seed would tell the
            difference between them.
    """
    seed = ledger.noise_of(round_id)
    if seed is None:
        raise DataError(f"the noise of round {round_id} is no longer kept, so it cannot be computed again")
    if inputs_of(round_id, base, seed, updates.answers) != ledger.charged_inputs(round_id):
        raise DataError(
            f"round {round_id} has noise for differential privacy, which was paid for with another set of "
            "updates: it is computed again with that set or not at all"
        )
    return seed


def _shared(ledger: LedgerReader, round_id: RoundId, parts: Parts) -> NDArray[np.bool_] | None:
    """Which entries the round's updates have, of shape (p,); None: all.

    Raises:
        DataError: the round's task is no longer kept.
    """
    if parts.personal.name == "none":
        return None
    digest = ledger.task_after(round_id)
    if digest is None:
        raise DataError(f"the task of round {round_id} is not known, which says what its updates hold")
    return shared_by(parts.personal, task_of(ledger, digest).network)


def parts_of(ledger: LedgerReader, round_id: RoundId) -> Parts:
    """The parts that a training round was closed with, which may differ from the present settings.

    Raises:
        DataError: this program does not have one of them, or has it in another version.
        DamagedState: they cannot be read.
    """
    named = ledger.rule(round_id)
    try:
        parts = Parts.read(ledger.parts(round_id))
    except ValueError as error:
        raise DamagedState(f"the parts of round {round_id} are damaged: {error}") from None
    if named == mean.UNBOUNDED:
        return parts
    if is_private(parts.rule):
        register(PRIVATE_MEAN)  # also where [privacy] has been taken out of the settings
    try:
        known = parts.rule.made(RULES).version == named
    except ValueError:
        known = False
    if not known:
        raise DataError(unknown_rule(round_id, named))
    with _known(round_id):
        parts.server.made(SERVER)
        parts.codec.made(CODECS)
        parts.local.made(LOCAL)
        parts.personal.made(PERSONAL)
    return parts


def hands_on(ledger: LedgerReader, round_id: RoundId) -> tuple[str, ...]:
    """The vectors besides the weights that the first model of a generation was announced with.

    Raises:
        DataError: this program does not have the local algorithm that they belong to.
    """
    with _known(round_id):
        return Parts.read(ledger.parts(round_id)).hands_on


def models(ledger: LedgerReader, round_id: RoundId) -> tuple[str, ...]:
    """The names of the shared models that a closed round made.

    Raises:
        DataError: this program does not have the personal model that they belong to.
    """
    with _known(round_id):
        return Parts.read(ledger.parts(round_id)).models


@contextmanager
def _known(round_id: RoundId) -> Iterator[None]:
    """Turn a ValueError of a part that is not installed into a DataError with what to do."""
    try:
        yield
    except ValueError as error:
        raise DataError(
            f"round {round_id} was closed with a part that this program does not have: {error}; if it is an "
            "extension, name it under extensions in federation.toml"
        ) from None


def _factors(ledger: LedgerReader, round_id: RoundId) -> Factors:
    """The bounds that a round was closed with, which may differ from the present settings."""
    summary = ledger.summary(round_id)
    try:
        return Factors(float(summary["clip_norm"]), float(summary["max_weight"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedState(f"the factors of round {round_id} are damaged: {error!r}") from None


def unknown_rule(round_id: RoundId, rule: str | None) -> str:
    """The message on a round whose rule is unknown here: another rule would give another model."""
    versions = [
        getattr(RULES.make(name), "version", name) for name in RULES.names() if not _has_required(name)
    ]
    known = ", ".join((mean.UNBOUNDED, *versions, *survey.RULES, KEPT))
    return (
        f"round {round_id} was closed by the rule {rule!r}, and fedge {__version__} knows only {known}: "
        "replay it with the version that closed it, or a newer one; if the rule is an extension, name it "
        "under extensions in federation.toml"
    )


def _has_required(name: str) -> bool:
    """Whether a rule has a required option."""
    return any(field.is_required() for field in RULES.entries()[name].options.model_fields.values())


def model_of(ledger: LedgerReader, round_id: RoundId, size: int) -> Vector:
    """The weights that a closed round made, of shape (size,).

    Raises:
        DataError: they are no longer kept.
    """
    return vector_of(ledger, digest_of(ledger, round_id), size)


def digest_of(ledger: LedgerReader, round_id: RoundId) -> bytes:
    """The digest of the model that a closed round made.

    Raises:
        DataError: the model is no longer kept.
    """
    digest = ledger.model_of(round_id)
    if digest is None:
        raise DataError(
            f"the model of round {round_id} is no longer kept ([state] keep_rounds and keep_bytes)"
        )
    return digest
