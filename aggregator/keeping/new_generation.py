"""`fedge-aggregator new-generation`: begin the next generation in the ledger, to be served from then on.

What `--new-generation` does before it serves, for those who have a service manager start the program; and the
way back to a model of before.
"""

import argparse
import os
import re
import signal
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from aggregator.config import FederationSettings
from aggregator.keeping.place import load
from aggregator.ledger.layout import FILE
from fedge.errors import ConfigError, GaveWay
from fedge.freshness import RoundId
from fedge.store import give_to_owner, lock, make_folder
from fedge.systemd import ServiceManager, Watchdog
from fedge.topics import DEVICE_ID

if TYPE_CHECKING:
    from aggregator.generations import Return

ABOUT = """\
Begin the next generation: the devices follow it by themselves when the aggregator is started next. Stop it
first. Nothing that was learnt is deleted: rounds of before stay as long as [state] keep_rounds says.

  new-generation                                begin anew, with a survey
  new-generation --keep-model                   go on with the newest model
  new-generation --from-round 12                go back to the model that round 12 closed with
  new-generation --from-round 12 --without d7   the same, and then the rounds since, computed again without
                                                d7: exact for round 13, an approximation from there on
  new-generation --keep-model --survey-without d7
                                                what d7 told in the survey is taken out of the frozen
                                                layers, and the model answers as before

A device that is left out here takes part again in the new generation; `fedge quarantine` keeps it out.
`fedge replay 0` computes what the generation begins with again, while the rounds it is made of are kept."""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Say what the command takes."""
    parser = commands.add_parser(
        "new-generation",
        help="begin anew, or go back to a model of before, when the aggregator is started next",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--keep-model",
        action="store_true",
        help="go on with the newest model of the ledger, without a survey",
    )
    source.add_argument(
        "--from-round",
        type=_round,
        metavar="N",
        help="go back to the model that round N closed with; G.N is round N of the earlier generation G",
    )
    parser.add_argument(
        "--without",
        type=_device,
        nargs="+",
        action="extend",
        default=[],
        metavar="DEVICE",
        help="with --from-round: compute the rounds after N again without these devices",
    )
    parser.add_argument(
        "--survey-without",
        type=_device,
        nargs="+",
        action="extend",
        default=[],
        metavar="DEVICE",
        help="with --keep-model or --from-round: merge the kept surveys again without these devices",
    )
    parser.set_defaults(run=lambda options: _run(parser, options))


def _round(text: str) -> tuple[int | None, int]:
    found = re.fullmatch(r"(?:([1-9]\d{0,9})\.)?(\d{1,10})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no round: expected N, or G.N of generation G")
    return int(found[1]) if found[1] else None, int(found[2])


def _device(text: str) -> str:
    if re.fullmatch(DEVICE_ID, text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no device's id: expected a-z, 0-9 and '-'")
    return text


def _run(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    if options.without and options.from_round is None:
        parser.error(
            "--without goes with --from-round N: N is the last round that these devices did not spoil"
        )
    if options.survey_without and options.from_round is None and not options.keep_model:
        parser.error(
            "--survey-without goes with --keep-model or --from-round: else all devices are asked anew"
        )
    try:
        from aggregator.generations import Return
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"fedge-aggregator needs the extra 'aggregator' (no module {error.name!r}): "
            "pip install 'fedge[aggregator]'"
        ) from None
    generation, number = options.from_round or (None, None)
    back = Return(generation, number, tuple(options.without), tuple(options.survey_without))
    anew = options.from_round is None and not options.keep_model
    beginning = begin_next(load(options.config), None if anew else back)
    print(f"generation {beginning.generation} begins with round {beginning}: start the aggregator")
    return 0


def begin_next(settings: FederationSettings, back: "Return | None" = None) -> RoundId:
    """Begin the generation after all that anybody has seen; returns the round to be served first.

    `back`: to which model of the ledger; without it the generation begins with a survey.

    Raises:
        GaveWay: an aggregator serves this federation or works with this state folder, or it was interrupted.
        ConfigError: there is no model to go back to, or no generation can follow.
        DataError: the model that is wished for cannot be computed; nothing has changed.
        StateError: the state folder cannot be used.
    """
    from aggregator.generations import beginning_of, require_wishable
    from aggregator.opening import open_federation, open_ledger
    from aggregator.signing import signer_of

    signer = signer_of(settings)
    folder = make_folder(settings.state.folder)
    held = _lock(folder)
    try:
        ledger = open_ledger(folder / FILE)
        inbox: SimpleQueue[Any] = SimpleQueue()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: inbox.put(None))
        try:
            if back is not None and (life := ledger.life()) is not None:
                # At once, before anybody has to wait for the broker.
                require_wishable(settings, ledger, beginning_of(ledger, life, back), back)
            state = open_federation(
                settings,
                ledger,
                os.urandom(16),
                inbox,
                Watchdog(ServiceManager()),
                new_generation=True,
                back=back,
                signer=signer,
            )
        finally:
            ledger.close()
        give_to_owner(folder, folder / FILE)
    finally:
        os.close(held)
    if state is None:
        raise GaveWay("stopped before anything was begun")
    return state.round


def _lock(folder: Path) -> int:
    try:
        return lock(folder)
    except GaveWay as error:
        raise GaveWay(f"{error}: stop the aggregator first; nothing was begun") from None
