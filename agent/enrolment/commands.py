"""Options and output of `fedge-agent join`, `renew`, `roster`. Imports `cryptography` only when needed."""

import argparse
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from agent.config import AgentSettings
from fedge.errors import ConfigError
from fedge.identity.device_names import as_id, renamed
from fedge.identity.ed25519 import require
from fedge.service.arguments import accept_config

WAIT_S = 60.0
P = TypeVar("P", bound=argparse.ArgumentParser)


def add_to(commands: "argparse._SubParsersAction[P]") -> None:
    """Add the three commands to the program's parser."""
    join = commands.add_parser("join", help="get an identity: with a token, a bundle, or a request")
    join.add_argument(
        "with_",
        metavar="TOKEN|BUNDLE",
        nargs="?",
        help="the token or bundle that `fedge enroll` made; - reads a token from standard input",
    )
    join.add_argument("--device", metavar="ID", help="the device's name, with a token or a request")
    join.add_argument(
        "--folder", type=Path, default=Path(), help="the folder for its files; default: the current one"
    )
    join.add_argument(
        "--request", action="store_true", help="make a key, and a request file to bring to the server"
    )
    _wait(join)
    join.set_defaults(run=run_join, misused=join.error)
    renew = commands.add_parser(
        "renew", help="renew the certificate, if less than a third of its lifetime is left"
    )
    accept_config(renew)
    renew.add_argument(
        "--before", type=float, metavar="DAYS", help="renew if the certificate ends within this many days"
    )
    renew.add_argument("--force", action="store_true", help="renew now")
    _wait(renew)
    renew.set_defaults(run=run_renew)
    roster = commands.add_parser(
        "roster",
        help="print this device's line for the rosters of others ([trust] roster)",
        description="Prints this device's id and the fingerprint of its certificate's key. Owners collect "
        "such lines from each other, and give the file to their devices as [trust] roster: these take part "
        "in masked rounds with the devices in it alone.",
    )
    accept_config(roster)
    roster.set_defaults(run=run_roster)


def run_join(options: argparse.Namespace) -> int:
    """Run `fedge-agent join`.

    Raises:
        FedgeError: the device cannot join; the text says what to do.
    """
    require("fedge-agent join", "secure")
    from agent.enrolment.join import begin_request, join_with_bundle, join_with_token
    from fedge.identity.bundle import AGENT
    from fedge.identity.token import PREFIX, Token

    given: str | None = options.with_
    folder: Path = options.folder
    if options.request or given == "-" or (given or "").startswith(PREFIX):
        if options.device is None:
            options.misused("--device ID: is missing: with a token or a request, give this device's name")
        for sentence in renamed([options.device]):
            print(sentence, file=sys.stderr)
        device = as_id(options.device)
        if options.request:
            path = begin_request(device, folder)
            print(
                f"{path}: bring this file to the server and run `fedge enroll --csr` there; then run "
                "`fedge-agent join BUNDLE` here"
            )
            return 0
        token = Token.read(sys.stdin.read() if given == "-" else str(given))
        join_with_token(token, device, folder, wait_s=options.wait)
    elif given is None:
        options.misused("give a token, a bundle's file, or --request")
    else:
        join_with_bundle(Path(given), folder)
    config = folder / AGENT
    print(
        f"{config}: put the data where [data] path says, or change the path; then check with "
        f"`fedge-agent --config {config} --check`"
    )
    return 0


def run_roster(options: argparse.Namespace) -> int:
    """Run `fedge-agent roster`.

    Raises:
        ConfigError: there is no certificate, or it cannot be read.
    """
    require("fedge-agent roster", "secure")
    from fedge.identity.certified_keys import read_own
    from fedge.identity.pinned_roster import line_of

    settings = AgentSettings.load(options.config)
    broker = settings.broker
    if broker.certificate is None or broker.key is None:
        raise ConfigError(
            "[broker] certificate and key: are not set; `fedge-agent join` gets them, and a device without "
            "them takes part in no masked round"
        )
    print(line_of(settings.device, read_own(broker.certificate, broker.key).public))
    return 0


def run_renew(options: argparse.Namespace) -> int:
    """Run `fedge-agent renew`.

    Raises:
        FedgeError: the certificate cannot be renewed; the text says what to do.
    """
    require("fedge-agent renew", "secure")
    from agent.enrolment.renew import renew

    settings = AgentSettings.load(options.config)
    before = None if options.before is None else timedelta(days=options.before)
    renewed = renew(settings, datetime.now(UTC), before=before, force=options.force, wait_s=options.wait)
    what = "renewed" if renewed.done else "not yet due"
    print(f"{renewed.identity}: {what}; valid until {renewed.not_after:%Y-%m-%d %H:%M} UTC")
    return 0


def _wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait",
        type=float,
        default=WAIT_S,
        metavar="SECONDS",
        help="how long to wait for the answer; default: %(default).0f",
    )
