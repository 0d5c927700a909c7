"""`fedge-aggregator new-generation`: begin the next generation, with a survey or with an earlier model.

An aggregator that is at work gets an order and begins it. Otherwise the generation is begun here, as by
`--new-generation`, and served when the aggregator starts.
"""

import argparse
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from aggregator.backup.state_dir import load
from aggregator.config import FederationSettings
from aggregator.ledger.layout import FILE, ORDER
from aggregator.ledger.reading import read_only
from aggregator.shell import quarantine
from fedge.errors import ConfigError, Conflict, DataError
from fedge.service.systemd import ServiceManager, Watchdog
from fedge.storage.atomic_files import give_to_owner, make_folder
from fedge.storage.locks import alone, lock
from fedge.wire.freshness import RoundId
from fedge.wire.topics import DEVICE_ID

if TYPE_CHECKING:
    from aggregator.aggregation.rollback import Rollback
    from aggregator.shell.orders import Order

PATIENCE_S = 120.0
"""How long to wait for an aggregator at work: it first watches whether another one is."""
LOOK_S = 0.1

ABOUT = """\
Begin the next generation: the devices follow it by themselves. An aggregator that is at work in the state
folder is told, and begins it at once; else it is begun here, and served when the aggregator is started.
Nothing that was learnt is deleted: rounds of before stay as long as [state] keep_rounds says.

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
    """Add the command's arguments."""
    parser = commands.add_parser(
        "new-generation",
        help="begin anew, or go back to an earlier model; the devices follow",
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
        from aggregator.aggregation.rollback import Rollback
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"fedge-aggregator needs the extra 'aggregator' (no module {error.name!r}): "
            "pip install 'fedge[aggregator]'"
        ) from None
    generation, number = options.from_round or (None, None)
    back = Rollback(generation, number, tuple(options.without), tuple(options.survey_without))
    anew = options.from_round is None and not options.keep_model
    begun = begin_next(load(options.config), None if anew else back)
    what = "the aggregator at work has begun it" if begun.at_work else "start the aggregator"
    print(f"generation {begun.round.generation} begins with round {begun.round}: {what}")
    return 0


@dataclass(frozen=True)
class Begun:
    """The result: what has begun."""

    round: RoundId
    """The round that is served first."""
    at_work: bool
    """Whether an aggregator was at work, and serves it."""


def begin_next(settings: FederationSettings, back: "Rollback | None" = None) -> Begun:
    """Begin a generation after everything that any device has seen.

    `back`: the model of the ledger to go back to; without it the generation begins with a survey.

    Raises:
        Conflict: another aggregator serves this federation, somebody else works with this state folder and
            does not begin it, or this was interrupted.
        ConfigError: there is no model to go back to, or no generation can follow.
        DataError: the requested model cannot be computed; nothing has changed.
        StateError: the state folder cannot be used.
    """
    folder = make_folder(settings.state.folder)
    try:
        held = lock(folder)
    except Conflict as error:
        return Begun(_order(settings, folder, back, error), at_work=True)
    try:
        return Begun(_begin(settings, folder, back), at_work=False)
    finally:
        os.close(held)


def _begin(settings: FederationSettings, folder: Path, back: "Rollback | None") -> RoundId:
    """Begin it here, where no aggregator is at work."""
    from aggregator.aggregation.rollback import beginning_of, require_wishable
    from aggregator.shell import orders
    from aggregator.shell.ledger_file import open_ledger
    from aggregator.shell.signing import signer_of
    from aggregator.shell.startup import open_federation

    signer = signer_of(settings)
    orders.withdraw(folder, None)  # what is wished now comes after it
    ledger = open_ledger(folder / FILE)
    inbox: SimpleQueue[Any] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: inbox.put(None))
    try:
        if back is not None and (meta := ledger.meta()) is not None:
            # At once, before anybody has to wait for the broker.
            require_wishable(settings, ledger, beginning_of(ledger, meta, back), back)
        state = open_federation(
            settings,
            ledger,
            os.urandom(16),
            inbox,
            Watchdog(ServiceManager()),
            new_generation=True,
            back=back,
            signer=signer,
            quarantined=frozenset(quarantine.read(settings.federation.quarantine)),
        )
    finally:
        ledger.close()
    give_to_owner(folder, folder / FILE)
    if state is None:
        raise Conflict("stopped before anything was begun")
    return state.round


def _order(settings: FederationSettings, folder: Path, back: "Rollback | None", at_work: Conflict) -> RoundId:
    """Order the aggregator at work to begin it, and wait until it has."""
    from aggregator.aggregation.rollback import beginning_of, require_wishable
    from aggregator.shell import orders

    path = folder / FILE
    with read_only(path) as ledger:
        meta = ledger.meta()
        if meta is None:
            raise Conflict(f"{at_work}, and no round has been opened yet")
        if back is not None:
            require_wishable(settings, ledger, beginning_of(ledger, meta, back), back)
    order = orders.Order.of(os.urandom(16).hex(), meta.generation, back)
    orders.give(folder, order)
    due_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < due_s:
        given = orders.still_stands(folder, order)
        if (begun := _begun(path, order)) is not None:
            return begun
        if not given:
            raise DataError(
                "the aggregator at work has not begun it: its log says why, or somebody else has ordered "
                "another one meanwhile; nothing has changed by this"
            )
        time.sleep(LOOK_S)
    with alone(folder):  # it is not in the middle of beginning it, and does not begin it afterwards
        orders.withdraw(folder, order)
    if (begun := _begun(path, order)) is not None:
        return begun
    raise Conflict(
        f"{at_work}, and did not begin a generation in {PATIENCE_S:.0f} s: it may look for its broker, or be "
        "of an older version. Stop it, run this again, and start it; nothing was begun"
    )


def _begun(path: Path, order: "Order") -> RoundId | None:
    """The first round of the generation that an order began; None: it has not begun."""
    with read_only(path) as ledger:
        meta = ledger.meta() if ledger.mark(ORDER) == order.id else None
    return RoundId(meta.generation, 0 if order.anew else 1) if meta is not None else None
