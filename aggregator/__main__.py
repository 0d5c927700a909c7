"""`fedge-aggregator`: the service's program. This is the composition root, where everything is put
together."""

import os
import sys

if not __package__:  # run out of the wheel itself; see below
    sys.path[0] = __file__.rsplit("/", 2)[0]

from fedge.service import interrupts

if __name__ == "__main__" or sys.argv[0].endswith("/fedge-aggregator"):  # as a program, not a module
    interrupts.prepare()

# One BLAS thread, set before NumPy loads, as in the agent: the same bits whatever the machine does.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

# onnxruntime's wheel has telemetry, which writes a device id first: nothing here tells anybody anything.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import argparse
import json
import logging
import signal
from contextlib import suppress
from pathlib import Path
from typing import get_args

if not __package__:  # run out of the wheel itself: `sudo python3 fedge-….whl/aggregator install`
    _wheel = Path(__file__).parents[1]
    sys.path[0] = str(_wheel)
    from fedge.deployment.bootstrap import take_over
    from fedge.deployment.program import SERVER

    sys.exit(take_over(SERVER, _wheel, sys.argv[1:]))

from aggregator.backup import backup, new_generation, restore, state_dir
from aggregator.cli.installation import commands as installation
from aggregator.config import FederationSettings
from aggregator.core.effects import MOMENTS, Effect
from aggregator.core.mixes import Mix
from aggregator.core.prospects import hopeless
from fedge import __version__
from fedge.errors import ConfigError, FedgeError, StateError
from fedge.identity.trust import fingerprint
from fedge.service import failpoints
from fedge.service.arguments import accept_config, program
from fedge.service.logs import tell

EXAMPLES = """examples:
  fedge-aggregator --config federation.toml --check      say what the configuration means, connect to nothing
  fedge-aggregator --config federation.toml              serve until stopped (SIGTERM or Ctrl-C)
  fedge-aggregator --config federation.toml --new-generation
                                                         begin anew, with the devices following
  fedge-aggregator backup federation.backup              copy the ledger into one file, while it works
  fedge-aggregator restore federation.backup             put the copy in the ledger's place
  fedge-aggregator new-generation --keep-model           go on with a restored model, the devices following
  fedge-aggregator new-generation --from-round 12        a bad model went out: back to that of round 12

exit codes: 0 stopped or done, 64 usage, 65 what is to be gone back to is not kept, 74 the state folder cannot
            be used, 75 another aggregator is at work, or too little was heard to decide, 78 the
            configuration is wrong, a part of the algorithm fails, or a human has to decide, 130 Ctrl-C
            before it was done"""


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    return interrupts.run("fedge-aggregator", lambda: _main(arguments))


def _main(arguments: list[str] | None) -> int:
    options = _parser().parse_args(arguments)
    tell(verbose=options.verbose)
    try:
        if options.run is not None:
            return int(options.run(options))
        failpoints.arm([*(effect.__name__ for effect in get_args(Effect)), *MOMENTS])
        if options.check:
            return _check(state_dir.load(options.config), as_json=options.json)
        return _run(FederationSettings.load(options.config), options)
    except FedgeError as error:
        for line in str(error).splitlines():
            logging.getLogger("fedge.aggregator").error("%s", line)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = program(
        "fedge-aggregator",
        "Averages what the devices learnt, announces the model, exports it.",
        EXAMPLES,
        "federation.toml",
        check="validate the configuration, then exit",
        json="with --check, print for programs",
    )
    parser.add_argument(
        "--new-generation",
        action="store_true",
        help="begin anew (round 0) under the next generation number; needed after the model was changed or "
        "the state folder was lost",
    )
    parser.add_argument(
        "--exit-when-done",
        action="store_true",
        help="exit when learning has ended and the broker holds the final model, instead of serving on",
    )
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for module in (installation, backup, restore, new_generation):
        module.add_to(commands)
    for command in commands.choices.values():
        accept_config(command)
    return parser


def _run(settings: FederationSettings, options: argparse.Namespace) -> int:
    try:
        from aggregator.shell.loop import Loop
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"fedge-aggregator needs the extra 'aggregator' (no module {error.name!r}): "
            "pip install 'fedge[aggregator]'"
        ) from None
    log = logging.getLogger("fedge.aggregator")
    log.info("fedge-aggregator %s: federation %s", __version__, settings.federation.name)
    for sentence in hopeless(settings, _quarantined(settings)):
        log.warning("%s", sentence)
    loop = Loop(settings, new_generation=options.new_generation, exit_when_done=options.exit_when_done)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    loop.run()
    return 0


