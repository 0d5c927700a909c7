"""`fedge-aggregator new-generation`: begin the next generation, with a survey or with an earlier model.

An aggregator that is running gets an order and begins the generation. Otherwise this command begins it, as
`--new-generation` does, and the aggregator serves it when it starts.
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
"""How long to wait for a running aggregator, which may still be checking for another one."""
LOOK_S = 0.1

ABOUT = """\
Begin the next generation. The devices follow by themselves. If an aggregator is running with the state
folder, it begins the generation at once; otherwise this command begins it, and the aggregator serves it when
it starts. No model is deleted: earlier rounds are kept as long as [state] keep_rounds says.

  new-generation                                begin with a survey and first weights
  new-generation --keep-model                   go on with the newest model
  new-generation --from-round 12                go back to the model that round 12 closed with
  new-generation --from-round 12 --without d7   the same, with the later rounds computed again without d7:
                                                exact for round 13, an approximation after that
  new-generation --keep-model --survey-without d7
                                                go on with the newest model, with frozen layers made without
                                                d7's survey; the model gives the same answers as before

A device that is left out here takes part again in the new generation; `fedge quarantine` keeps it out.
While the source rounds are kept, `fedge replay 0` computes again what the generation began with."""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "new-generation",
        help="begin the next generation, with a survey or with an earlier model",
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
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a round: expected N, or G.N for round N of generation G"
        )
    return int(found[1]) if found[1] else None, int(found[2])


def _device(text: str) -> str:
    if re.fullmatch(DEVICE_ID, text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a device id: expected 1 to 36 of a-z, 0-9 and '-'")
    return text


def _run(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    if options.without and options.from_round is None:
        parser.error(
            "--without needs --from-round N, where N is the last round before these devices did harm"
        )
    if options.survey_without and options.from_round is None and not options.keep_model:
        parser.error(
            "--survey-without needs --keep-model or --from-round; else all devices are surveyed again"
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
    what = "the running aggregator serves it" if begun.at_work else "start the aggregator to serve it"
    print(f"generation {begun.round.generation} begins with round {begun.round}: {what}")
    return 0


@dataclass(frozen=True)
class Begun:
    """The generation that has begun."""

    round: RoundId
    """Its first round that is served."""
    at_work: bool
    """Whether an aggregator is running, and serves it."""


def begin_next(settings: FederationSettings, back: "Rollback | None" = None) -> Begun:
    """Begin a generation with a number above all that any device has seen.

    Args:
        settings: the configuration.
        back: the model of the ledger to go back to; None: the generation begins with a survey.

    Raises:
        Conflict: another aggregator serves this federation, the running one does not begin the generation in
            `PATIENCE_S`, or this was interrupted.
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
    """Begin it in this process, because no aggregator is running."""
    from aggregator.aggregation.rollback import beginning_of, require_wishable
    from aggregator.shell import orders
    from aggregator.shell.ledger_file import open_ledger
    from aggregator.shell.signing import signer_of
    from aggregator.shell.startup import open_federation

    signer = signer_of(settings)
    orders.withdraw(folder, None)  # this request replaces an older one
    ledger = open_ledger(folder / FILE)
    inbox: SimpleQueue[Any] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: inbox.put(None))
    try:
        if back is not None and (meta := ledger.meta()) is not None:
            # Check the request first: the operator need not wait for the broker to see an error.
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
        raise Conflict("stopped before the generation was begun; nothing has changed")
    return state.round


def _order(settings: FederationSettings, folder: Path, back: "Rollback | None", at_work: Conflict) -> RoundId:
    """Order the running aggregator to begin it, and wait until it has."""
    from aggregator.aggregation.rollback import beginning_of, require_wishable
    from aggregator.shell import orders

    path = folder / FILE
    with read_only(path) as ledger:
        meta = ledger.meta()
        if meta is None:
            raise Conflict(f"{at_work}, and has not opened a round yet; run this again later")
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
                "the running aggregator has not begun the generation: its log says why, or a newer order has "
                "replaced this one; this command has changed nothing"
            )
        time.sleep(LOOK_S)
    with alone(folder):  # so that the aggregator can no longer begin it
        orders.withdraw(folder, order)
    if (begun := _begun(path, order)) is not None:
        return begun
    raise Conflict(
        f"{at_work}, and did not begin a generation in {PATIENCE_S:.0f} s: it may have no connection to its "
        "broker, or be of an older version. Nothing has changed. Stop it, run this again, and start it"
    )


def _begun(path: Path, order: "Order") -> RoundId | None:
    """The first round of the generation that an order began; None: it has not been begun."""
    with read_only(path) as ledger:
        meta = ledger.meta() if ledger.mark(ORDER) == order.id else None
    return RoundId(meta.generation, 0 if order.anew else 1) if meta is not None else None
