"""The core's state as the ledger holds it: of the open round, or of the last one if learning is done."""

import logging
from dataclasses import replace

from aggregator.aggregation.codings import form_of
from aggregator.aggregation.models import clusters_of, further_clusters, read_model, task_of
from aggregator.config import FederationSettings
from aggregator.core.claims import Known
from aggregator.core.federation import Federation, Stage
from aggregator.core.part_changes import unfit_change
from aggregator.core.parts import Part, Parts
from aggregator.core.per_device import Devices, PerDevice
from aggregator.core.progress import Progress, progress_of
from aggregator.core.proposals import kept
from aggregator.core.round_rules import RoundRules
from aggregator.core.shared_entries import same_entries, unfit_entries
from aggregator.core.slots import Slots
from aggregator.core.stopping_rule import StoppingRule
from aggregator.core.takeover import TakeUp
from aggregator.core.usual_distance import UsualDistance
from aggregator.ledger.reading import LedgerReader
from aggregator.ledger.records import LedgerMeta, OpenRound
from aggregator.shell.certificates import certificates_of
from aggregator.shell.saved_exchange import with_exchange
from fedge.errors import ConfigError, DamagedState
from fedge.nn.spec import NetworkSpec
from fedge.wire.frames import cost
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Blob

log = logging.getLogger("fedge.aggregator")


def known(settings: FederationSettings, ledger: LedgerReader) -> Known:
    """Return what a ledger knows of the fleet."""
    devices = settings.federation.devices
    roster = frozenset(devices) if devices is not None else None
    return Known(ledger.newest_round(), ledger.devices(), not ledger.has_closed(), roster)


def load_state(
    settings: FederationSettings, ledger: LedgerReader, meta: LedgerMeta, instance: bytes, seen: TakeUp
) -> Federation:
    """Load the state that the ledger holds: of the open round, or of the last one if learning is done.

    Raises:
        ConfigError: the newest model, the rounds before, or the updates of the open round do not fit the
            configured parts.
        DamagedState: the parts of the open round cannot be read.
    """
    stopping = StoppingRule(**settings.stopping.model_dump())
    progress = progress_of(ledger.history(meta.generation), stopping.patience_on)
    stopping = _within_budget(stopping, settings, ledger, progress)
    usual = UsualDistance()
    for summary in ledger.summaries(meta.generation):
        usual = usual.after(summary)
    last = ledger.last_closed(meta.generation)
    round_id = RoundId(meta.generation, 0) if last is None else last._replace(round=last.round + 1)
    saved = ledger.round_as_saved(round_id)
    done = False
    # Devices may have seen the open round, so it is closed even if the stopping rule has changed since.
    if last is not None and saved is None and stopping.reason(progress) is not None:
        done, round_id, saved = True, last, ledger.round_as_saved(last)
    slots = ledger.slots().items()
    blobs = {blob.digest: blob for (kind, _), blob in slots if kind in ("task", "model")}
    task_digest, model_digest = (ledger.newest(kind, meta.generation) for kind in ("task", "model"))
    assert task_digest is not None
    model = blobs[model_digest] if model_digest else None
    rules, devices, privacy = settings.rounds, known(settings, ledger), settings.privacy
    bounded = privacy is None  # else nothing may depend on the medians of the round
    task = task_of(ledger, task_digest)
    if changed := kept(task, settings.task(), settings.model.clip):
        log.warning("%s", changed)
    answers = {} if done else ledger.answers(round_id)
    parts = settings.parts()
    if model is not None:
        _require_vectors(ledger, model, parts)
    if not done:
        _require_fitting_change(ledger, round_id, saved, parts, task.network)
    if saved is not None and any(answer.verdict == "admitted" for answer in answers.values()):
        _require_same_encoding(saved, parts, task.network)
    models = clusters_of(ledger, model.digest, task.network.schema.size) if model is not None else ()
    partials, masking = ledger.partials(), settings.masking_rules()
    state = Federation(
        rules=RoundRules(
            rules.fraction,
            rules.target if privacy is None else rules.target or privacy.cohort,
            rules.quorum,
            rules.deadline_s,
            rules.max_norm if bounded else 0.0,
            rules.clip_norm if bounded else 0.0,
            rules.max_weight if bounded else 0.0,
            rules.staleness,
        ),
        stopping=stopping,
        plan=settings.first_plan(),
        rate_decay=settings.plan.rate_decay,
        rate_floor=settings.plan.rate_floor,
        seed=settings.federation.seed,
        roster=devices.roster,
        max_samples=settings.federation.max_samples,
        max_payload_bytes=settings.broker.max_payload_bytes,
        ledger=meta.ledger,
        instance=instance,
        round=round_id,
        kind=_kind(round_id, saved, "train" if masking is None else "masked", done=done),
        masking=masking,
        task=blobs[task_digest],
        task_message=task,
        weights=task.network.schema.size,
        rule=parts.rule,
        server=parts.server,
        clip=settings.model.clip or None,
        model_codec=settings.plan.model_codec,
        key_every=settings.plan.key_every,
        model=model,
        form=form_of(ledger, meta.generation),
        base=models[0] if models else None,
        clusters=models[1:],
        usual=usual,
        stage=Stage.DONE if done else Stage.PREPARING,
        attempt=saved.attempt if saved else 0,
        cohorts=saved.cohorts if saved else (),
        quorum=saved.quorum if saved else None,
        elapsed_s=saved.elapsed_s if saved and not done else 0.0,
        answers=PerDevice({device: answer.without_figures() for device, answer in answers.items()}),
        earlier=_earlier(ledger, round_id, rules.staleness),
        begun=PerDevice({} if rules.staleness is None else ledger.newest_begun(meta.generation)),
        named=Slots.of(seen.watch.task, seen.watch.model, seen.watch.key),
        admitted=sum(answer.verdict == "admitted" for answer in answers.values()),
        partials=PerDevice(partials),
        spooled=sum(cost(partial.size, partial.n) for partial in partials.values()),
        fleet=Devices(seen.watch.devices),
        voters=Devices((*devices.devices, *seen.watch.devices)),
        young=devices.young,
        incredible=Devices(seen.incredible),
        online=seen.watch.online,
        missed=PerDevice(ledger.missed()),
        abilities=PerDevice({**ledger.abilities(), **seen.watch.abilities}),
        progress=progress,
    )
    return state if done else with_exchange(state, ledger, certificates_of(settings))


