"""How an aggregator begins: watch the federation, compare with the ledger, take up where it stood."""

import logging
import os
import time
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from aggregator.collecting import behind_text
from aggregator.config import FederationSettings
from aggregator.federation import Federation, Phase, Rules
from aggregator.generations import begin, go_on, require_same
from aggregator.ledger.reading import LedgerReader, Life
from aggregator.ledger.writing import Ledger
from aggregator.presence import Watch
from aggregator.stopping import Progress, Stopping
from fedge import ed25519
from fedge.errors import ConfigError, DamagedState, GaveWay, ProtocolError
from fedge.frames import cost
from fedge.freshness import SERVICE_EXPIRY_S, RoundId, age_s
from fedge.link import Answered, Link, LinkDown, LinkUp, MessageArrived
from fedge.messages import MAX_COUNTER, MAX_SIZE, Manifest, Service, Signed, Status, Task, unpack
from fedge.plan import Plan
from fedge.store import quarantine
from fedge.systemd import Watchdog
from fedge.topics import Topics
from fedge.trust import Signer, authenticate

log = logging.getLogger("fedge.aggregator")


class Stopped(Exception):  # noqa: N818 (an outcome)
    """Asked to stop while watching."""


def open_ledger(path: Path) -> Ledger:
    """The ledger in a file; a damaged one is put aside, and an empty one takes its place.

    Raises:
        StateError: the disk is full, read-only or failing.
    """
    try:
        return Ledger(path)
    except DamagedState as error:
        return begin_anew(path, error)


def begin_anew(path: Path, error: DamagedState) -> Ledger:
    """Put a damaged ledger aside, say so, and open an empty one: it is up to `take_up` whether that will do.

    Raises:
        StateError: the disk is full, read-only or failing.
    """
    log.error("%s; put aside as %s: the ledger begins anew", error, quarantine(path).name)
    return Ledger(path)


def open_federation(
    settings: FederationSettings,
    ledger: Ledger,
    topics: Topics,
    instance: bytes,
    inbox: "SimpleQueue[Any]",
    watchdog: Watchdog,
    *,
    new_generation: bool,
    keep_model: bool = False,
    signer: Signer | None = None,
) -> Federation | None:
    """The state to start from; None if asked to stop while watching.

    Raises:
        GaveWay: another aggregator is alive.
        ConfigError: the fleet has seen more than the ledger knows, or another task was learnt in it.
    """
    try:
        watch = _watch(settings, topics, inbox, watchdog, signer)
    except Stopped:
        return None
    return take_up(settings, ledger, instance, watch, new_generation=new_generation, keep_model=keep_model)


def take_up(
    settings: FederationSettings,
    ledger: Ledger,
    instance: bytes,
    watch: Watch,
    *,
    new_generation: bool,
    keep_model: bool = False,
) -> Federation:
    """The state to start from, given what was seen of the federation; a new ledger is named by its instance.

    `keep_model`: a new generation begins with the ledger's newest model, not with a survey.

    Raises:
        ConfigError: the fleet has seen more than the ledger knows, or another task was learnt in it.
    """
    topics = Topics(settings.federation.name)
    life = ledger.life()
    if new_generation:
        generation = max(watch.newest().generation, life.generation if life else 0) + 1
        if generation > MAX_COUNTER:
            raise ConfigError(
                f"generation {generation - 1} was announced or seen, and none can follow it: clear the "
                f"retained {topics.round!r} and the statuses under {topics.all_statuses!r} that name it"
            )
        if keep_model and life is None:
            raise ConfigError("this ledger is new: it holds no model to keep")
        if keep_model and life is not None:
            life = go_on(settings, ledger, life, generation)
        else:
            life = begin(settings, ledger, life.ledger if life else instance, generation)
        log.info("generation %d begins", generation)
    elif (ahead := watch.ahead_of(ledger.newest_round())) is not None:
        raise ConfigError(behind_text(ahead))
    elif life is None:
        life = begin(settings, ledger, instance, 1)
    else:
        require_same(life, settings)
    return _load(settings, ledger, life, instance, watch)


