"""The options of `fedge-agent install`, `uninstall`, `forget-rounds`, `survey`, `export`. Other code is
imported when needed."""

import argparse
from pathlib import Path
from typing import TypeVar

from fedge.service.arguments import accept_config

P = TypeVar("P", bound=argparse.ArgumentParser)


def add_to(commands: "argparse._SubParsersAction[P]") -> None:
    """Add the five commands to the program's parser."""
    install_parser = commands.add_parser("install", help="install or upgrade as a service (root)")
    install_parser.add_argument(
        "source",
        metavar="BUNDLE|TOKEN",
        help="the file of `fedge enroll`, the folder of `join`, or a token (- reads it from standard input)",
    )
    install_parser.add_argument("--device", metavar="ID", help="the device's name, with a token")
    install_parser.add_argument(
        "--wheel", type=Path, metavar="FILE", help="the version to install; default: the running one"
    )
    install_parser.add_argument(
        "--system-site-packages",
        action="store_true",
        help="use the system's numpy and cryptography, where PyPI has none for this processor",
    )
    install_parser.set_defaults(run=_install, misused=install_parser.error)
    uninstall_parser = commands.add_parser("uninstall", help="remove the service; data stays (root)")
    uninstall_parser.add_argument("name", metavar="FEDERATION")
    uninstall_parser.add_argument(
        "--purge", action="store_true", help="remove configuration, key and state too"
    )
    uninstall_parser.set_defaults(run=_uninstall)
    forget = commands.add_parser(
        "forget-rounds",
        help="follow rounds again, after a forged round number was announced",
        description="Makes this device forget the newest round that it has seen, and the update saved for "
        "it. A device ignores rounds older than the newest that it has seen. If models are not signed and "
        "somebody has announced a forged round 1.5000, the device ignores round 1.7, and the aggregator's "
        "log names the device. Identity, keys, model and counters stay. Stop the agent, run this command "
        "while the aggregator runs, and start the agent. It then follows the next round that is announced, "
        "even an old announcement that an attacker repeats. So first find out who could announce the forged "
        "round. If models are signed, `fedge rotate-key` on the server reaches all devices, and this "
        "command is not needed.",
    )
    accept_config(forget)
    forget.set_defaults(run=_forget_rounds)
    survey = commands.add_parser(
        "survey",
        help="show what surveys report of this device's data, or let the next one measure it again",
        description="Shows count, mean and spread of the columns that surveys report, as they were last "
        "measured. A device reports the same in every survey until 20 rows are new or the source's section "
        "of the configuration has changed. Otherwise two surveys, before and after one new row, would "
        "reveal that row.",
    )
    accept_config(survey)
    survey.add_argument(
        "--anew",
        action="store_true",
        help="measure again in the next survey, as after a sensor was repaired; stop the agent first",
    )
    survey.set_defaults(run=_survey)
    export = commands.add_parser(
        "export",
        help="write the model that this device uses as an ONNX file",
        description="Writes the model that `predict` uses as an ONNX file for other programs, compared with "
        "Fedge's own answers before. It is the device's own model where this device has chosen one. Needs "
        "the packages onnx and onnxruntime: pip install 'fedge[onnx]'.",
    )
    export.add_argument("file", type=Path, metavar="FILE", help="the file to write, such as model.onnx")
    export.add_argument(
        "--shared",
        action="store_true",
        help="write the shared model, also where this device has chosen a model of its own",
    )
    accept_config(export)
    export.set_defaults(run=_export)


def _install(options: argparse.Namespace) -> int:
    from agent.cli.installation.commands import run_install

    return run_install(options)


def _forget_rounds(options: argparse.Namespace) -> int:
    from agent.cli.forget_rounds import forget_rounds
    from agent.shell.state_dir import load

    print(forget_rounds(load(options.config)))
    return 0


def _survey(options: argparse.Namespace) -> int:
    from agent.cli.survey import describe, measure_anew
    from agent.shell.state_dir import load

    settings = load(options.config)
    print(measure_anew(settings) if options.anew else describe(settings))
    return 0


def _export(options: argparse.Namespace) -> int:
    from agent.cli.export import export
    from agent.shell.state_dir import load

    print(export(load(options.config), options.file, shared=options.shared))
    return 0


def _uninstall(options: argparse.Namespace) -> int:
    from agent.cli.installation.commands import run_uninstall

    return run_uninstall(options)
