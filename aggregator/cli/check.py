"""`fedge-aggregator --check`: explain a configuration, with what the ledger shows about it."""

import json
import logging
from contextlib import suppress

from aggregator.config import FederationSettings
from aggregator.core.mixes import Mix
from aggregator.core.prospects import hopeless
from fedge.errors import StateError
from fedge.identity.trust import fingerprint


def check(settings: FederationSettings, *, as_json: bool) -> int:
    """Print what the configuration means; returns the exit code."""
    from fedge.service.collision import ADVICE, collisions

    for sentence in collisions():
        logging.getLogger("fedge.aggregator").warning("%s: %s", sentence, ADVICE)
    for sentence in hopeless(settings, quarantined(settings)):
        logging.getLogger("fedge.aggregator").warning("%s", sentence)
    task = settings.task()
    rounds, stopping = settings.rounds, settings.stopping
    mix = _mix(settings) if task.classes else None
    understood = {
        "federation": settings.federation.name,
        "broker": settings.broker.url,
        "tls": settings.broker.tls,
        "features": len(task.features),
        "outputs": list(task.outputs),
        "learns": "classification" if task.classes else "regression",
        "layers": [layer.summary for layer in task.network.layers],
        "weights": task.network.schema.size,
        "extensions": list(settings.extensions),
        "plan": settings.plan.model_dump(),
        "rule": settings.rule.model_dump(),
        "server": settings.server.model_dump(),
        "personal": settings.personal.model_dump(),
        "stays": _stays(settings),
        "advice": _advice(settings, mix),
        "classes": str(mix) if mix is not None else "no device tells its classes ([data] tell_classes)",
        "rounds": rounds.model_dump(),
        "open": _stalled(settings) or "no round is short of updates",
        "stopping": {key: value for key, value in stopping.model_dump().items() if value is not None},
        "devices": len(settings.federation.devices) if settings.federation.devices else "any",
        "state": str(settings.state.folder),
        "export": str(settings.export.folder),
        "choose": settings.choose,
        "samples": _samples(settings),
        "metrics": "{}:{}".format(*settings.metrics.listen) if settings.metrics.listen else "off",
        "signing": _signing(settings),
    }
    if as_json:
        print(json.dumps(understood))
        return 0
    for name, value in understood.items():
        if isinstance(value, dict):
            shown = ", ".join(f"{k} {v}" for k, v in value.items())
        else:
            shown = ", ".join(map(str, value[:20])) or "none" if isinstance(value, list) else str(value)
        print(f"{name:>10}  {shown}")
    print("the configuration is valid")
    return 0


def _stays(settings: FederationSettings) -> str:
    """Which parameters never leave the devices."""
    from aggregator.core.shared_entries import shared_by
    from fedge.algorithms.kept_parameters import kept_parameters, untrained

    network = settings.task().network
    names = kept_parameters(shared_by(settings.parts().personal, network), network)
    return f"in the shared model, {untrained(names)}" if names else "no part of the model stays on devices"


def quarantined(settings: FederationSettings) -> frozenset[str]:
    """The devices in quarantine; none if the list cannot be read, which the start reports."""
    from aggregator.shell.quarantine import read

    with suppress(StateError):
        return frozenset(read(settings.federation.quarantine))
    return frozenset()


def _mix(settings: FederationSettings) -> Mix | None:
    """The classes that devices told in the survey of the present frozen layers; None: the ledger has none."""
    from aggregator.aggregation.admitted_surveys import measured, mix_told
    from aggregator.ledger.layout import FILE
    from aggregator.ledger.reading import read_only
    from fedge.wire.freshness import RoundId

    with suppress(StateError), read_only(settings.state.folder / FILE) as ledger:
        meta, task = ledger.meta(), settings.task()
        if meta is None or (generation := ledger.survey_of(meta.generation)) is None:
            return None
        return mix_told(measured(ledger, RoundId(generation, 0), task), task)
    return None


def _stalled(settings: FederationSettings) -> str | None:
    """The open round, if its deadline has passed below quorum, and what would close it; else None."""
    from aggregator.aggregation.updates import admitted
    from aggregator.core.quorum import fewest_of, remedy
    from aggregator.ledger.layout import FILE
    from aggregator.ledger.reading import read_only
    from aggregator.ledger.views import read_devices

    path, rule = settings.state.folder / FILE, settings.rounds.quorum
    with suppress(StateError), read_only(path) as ledger:
        newest = ledger.newest_round()
        saved = ledger.round_as_saved(newest) if newest is not None else None
        if saved is None or newest is None or not saved.attempt or ledger.only_measured(newest):
            return None
        came, aside = len(admitted(ledger, newest)), quarantined(settings)
        takes = rule if isinstance(rule, int) else saved.quorum
        of_rule = settings.parts().rule
        takes = None if takes is None else max(takes, fewest_of(of_rule))
        if takes is None or came >= takes:
            return None
        listed = settings.federation.devices
        online = [device.device for device in read_devices(path) if device.online]
        whole = len(set(online if listed is None else listed) - aside)
        return (
            f"round {newest}: its deadline has passed {saved.attempt} times below the quorum of {takes} "
            f"updates; {came} have been admitted; {remedy(rule, came, whole, of_rule)}"
        )
    return None


def _advice(settings: FederationSettings, mix: Mix | None) -> str:
    """Advice on the plan, from the sizes and classes of devices in the ledger."""
    from aggregator.core.advice import Sizes, propose
    from aggregator.ledger.layout import FILE
    from aggregator.ledger.views import read_devices

    rows = []
    with suppress(StateError):  # no aggregator has run here, or it ran as another user
        rows = [device.samples for device in read_devices(settings.state.folder / FILE) if device.samples]
    if not rows:
        return "not available until devices have told how many rows they hold"
    return propose(Sizes.of(rows, settings.task().network.schema.size, mix)).against(settings.first_plan())


def _samples(settings: FederationSettings) -> int:
    """The number of real samples that an export is compared on."""
    from aggregator.export.validation_samples import read_samples

    path = settings.export.samples
    return len(read_samples(path, len(settings.model.features))) if path is not None else 0


def _signing(settings: FederationSettings) -> str | None:
    """The fingerprint of the signing key; None: announcements are not signed."""
    from aggregator.shell.signing import signer_of

    signer = signer_of(settings)
    return fingerprint(signer.public) if signer is not None else None
