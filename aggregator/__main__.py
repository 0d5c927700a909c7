"""`fedge-aggregator`: the program of the service, and the place where its parts are put together."""

import os
import sys

if not __package__:  # run out of the wheel itself; see below
    sys.path[0] = __file__.rsplit("/", 2)[0]

from fedge.service import interrupts

if __name__ == "__main__" or sys.argv[0].endswith("/fedge-aggregator"):  # as a program, not a module
    interrupts.prepare()

# One BLAS thread, as in the agent, so that every machine computes the same bits; set before NumPy loads.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

# The wheel of onnxruntime has telemetry, which stores a device id as it loads: switch it off before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import argparse
import gc
import logging
import signal
from pathlib import Path
from typing import get_args

if not __package__:  # run out of the wheel itself: `sudo python3 fedge-….whl/aggregator install`
    _wheel = Path(__file__).parents[1]
    sys.path[0] = str(_wheel)
    from fedge.deployment.bootstrap import take_over
    from fedge.deployment.program import SERVER

    sys.exit(take_over(SERVER, _wheel, sys.argv[1:]))

from aggregator.backup import new_generation, restore, snapshot, state_dir
from aggregator.cli.check import check, quarantined
from aggregator.cli.installation import commands as installation
from aggregator.config import FederationSettings
from aggregator.core.effects import MOMENTS, Effect
from aggregator.core.prospects import hopeless
from fedge import __version__
from fedge.errors import ConfigError, FedgeError
from fedge.service import failpoints
from fedge.service.arguments import accept_config, program
from fedge.service.logs import tell
from fedge.service.memory import use_one_heap

NEW_OBJECTS = 10_000
"""So many new objects make a collection of garbage: a turn makes thousands that are none."""

EXAMPLES = """examples:
  fedge-aggregator --config federation.toml --check      check and explain the configuration, then exit
  fedge-aggregator --config federation.toml              serve until stopped (SIGTERM or Ctrl-C)
  fedge-aggregator --config federation.toml --new-generation
                                                         begin the next generation with a survey
  fedge-aggregator backup federation.backup              copy the ledger into one file
  fedge-aggregator restore federation.backup             replace the ledger by that copy
  fedge-aggregator new-generation --keep-model           begin the next generation with the newest model
  fedge-aggregator new-generation --from-round 12        begin the next generation with the model of round 12

exit codes: 0 stopped or done, 64 wrong arguments, 65 the requested model is not kept, 74 the state
            folder cannot be used, 75 another aggregator is running, or too few devices have reported to
            decide, 77 privacy allows no release, 78 the configuration is wrong, a part of the algorithm
            fails, or the operator has to decide, 130 Ctrl-C before it was done"""


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
        use_one_heap()
        if options.check:
            return check(state_dir.load(options.config), as_json=options.json)
        return _run(FederationSettings.load(options.config), options)
    except FedgeError as error:
        for line in str(error).splitlines():
            logging.getLogger("fedge.aggregator").error("%s", line)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = program(
        "fedge-aggregator",
        "Average the updates of the devices, announce the new model, and export it.",
        EXAMPLES,
        "federation.toml",
        check="validate the configuration, then exit",
        json="with --check, print for programs",
    )
    parser.add_argument(
        "--new-generation",
        action="store_true",
        help="begin the next generation with round 0, the survey; needed after [model] was changed or the "
        "state folder was lost",
    )
    parser.add_argument(
        "--exit-when-done",
        action="store_true",
        help="exit when learning is done and the broker holds the final model; default: go on serving",
    )
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for module in (installation, snapshot, restore, new_generation):
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
    for sentence in hopeless(settings, quarantined(settings)):
        log.warning("%s", sentence)
    loop = Loop(settings, new_generation=options.new_generation, exit_when_done=options.exit_when_done)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    gc.freeze()  # nothing that is there by now becomes garbage, so no collection looks at it
    gc.set_threshold(NEW_OBJECTS)
    loop.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
