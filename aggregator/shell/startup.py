"""The start of an aggregator: it watches the federation, then continues its ledger or begins a generation."""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

from aggregator.aggregation.generations import begin, go_back
from aggregator.aggregation.model_fingerprint import require_same
from aggregator.aggregation.rollback import Rollback
from aggregator.config import FederationSettings
from aggregator.core.federation import Federation
from aggregator.core.takeover import TakeUp
from aggregator.export.privacy_entry import spent_of
from aggregator.ledger.records import LedgerMeta
from aggregator.ledger.writing import Ledger
from aggregator.shell.leader_check import Stopped, watch
from aggregator.shell.privacy_budget import begin_or_resume, protection_of, require_private
from aggregator.shell.saved_state import known, load_state
from fedge.errors import ConfigError
from fedge.identity.trust import Signer
from fedge.privacy.compositions.library import dp_accounting
from fedge.service.systemd import Watchdog
from fedge.wire.messages.protection import Protection

log = logging.getLogger("fedge.aggregator")


def open_federation(
    settings: FederationSettings,
    ledger: Ledger,
    instance: bytes,
    inbox: "SimpleQueue[Any]",
    watchdog: Watchdog,
    *,
    new_generation: bool,
    back: Rollback | None = None,
    signer: Signer | None = None,
    quarantined: frozenset[str] = frozenset(),
    order: str | None = None,
    begins: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Federation | None:
    """Watch the federation, and return the state to start from; None: asked to stop while watching.

    Args:
        settings: the configuration.
        ledger: the ledger, open for writing.
        instance: a unique name for this start of the aggregator, 16 bytes.
        inbox: where the events of the connection arrive; anything else in it is a request to stop.
        watchdog: is told while this function waits.
        new_generation: whether to begin a generation.
        back: the model that the new generation begins with; None: it begins with a survey.
        signer: verifies what is announced; None: announcements are not signed.
        quarantined: the devices that the operator has set aside.
        order: the id of the order that asked for the new generation, if there is one.
        begins: makes a context that is entered after the watching, which may take days. Everything that is
            begun is begun inside it.

    Raises:
        Conflict: another aggregator is alive.
        Undecided: too few devices have spoken to say whether the ledger is older than the fleet.
        ConfigError: the fleet has seen more than the ledger knows, or the ledger belongs to another task.
        DataError: as `take_up`.
    """
    if settings.privacy is not None:
        load_accountant()
    try:
        seen = watch(
            settings,
            known(settings, ledger),
            inbox,
            watchdog,
            signer,
            new_generation=new_generation,
            quarantined=quarantined,
        )
    except Stopped:
        return None
    if quarantined:
        log.info("in quarantine, so neither awaited nor counted: %s", ", ".join(sorted(quarantined)))
    with begins():
        state = take_up(settings, ledger, instance, seen, back=back, order=order)
    return replace(state, quarantined=quarantined)


def load_accountant() -> threading.Thread:
    """Begin to import the accountant on a thread, so that it is there when watching has ended.

    That takes a second, or several on a small machine: nearly all of it is SciPy, which the package always
    imports. If it is not installed, its first use says so.
    """
    thread = threading.Thread(target=_load_accountant, name="accountant", daemon=True)
    thread.start()
    return thread


def _load_accountant() -> None:
    with suppress(ConfigError):
        dp_accounting()


def take_up(
    settings: FederationSettings,
    ledger: Ledger,
    instance: bytes,
    seen: TakeUp,
    *,
    back: Rollback | None = None,
    order: str | None = None,
) -> Federation:
    """Return the state to start from, given what was seen of the federation.

    Args:
        settings: the configuration.
        ledger: the ledger, open for writing.
        instance: a unique name for this start of the aggregator, 16 bytes; a new ledger gets it as its name.
        seen: what was seen, and whether to begin a generation.
        back: the model that a new generation begins with; None: it begins with a survey.
        order: the id of the order that asked for the new generation, if there is one.

    Raises:
        ConfigError: this ledger belongs to another task, or there is no model to go back to.
        DataError: the requested model cannot be computed.
    """
    meta = ledger.meta()
    protection = _protection(settings, ledger, meta, seen, back)
    if seen.generation is not None:
        if back is not None and meta is None:
            raise ConfigError("this ledger is new: it holds no model to go back to")
        if back is not None and meta is not None:
            meta = go_back(settings, ledger, meta, seen.generation, seen.watch, back, order)
        else:
            name = meta.ledger if meta else instance
            meta = begin(settings, ledger, name, seen.generation, seen.watch.task, order, seen.watch.model)
        log.info("generation %d begins", seen.generation)
    elif meta is None:
        meta = begin(settings, ledger, instance, 1, seen.watch.task, model=seen.watch.model)
    else:
        require_same(meta, settings)
    return replace(load_state(settings, ledger, meta, instance, seen), protection=protection)


def _protection(
    settings: FederationSettings,
    ledger: Ledger,
    meta: LedgerMeta | None,
    seen: TakeUp,
    back: Rollback | None,
) -> Protection | None:
    """What rounds promise; None: nothing. Checked before anything is begun.

    Raises:
        ConfigError: rounds without noise came before, or the declared noise is too little.
        PrivacyRefusal: nothing may be released.
    """
    if (declared := settings.declared()) is None:
        return None
    begins = meta is None or seen.generation is not None
    if meta is not None and (not begins or back is not None):
        require_private(ledger, meta.generation)
    last = None if begins or meta is None else ledger.last_closed(meta.generation)
    room = last is None or last.round == 0
    history = begin_or_resume(settings, declared, ledger, seen.watch, room=room)
    quorum = settings.rounds.quorum
    least, levels = quorum if isinstance(quorum, int) else 1, settings.noisy_levels()
    found = protection_of(declared, least, history.witness, levels)
    assert found.privacy is not None
    cost = spent_of(found.privacy)
    log.info(
        "privacy: ε = %.3g of %g is spent at δ = %g, in %d of %d releases",
        cost.epsilon,
        found.privacy.epsilon,
        found.privacy.delta,
        cost.releases,
        found.privacy.rounds,
    )
    return found