def _within_budget(
    stopping: StoppingRule, settings: FederationSettings, ledger: LedgerReader, progress: Progress
) -> StoppingRule:
    """The stopping rule, which ends learning when all declared releases have been charged."""
    if settings.privacy is None:
        return stopping
    left = max(0, settings.privacy.rounds - ledger.charges())
    return replace(stopping, rounds=min(stopping.rounds, progress.rounds + left))


def _earlier(ledger: LedgerReader, round_id: RoundId, staleness: int | None) -> tuple[tuple[int, bytes], ...]:
    """Return the training rounds before the open one whose base updates may have, with that base.

    A round whose answers are no longer kept is none of them: an update of it may have counted already.
    """
    if staleness is None:
        return ()
    found = []
    for number in range(max(1, round_id.round - staleness), round_id.round):
        before, of = ledger.model_of(round_id._replace(round=number - 1)), round_id._replace(round=number)
        if before is not None and ledger.remembers(of) and not ledger.only_measured(of):
            found.append((number, before))
    return tuple(found)


def _require_vectors(ledger: LedgerReader, model: Blob, parts: Parts) -> None:
    """Raise a ConfigError if the newest model lacks a vector that the parts need, or has too many models."""
    message = read_model(ledger, model.digest)
    there = message.vectors or {}
    if (models := 1 + len(further_clusters(message))) > len(parts.models):
        raise ConfigError(
            f"[personal] name: {parts.personal.name!r} has {len(parts.models)} shared models, and this "
            f"generation has {models}: change it back, or begin a new generation with "
            "`fedge-aggregator new-generation`"
        )
    if lacks := ", ".join(sorted(set(parts.models[1:]) - there.keys())):
        raise ConfigError(
            f"[personal] name: {parts.personal.name!r} needs {lacks} with the model, and the model of this "
            "generation has none: change it back, or begin a new generation with "
            "`fedge-aggregator new-generation`"
        )
    if lacks := ", ".join(sorted(set(parts.hands_on) - there.keys())):
        raise ConfigError(
            f"[plan] local: {parts.local.name!r} needs {lacks} with the model, and the model of this "
            "generation has none: change it back, or begin a new generation with "
            "`fedge-aggregator new-generation --keep-model`"
        )


def _require_fitting_change(
    ledger: LedgerReader, round_id: RoundId, saved: OpenRound | None, parts: Parts, network: NetworkSpec
) -> None:
    """Raise a ConfigError if the generation, which trains with other parts, cannot go on with these."""
    last = ledger.trained_up_to(round_id)
    if saved is not None and saved.kind == "train" and saved.parts is not None:
        last, text = saved.round, saved.parts
    elif last is not None and last.round > 0:
        text = ledger.parts(last) or ""
    else:
        return
    try:
        before = Parts.read(text or None)
    except ValueError as error:
        raise DamagedState(f"the parts of round {last} are damaged: {error}") from None
    if (why := unfit_change(before, parts)) is not None:
        raise ConfigError(why)
    if (why := unfit_entries(before.personal, parts.personal, network)) is not None:
        raise ConfigError(why)


def _require_same_encoding(saved: OpenRound, parts: Parts, network: NetworkSpec) -> None:
    """Raise a ConfigError if the open round has admitted updates that the configured parts cannot read."""
    try:
        before = Parts.read(saved.parts)
    except ValueError as error:
        raise DamagedState(f"the parts of round {saved.round} are damaged: {error}") from None
    changed = [
        f"[plan] {key}: {was.name} {was.options}"
        for key, was, now in (
            ("codec", before.codec, parts.codec),
            ("local", Part(before.local.name), Part(parts.local.name)),
        )
        if was != now
    ]
    if saved.kind == "train" and not same_entries(before.personal, parts.personal, network):
        changed.append(f"[personal] name: {before.personal.name} {before.personal.options}")
    if changed:
        raise ConfigError(
            f"round {saved.round} is open, and its updates were made with {' and '.join(changed)}: change "
            "this back until that round is closed, or begin a new generation with "
            "`fedge-aggregator new-generation --keep-model`"
        )


def _kind(round_id: RoundId, saved: OpenRound | None, masked_or_not: str, *, done: bool) -> str:
    """Return the name of the phase of the open round, or of the last one."""
    if round_id.round == 0:
        return "survey"
    if saved is None:
        return masked_or_not
    if not done and saved.kind in ("train", "masked") and saved.kind != masked_or_not:
        now = "on" if masked_or_not == "masked" else "off"
        raise ConfigError(
            f"[masking] on: round {round_id} is open as a round of the kind {saved.kind!r}, and masking is "
            f"{now} now: change it back until the round is closed, or begin a new generation with "
            "`fedge-aggregator new-generation --keep-model`"
        )
    return saved.kind
