"""`fedge-aggregator new-generation`: begin the next generation in the ledger, to be served from then on.

What `--new-generation` does before it serves, for those who have a service manager start the program.
"""

import argparse
import os
import signal
from queue import SimpleQueue
from typing import Any

from aggregator.config import FederationSettings
from aggregator.keeping.place import load
from aggregator.ledger.layout import FILE
from fedge.errors import ConfigError, GaveWay
from fedge.freshness import RoundId
from fedge.store import give_to_owner, lock, make_folder
from fedge.systemd import ServiceManager, Watchdog


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Say what the command takes."""
    parser = commands.add_parser(
        "new-generation", help="begin anew, with the devices following, when the aggregator is started next"
    )
    parser.add_argument(
        "--keep-model",
        action="store_true",
        help="go on with the newest model of the ledger, without a survey",
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        beginning = begin_next(load(options.config), keep_model=options.keep_model)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"fedge-aggregator needs the extra 'aggregator' (no module {error.name!r}): "
            "pip install 'fedge[aggregator]'"
        ) from None
    print(f"generation {beginning.generation} begins with round {beginning}: start the aggregator")
    return 0


def begin_next(settings: FederationSettings, *, keep_model: bool) -> RoundId:
    """Begin the generation after all that anybody has seen; returns the round to be served first.

    Raises:
        GaveWay: an aggregator serves this federation or works with this state folder, or it was interrupted.
        ConfigError: there is no model to keep, or no generation can follow.
        StateError: the state folder cannot be used.
    """
    from aggregator.opening import open_federation, open_ledger
    from aggregator.signing import signer_of

    signer = signer_of(settings)
    folder = make_folder(settings.state.folder)
    held = lock(folder)
    try:
        ledger = open_ledger(folder / FILE)
        inbox: SimpleQueue[Any] = SimpleQueue()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: inbox.put(None))
        try:
            state = open_federation(
                settings,
                ledger,
                os.urandom(16),
                inbox,
                Watchdog(ServiceManager()),
                new_generation=True,
                keep_model=keep_model,
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
