"""Network faults between devices and broker: their kinds, their severity, and their times.

    with Relay("broker", 8883, **line(kinds)) as relay:
        for episode in episodes(kinds, seed=1): ...

Crashes are not network faults: the program that starts the devices kills them.
"""

import logging
import random
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict

from fedge.errors import ConfigError
from fleet.demo.tcp_proxy import Relay

log = logging.getLogger("fedge.relay")

HEALTHY_S = (10.0, 40.0)
"""The shortest and the longest time without fault between two episodes."""
PARTED_S = (4.0, 12.0)
"""How long a partition lasts."""
FORGOTTEN = 0.25
"""The share of all connections that a half-open episode takes."""


class Trouble(StrEnum):
    """Kinds of faults of a network, and of the devices on it."""

    DELAY = "delay"
    """300 ± 100 ms more in each direction."""
    SLOW = "slow"
    """256 kbit/s for each connection, in each direction."""
    PARTITION = "partition"
    """From time to time nothing passes, for seconds."""
    HALF_OPEN = "half-open"
    """From time to time a quarter of all connections goes silent for good, without being closed."""
    CRASH = "crash"
    """Devices are killed; the relay does nothing."""


class Line(TypedDict, total=False):
    """The arguments of a `Relay`."""

    delay_s: float
    jitter_s: float
    rate_bps: float


@dataclass(frozen=True)
class Episode:
    """After `wait_s` without fault, `kind` begins; a partition ends `lasts_s` later."""

    wait_s: float
    kind: Trouble
    lasts_s: float = 0.0


def parse(text: str) -> frozenset[Trouble]:
    """Read kinds separated by commas; `all` means every kind, and an empty text none.

    Raises:
        ConfigError: a word is not a kind; the text names it and all kinds.
    """
    words = {word for word in text.replace(",", " ").split() if word != "none"}
    if "all" in words:
        return frozenset(Trouble)
    unknown = sorted(words - set(Trouble))
    if unknown:
        raise ConfigError(f"trouble {unknown[0]!r}: expected {', '.join(Trouble)}, all or none")
    return frozenset(map(Trouble, words))


def line(kinds: Set[Trouble]) -> Line:
    """The permanent faults of the line."""
    settings: Line = {}
    if Trouble.DELAY in kinds:
        settings |= {"delay_s": 0.3, "jitter_s": 0.1}
    if Trouble.SLOW in kinds:
        settings |= {"rate_bps": 256e3}
    return settings


def episodes(kinds: Set[Trouble], seed: int) -> Iterator[Episode]:
    """The endless sequence of episodes; empty if none of `kinds` comes in episodes."""
    strikes = sorted(kinds & {Trouble.PARTITION, Trouble.HALF_OPEN})
    draw = random.Random(seed)  # noqa: S311 # what goes wrong, not a secret
    while strikes:
        kind = draw.choice(strikes)
        lasts_s = draw.uniform(*PARTED_S) if kind is Trouble.PARTITION else 0.0
        yield Episode(draw.uniform(*HEALTHY_S), kind, lasts_s)


def relay(
    target: str,
    listen: Sequence[tuple[str, int]],
    kinds: Set[Trouble],
    seed: int,
    sleeps: Callable[[float], bool],
) -> None:
    """Relay between devices and a broker with these faults, until asked to end.

    Args:
        target: host of the broker; a connection to a port here goes to the same port there.
        listen: addresses and ports.
        kinds: the kinds of faults.
        seed: determines which faults come when.
        sleeps: sleeps for this many seconds; returns False if it was asked to end meanwhile.

    Raises:
        ConfigError: an address cannot be listened on.
    """
    with ExitStack() as open_relays:
        relays = []
        for host, port in listen:
            try:
                one = Relay(target, port, host, port, seed=seed, **line(kinds))
                relays.append(open_relays.enter_context(one))
            except OSError as error:
                raise ConfigError(f"{host}:{port}: cannot be listened on: {error.strerror}") from None
        log.info("to %s, trouble: %s", target, ", ".join(sorted(kinds)) or "none")
        for episode in episodes(kinds, seed):
            if not sleeps(episode.wait_s):
                return
            if episode.kind is Trouble.HALF_OPEN:
                log.info("a quarter of the connections goes silent")
                for one in relays:
                    one.forget(FORGOTTEN)
                continue
            log.info("nothing passes for %.0f s", episode.lasts_s)
            for one in relays:
                one.part()
            goes_on = sleeps(episode.lasts_s)
            for one in relays:
                one.heal()
            if not goes_on:
                return
        while sleeps(3600.0):
            pass