def _load(
    settings: FederationSettings, ledger: LedgerReader, life: Life, instance: bytes, watch: Watch
) -> Federation:
    """Take up where the ledger stands: in the open round, or in the last one if learning is done."""
    stopping = Stopping(**settings.stopping.model_dump())
    progress = Progress()
    for summary in ledger.summaries(life.generation):
        progress = progress.after(summary.get("accuracy"), summary.get("held_loss"), summary["weight_change"])
    last = ledger.last_closed(life.generation)
    round_id = RoundId(life.generation, 0) if last is None else last._replace(round=last.round + 1)
    saved = ledger.round_as_saved(round_id)
    done = False
    # A round that was opened may have been seen: it is closed, whatever the stopping rule has become since.
    if last is not None and saved is None and stopping.reason(progress) is not None:
        done, round_id, saved = True, last, ledger.round_as_saved(last)
    blobs = {blob.digest: blob for blob in ledger.slots().values()}
    task_digest, model_digest = (ledger.newest(kind, life.generation) for kind in ("task", "model"))
    assert task_digest is not None
    rules = settings.rounds
    task = unpack(ledger.content(task_digest), Task, max_bytes=MAX_SIZE)
    answers = {} if done else ledger.answers(round_id)
    partials = ledger.partials()
    return Federation(
        rules=Rules(rules.fraction, rules.target, rules.quorum, rules.deadline_s),
        stopping=stopping,
        plan=Plan(**settings.plan.model_dump()),
        seed=settings.federation.seed,
        roster=frozenset(settings.federation.devices) if settings.federation.devices is not None else None,
        max_samples=settings.federation.max_samples,
        ledger=life.ledger,
        instance=instance,
        round=round_id,
        kind="survey" if round_id.round == 0 else "train",
        task=blobs[task_digest],
        task_message=task,
        weights=task.network.schema.size,
        model=blobs[model_digest] if model_digest else None,
        phase=Phase.DONE if done else Phase.PREPARING,
        attempt=saved.attempt if saved else 0,
        cohorts=saved.cohorts if saved else (),
        elapsed_s=saved.elapsed_s if saved and not done else 0.0,
        answers=answers,
        admitted=sum(answer.verdict == "admitted" for answer in answers.values()),
        before=ledger.answers(round_id if done else round_id._replace(round=round_id.round - 1)),
        partials=partials,
        spooled=sum(cost(partial.size, partial.n) for partial in partials.values()),
        fleet=frozenset(watch.devices),
        online=watch.online,
        abilities=ledger.abilities(),
        progress=progress,
    )


def _watch(
    settings: FederationSettings,
    topics: Topics,
    inbox: "SimpleQueue[Any]",
    watchdog: Watchdog,
    signer: Signer | None = None,
) -> Watch:
    """Look on under a name of our own, so that nobody's session is taken.

    Raises:
        GaveWay: another aggregator is alive.
        Stopped: something else than the link's events came into the inbox: a request to stop.
    """
    link = _looking_around(settings, inbox)
    link.open()
    watch: Watch | None = None
    waiting = subscribed = False
    try:
        while watch is None or not subscribed or time.monotonic() < watch.over_s():
            watchdog.look(link.pulse)
            left_s = max(0.0, watch.over_s() - time.monotonic()) if watch and subscribed else None
            try:
                event = inbox.get(timeout=watchdog.wait_s(left_s))
            except Empty:
                continue
            match event:
                case LinkUp():
                    link.handle_up(event)
                    link.subscribe(topics.service, topics.round, topics.all_statuses)
                    watch = Watch(time.monotonic())
                case LinkDown():
                    link.handle_down()
                    log.warning("not connected: %s", event.reason)
                    watch, subscribed = None, False
                case Answered(subscription=True) if watch is not None:
                    link.settle(event)
                    watch, subscribed = replace(watch, seen_s=time.monotonic()), True
                case Answered():
                    link.settle(event)
                case MessageArrived() if watch is not None:
                    watch = take_in(watch, topics, event, time.monotonic(), signer)
                case MessageArrived():
                    pass
                case _:
                    raise Stopped
            if watch is not None and watch.moved and watch.other is not None:
                raise GaveWay(
                    f"another aggregator serves federation {settings.federation.name!r} "
                    f"at {settings.broker.url} (instance {watch.other.instance.hex()[:8]}): giving way to it"
                )
            if watch is not None and watch.other is not None and not waiting:
                waiting = True
                log.info("another aggregator says it is online; watching whether it is alive")
    finally:
        link.close()
        _drain(inbox)
    return watch


def _looking_around(settings: FederationSettings, inbox: "SimpleQueue[Any]") -> Link:
    """The link to look around with: as `[watch]`, or as the aggregator under a random client id."""
    name = f"{settings.federation.name}__watch"
    if settings.watch is None:
        return Link(settings.broker, f"{name}-{os.urandom(4).hex()}", inbox.put)
    credentials = {"certificate": settings.watch.certificate, "key": settings.watch.key}
    return Link(settings.broker.model_copy(update=credentials), name, inbox.put)


def take_in(
    watch: Watch, topics: Topics, message: MessageArrived, now_s: float, signer: Signer | None = None
) -> Watch:
    """Take in a message that was seen while watching; with a `signer`, of announcements only its own."""
    address = topics.parse(message.topic)
    try:
        match address.kind if address is not None else None:
            case "service" if message.payload:
                lain_s = age_s(SERVICE_EXPIRY_S, message.expiry_left_s)
                return watch.service(unpack(message.payload, Service), now_s, lain_s)
            case "round" if message.payload:
                envelope = unpack(message.payload, Signed)
                if signer is not None:
                    authenticate(envelope, "round", topics, signer.keys, ed25519.verify)
                return watch.manifest(unpack(envelope.body, Manifest), now_s)
            case "status" if message.payload and address is not None and address.device is not None:
                key = signer.public if signer is not None else None
                return watch.status(address.device, unpack(message.payload, Status), now_s, key)
    except ProtocolError as error:
        log.warning("ignored a message on %s: %s", message.topic, error)
    return watch


def _drain(inbox: "SimpleQueue[Any]") -> None:
    """Forget the closed link's last events, and nothing else."""
    kept = []
    while True:
        try:
            event = inbox.get_nowait()
        except Empty:
            break
        if not isinstance(event, LinkUp | LinkDown | Answered | MessageArrived):
            kept.append(event)
    for event in kept:
        inbox.put(event)
