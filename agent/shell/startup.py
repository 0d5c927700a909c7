"""Starts a device from the state on its disk."""

import logging
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

from agent.config import AgentSettings
from agent.core.device import Device
from agent.shell import model_file
from agent.shell.masked_rounds import MARK, PHASE, can_mask, masked_in
from agent.shell.memory import Memory
from agent.shell.model_file import StoredModel
from agent.shell.served_models import restore_own
from fedge import __version__
from fedge.algorithms.registry import PERSONAL
from fedge.errors import DamagedState, StateError
from fedge.identity import ed25519
from fedge.identity.trust import Signers
from fedge.storage.atomic_files import quarantine
from fedge.wire.capabilities import GROUPS, MASKED, can

log = logging.getLogger("fedge.agent")

FOLLOW_S = 3_600.0


@dataclass(frozen=True)
class Opened:
    """The state to start from, and the content of the model file."""

    state: Device
    held: StoredModel | None


def open_memory(path: Path) -> Memory:
    """Open the device's memory. If it is damaged, put it aside and begin with an empty one.

    The fleet loses nothing that it needs: the configuration names the device, and the announcement names the
    newest round. The device does not know its former update any more, so it may make another one in the same
    round, which the aggregator refuses as already answered.

    Raises:
        StateError: the disk is full, read-only or failing.
    """
    try:
        return Memory(path)
    except DamagedState as error:
        aside = quarantine(path)
        log.error("%s; it was moved to %s, and this device continues with an empty memory", error, aside.name)
        return Memory(path)


def _signers(settings: AgentSettings, memory: Memory) -> Signers:
    """Return the trusted keys: the pinned one and its successors, or the pinned one alone if it is new."""
    path, known = settings.trust.key, memory.signers()
    if path is None:
        pinned: Signers = ()
    else:
        ed25519.require("[trust] key", "secure")
        pinned = (ed25519.read_public_key(path),)
        if pinned[0] in known:
            return known
    if pinned != known:
        memory.save_signers(pinned)
    return pinned


def open_device(
    settings: AgentSettings,
    memory: Memory,
    file: Path,
    boot: bytes,
    now_s: float,
    untrained: frozenset[str] = frozenset(),
) -> Opened:
    """Load the newest round seen, the update that may not be answered yet, and the model in `file`.

    `untrained` are the algorithms that the owner's trainer does not do; the device's status does not list
    them.

    Raises:
        ConfigError: the pinned key cannot be read or used.
        StateError: the memory cannot be read. If the model file cannot be read, this is only logged, and the
            model is fetched again.
    """
    kept = None
    try:
        kept = model_file.read(file)
    except DamagedState as error:
        log.error("%s; it was moved to %s", error, quarantine(file).name)
    except StateError as error:
        log.warning("%s; it will be fetched again", error)
    if kept is not None and kept.unknown:
        names = ", ".join(kept.unknown)
        log.warning("%s: is not used, because a newer program wrote it, with %s", file, names)
        kept = None
    if kept is not None:
        restore_own(file, memory.personal(), kept.task)
    gated = settings.predict.tolerance is not None
    unjudged = unjudged_parts() if gated else frozenset()
    marked, can_take_part = None, can_mask(settings)
    try:
        marked = masked_in(file.with_name(MARK))
    except StateError as error:
        log.error("%s; until then this device takes part in no masked round", error)
        can_take_part = False
    uncertified = frozenset() if can_take_part else frozenset({PHASE, MASKED, GROUPS})
    signers, saved = _signers(settings, memory), memory.saved()
    state = Device(
        device=settings.device,
        boot=boot,
        version=__version__,
        follow_s=FOLLOW_S,
        limits=settings.limits,
        conditions=settings.conditions,
        trust=settings.trust,
        offered=frozenset(settings.offered),
        can=can() - untrained - unjudged - uncertified,
        untrained=untrained,
        unjudged=unjudged,
        uncertified=uncertified,
        masked_in=marked,
        own_boots=memory.add_boot(boot),
        signers=signers,
        seen=memory.seen(),
        saved=replace(saved, ours=False) if saved is not None else None,
        remembers=memory.state_round(),
        task=kept.task_digest if kept else None,
        source=kept.decoded_task.source if kept else None,
        model=kept.model_digest if kept else None,
        kept=kept.model_digest if kept else None,
        gated=gated,
        used=_used(file, kept, gated=gated),
        followed_s=now_s if kept else -inf,
    )
    return Opened(state, kept)


def unjudged_parts() -> frozenset[str]:
    """The personal models that a gate cannot judge, as names of `fedge.wire.capabilities`.

    The gate compares the announced weights, and each device uses something else.
    """
    # A part from outside may not derive from the protocol's class.
    return frozenset(
        f"personal:{name}"
        for name, entry in PERSONAL.entries().items()
        if not getattr(entry.make, "announced", True)
    )


def _used(file: Path, kept: StoredModel | None, *, gated: bool) -> bytes | None:
    """Return the digest of the model that `predict` uses behind a gate; None: there is no gate.

    Without a gate the file of that model is removed, unless no device has trained the newest model yet. Then
    the former model stays in use.
    """
    path = file.with_name(model_file.USED)
    if not gated:
        try:
            if not model_file.waits(file.parent):
                model_file.release(file)
        except StateError as error:
            log.warning("%s; `predict` does not read it while [predict] tolerance is not set", error)
        return None
    try:
        found = model_file.read(path)
    except DamagedState as error:
        log.error("%s; it was moved to %s, and the newest model is used", error, quarantine(path).name)
        found = None
    except StateError as error:
        log.warning("%s", error)
        return None
    if found is not None:
        return found.model_digest
    return kept.model_digest if kept is not None else None