def _check(settings: FederationSettings, *, as_json: bool) -> int:
    from fedge.service.collision import ADVICE, collisions

    for sentence in collisions():
        logging.getLogger("fedge.aggregator").warning("%s: %s", sentence, ADVICE)
    for sentence in hopeless(settings, _quarantined(settings)):
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
        "advice": _advice(settings, mix),
        "classes": str(mix) if mix is not None else "no device tells them ([data] tell_classes)",
        "rounds": rounds.model_dump(),
        "open": _stalled(settings) or "no round that lacks updates",
        "stopping": {key: value for key, value in stopping.model_dump().items() if value is not None},
        "devices": len(settings.federation.devices) if settings.federation.devices else "any",
        "state": str(settings.state.folder),
        "export": str(settings.export.folder),
        "choose": settings.export.choose,
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


def _quarantined(settings: FederationSettings) -> frozenset[str]:
    """The devices in quarantine; if the list cannot be read, the start reports it."""
    from aggregator.shell.quarantine import read

    with suppress(StateError):
        return frozenset(read(settings.federation.quarantine))
    return frozenset()


def _mix(settings: FederationSettings) -> Mix | None:
    """What devices told of their classes in the survey whose layers are in use, if the ledger has it."""
    from aggregator.aggregation.admitted_surveys import measured, mix_told
    from aggregator.ledger.layout import FILE
    from aggregator.ledger.reading import read_only
    from fedge.wire.freshness import RoundId

    with suppress(StateError), read_only(settings.state.folder / FILE) as ledger:
        life, task = ledger.life(), settings.task()
        if life is None or (generation := ledger.survey_of(life.generation)) is None:
            return None
        return mix_told(measured(ledger, RoundId(generation, 0), task), task)
    return None


def _stalled(settings: FederationSettings) -> str | None:
    """The open round, if its deadline has passed below quorum, and what would close it."""
    from aggregator.aggregation.updates import admitted
    from aggregator.core.quorum import remedy
    from aggregator.ledger.layout import FILE
    from aggregator.ledger.reading import read_only
    from aggregator.ledger.views import read_devices

    path, rule = settings.state.folder / FILE, settings.rounds.quorum
    with suppress(StateError), read_only(path) as ledger:
        newest = ledger.newest_round()
        saved = ledger.round_as_saved(newest) if newest is not None else None
        if saved is None or newest is None or not saved.attempt or ledger.only_measured(newest):
            return None
        came, aside = len(admitted(ledger, newest)), _quarantined(settings)
        takes = rule if isinstance(rule, int) else saved.quorum
        if takes is None or came >= takes:
            return None
        listed = settings.federation.devices
        online = [device.device for device in read_devices(path) if device.online]
        whole = len(set(online if listed is None else listed) - aside)
        return (
            f"round {newest}: its deadline has passed {saved.attempt} times with fewer than the {takes} "
            f"updates it takes, {came} are there; {remedy(rule, came, whole)}"
        )
    return None


def _advice(settings: FederationSettings, mix: Mix | None) -> str:
    """Advice on the plan, from the sizes and classes of devices in the ledger."""
    from aggregator.core.advice import Sizes, propose
    from aggregator.ledger.layout import FILE
    from aggregator.ledger.views import read_devices

    rows = []
    with suppress(StateError):  # no aggregator has run here, or as another user
        rows = [device.samples for device in read_devices(settings.state.folder / FILE) if device.samples]
    if not rows:
        return "comes when devices have told how many rows they hold"
    return propose(Sizes.of(rows, settings.task().network.schema.size, mix)).against(settings.plan)


def _samples(settings: FederationSettings) -> int:
    """The number of real samples that an export is compared on."""
    from aggregator.export.validation_samples import read_samples

    path = settings.export.samples
    return len(read_samples(path, len(settings.model.features))) if path is not None else 0


def _signing(settings: FederationSettings) -> str | None:
    """The fingerprint of the signing key."""
    from aggregator.shell.signing import signer_of

    signer = signer_of(settings)
    return fingerprint(signer.public) if signer is not None else None


if __name__ == "__main__":
    sys.exit(main())
