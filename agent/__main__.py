"""`fedge-agent`: the device's program. It parses the arguments, and runs a command or the agent."""

import os
import sys

if not __package__:  # run directly from the wheel; see below
    sys.path[0] = __file__.rsplit("/", 2)[0]

from fedge.service import interrupts

if __name__ == "__main__" or sys.argv[0].endswith("/fedge-agent"):  # as a program, not imported
    interrupts.prepare()

# One BLAS thread, set before NumPy loads. Small matrices are slower on several threads. And the order of a
# sum, and so the last bits of the model, must not depend on the machine's load.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, get_args

if not __package__:  # run directly from the wheel: `sudo python3 fedge-….whl/agent install …`
    _wheel = Path(__file__).parents[1]
    sys.path[0] = str(_wheel)
    from fedge.deployment.bootstrap import take_over
    from fedge.deployment.program import AGENT

    sys.exit(take_over(AGENT, _wheel, sys.argv[1:]))

from agent.cli import commands as services
from agent.config import AgentSettings
from agent.core.effects import MOMENTS, Effect
from agent.enrolment import commands as enrolment
from fedge import __version__
from fedge.errors import FedgeError, StateError
from fedge.service import failpoints
from fedge.service.arguments import accept_config, program
from fedge.service.logs import tell

EXAMPLES = """examples:
  fedge-agent --config agent.toml --check    explain the configuration and check the data; changes nothing
  fedge-agent --config agent.toml            take part until stopped (SIGTERM or Ctrl-C)
  fedge-agent predict new.csv                use the newest model on a file, without a network
  fedge-agent predict old.csv --score        score it on rows whose answers are known
  fedge-agent export model.onnx              write the model in use for other programs
  fedge-agent join TOKEN --device pi-1       get an identity; the key is made here and stays here
  fedge-agent renew --config agent.toml      renew the certificate, if it is due
  fedge-agent roster                         print this device's line for others' rosters
  fedge-agent forget-rounds                  follow rounds again, after a forged round number was announced
  fedge-agent survey --anew                  measure the data again in the next survey (a repaired sensor)
  sudo fedge-agent install pi-1.fedge        install as a service, or upgrade

exit codes: 0 stopped, 64 usage, 65 the data cannot be used, 69 the installation failed, or no answer came,
            74 the state folder cannot be used, or the output cannot be written, 75 another agent uses this
            state folder, 78 the configuration is wrong, or the registrar refuses, 130 Ctrl-C before the
            command was done"""


def main(arguments: list[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return interrupts.run("fedge-agent", lambda: _main(arguments))


def _main(arguments: list[str] | None) -> int:
    options = _parser().parse_args(arguments)
    tell(verbose=options.verbose)
    try:
        if "run" in options:
            return int(options.run(options))
        failpoints.arm([*(effect.__name__ for effect in get_args(Effect)), *MOMENTS])
        if options.command == "predict":
            return _predict(options)
        return _check(options) if options.check else _run(AgentSettings.load(options.config))
    except BrokenPipeError:  # `predict … | head`
        _drop_standard_output()
        return 0
    except FedgeError as error:
        for line in str(error).splitlines():
            logging.getLogger("fedge.agent").error("%s", line)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = program(
        "fedge-agent",
        "Trains on this device's own samples and publishes only weights.",
        EXAMPLES,
        "agent.toml",
        check="validate configuration and data, then exit",
        json="print for programs",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    predict = commands.add_parser(
        "predict",
        help="use the newest model on a file, without a network connection",
        description="Writes the newest model's answer to each row, as CSV or, with --json, as JSON. The "
        "model is the device's own where the federation has personal models and this device has chosen one. "
        "If "
        "numbers are too large for the model, the answer is empty, in JSON null.",
    )
    predict.add_argument(
        "file", type=Path, metavar="FILE", help="a .csv or .npz with the model's feature columns"
    )
    predict.add_argument(
        "--score",
        action="store_true",
        help="print scores instead; the file must also have the true answers, in the column of "
        "[data] label or in those of the targets",
    )
    predict.add_argument(
        "--shared",
        action="store_true",
        help="use the shared model, also where this device has chosen a model of its own",
    )
    accept_config(predict)
    predict.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
    services.add_to(commands)
    enrolment.add_to(commands)
    return parser


def _run(settings: AgentSettings) -> int:
    from agent.shell.loop import Loop
    from agent.shell.zone import check_zone, local_zone

    check_zone()
    log = logging.getLogger("fedge.agent")
    log.info("fedge-agent %s: device %s of federation %s", __version__, settings.device, settings.federation)
    log.info("the local time zone is %s", local_zone())
    loop = Loop(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    loop.run()
    return 0


def _check(options: argparse.Namespace) -> int:
    from agent.cli.check import check
    from agent.shell.state_dir import load
    from fedge.service.collision import ADVICE, collisions

    settings = load(options.config)
    for sentence in collisions():
        logging.getLogger("fedge.agent").warning("%s: %s", sentence, ADVICE)
    with _standard_output() as out:
        check(settings, out, as_json=options.json)
    return 0


def _predict(options: argparse.Namespace) -> int:
    from agent.cli.predict import predict
    from agent.data.model_scores import score
    from agent.shell.state_dir import load

    with _standard_output() as out:
        show, settings = score if options.score else predict, load(options.config)
        show(settings, options.file, out, as_json=options.json, shared=options.shared)
    return 0


@contextmanager
def _standard_output() -> Iterator[TextIO]:
    """Provide the stream to print to. When the block ends, everything printed has been written.

    Raises:
        StateError: the output cannot be written, for example because the disk is full.
    """
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop_standard_output()
        raise StateError(f"standard output: cannot be written: {error.strerror}") from error


def _drop_standard_output() -> None:
    """Discard output that could not be written, so that the interpreter does not write it again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
