"""The operator's request to begin a generation with a kept model, checked against the ledger."""

from collections.abc import Iterable
from dataclasses import dataclass

from aggregator.aggregation.beginnings import require_kept
from aggregator.aggregation.model_fingerprint import fingerprint_of, require_same
from aggregator.aggregation.models import further_clusters, read_model, task_of
from aggregator.aggregation.updates import admitted
from aggregator.config import FederationSettings
from aggregator.core.quorum import FEWEST
from aggregator.ledger.reading import LedgerReader
from aggregator.ledger.records import Beginning, LedgerMeta
from fedge.errors import ConfigError, DataError
from fedge.wire.freshness import RoundId

MANY_ROUNDS = 3
"""More rounds than this, computed again without some devices, may give a bad model (docs/operations.md)."""


@dataclass(frozen=True)
class Rollback:
    """The kept model that a new generation goes back to, as an operator names it."""

    generation: int | None = None
    """None: the newest."""
    round: int | None = None
    """None: the newest closed one."""
    without: tuple[str, ...] = ()
    """Compute the rounds after that one again, without these devices."""
    survey_without: tuple[str, ...] = ()
    """Merge the surveys again, without these devices."""


def beginning_of(ledger: LedgerReader, meta: LedgerMeta, wish: Rollback) -> Beginning:
    """Find the rounds that a request means in this ledger.

    Raises:
        ConfigError: there is no model yet.
        DataError: that round is not kept.
    """
    generation = meta.generation if wish.generation is None else wish.generation
    last = ledger.last_trained(generation)
    if wish.round is not None:
        source = RoundId(generation, wish.round)
    elif last is not None:
        source = last
    else:
        raise ConfigError("this ledger holds no model yet that a generation could begin with")
    ends = last.round if wish.without and last is not None else source.round
    earlier = ledger.beginning(generation)
    left_out = {*wish.survey_without, *(earlier.survey_without if earlier is not None else ())}
    beginning = Beginning(
        source, ends, tuple(sorted(set(wish.without))), ledger.survey_of(generation), tuple(sorted(left_out))
    )
    require_kept(ledger, beginning)
    return beginning


def require_wishable(
    settings: FederationSettings, ledger: LedgerReader, beginning: Beginning, wish: Rollback
) -> None:
    """Check a request before anything is computed: its devices took part, and enough others are left.

    Raises:
        ConfigError: the model is one of another network than the configuration's.
        DataError: there is nothing to compute again, a device is in none of it, or fewer than two are left.
    """
    source = beginning.source
    digest = ledger.task_after(source)
    assert digest is not None
    meaning = fingerprint_of(task_of(ledger, digest))
    require_same(LedgerMeta(b"", source.generation, meaning), settings)
    _require_as_many(settings, ledger, source)
    quorum = settings.rounds.quorum
    fewest = min(FEWEST, quorum) if isinstance(quorum, int) else FEWEST
    numbers = range(source.round + 1, beginning.last + 1)
    rounds = [each for n in numbers if not ledger.only_measured(each := RoundId(source.generation, n))]
    if wish.without and not rounds:
        raise DataError(
            f"--without: no training round has closed after {source}, so there is none to compute again: "
            "name an earlier round, the last one before these devices did harm"
        )
    _require_left("--without", ledger, rounds, wish.without, fewest)
    if wish.survey_without and beginning.survey is not None:
        _require_left("--survey-without", ledger, [RoundId(beginning.survey, 0)], wish.survey_without, fewest)


def _require_as_many(settings: FederationSettings, ledger: LedgerReader, source: RoundId) -> None:
    """Require that a kept round has as many shared models as `[personal]` asks for."""
    digest = ledger.model_of(source)
    assert digest is not None
    found, wanted = 1 + len(further_clusters(read_model(ledger, digest))), len(settings.parts().models)
    if found != wanted:
        raise ConfigError(
            f"the model of round {source} is of {found} shared models, and [personal] name = "
            f'"{settings.personal.name}" asks for {wanted}: change [personal], or begin with a survey '
            "(`fedge-aggregator new-generation`)"
        )


def _require_left(
    option: str, ledger: LedgerReader, rounds: Iterable[RoundId], without: tuple[str, ...], fewest: int
) -> None:
    """Require that each device is in one of the rounds, and that each round has enough others."""
    there: set[str] = set()
    for round_id in rounds:
        counted = set(admitted(ledger, round_id))
        there |= counted
        if without and len(left := counted - set(without)) < fewest:
            who = f"only {', '.join(left)} is" if left else "no device is"
            raise DataError(
                f"{option} {' '.join(without)}: {who} left in round {round_id}, and {fewest} are needed: "
                "leave out fewer, or begin with the model of another round"
            )
    if unknown := sorted(set(without) - there):
        raise DataError(
            f"{option} {' '.join(unknown)}: took part in none of the rounds that are computed again; those "
            f"who did are {', '.join(sorted(there))}"
        )


def story(beginning: Beginning) -> str:
    """What a generation begins with, in words."""
    source, last = beginning.source, beginning.last
    text = f"the model of round {source}"
    if last > source.round:
        rounds = f"round {RoundId(source.generation, source.round + 1)}"
        if last > source.round + 1:
            rounds = (
                f"rounds {RoundId(source.generation, source.round + 1)} to {RoundId(source.generation, last)}"
            )
        text += f" and {rounds}, computed again without {', '.join(beginning.without)}"
        if last > source.round + MANY_ROUNDS:
            text += (
                f" (more than {MANY_ROUNDS} rounds: all but the first were trained from models with "
                "those contributions in them, so check the accuracy)"
            )
    if beginning.survey_without:
        text += f"; frozen layers from the survey without {', '.join(beginning.survey_without)}"
    return text
