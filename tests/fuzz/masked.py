"""Secure aggregation as the fuzzer's receivers begin with it: pi-1 is the last to answer in a phase.

The keys are new in each run, so no input of the corpus has a valid signature. Those of `tests.fuzz.seeds` do.
"""

import tempfile
from functools import cache
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import numpy as np

from agent.config import AgentSettings
from agent.core.state import MaskedUpdate
from agent.shell.masked_rounds import MaskedRounds
from aggregator.core.federation import Federation
from fedge.identity.certified_keys import read_own
from fedge.masking import server
from fedge.masking.device_state import Mark
from fedge.masking.groups import groups_of
from fedge.masking.messages import MaskingMessage
from fedge.masking.round_messages import Call
from fedge.masking.server_state import Arrived, PhaseOver, SendTo
from fedge.wire.frames import split
from fedge.wire.messages.frame import unpack_frame
from fedge.wire.messages.message import Message, pack
from fedge.wire.messages.protection import Masks, Protection
from tests.agent.masked_places import CLIP, MODEL, ROUND, SIZE, federation, terms_of
from tests.aggregator.test_exchange import Round

PHASES = 5
GROUPED, FIRST, BEFORE = 249, 250, 255
"""The variants: from `FIRST` on one for each phase, and `BEFORE`, where no attempt has begun. `GROUPED`: nor
has one in a round with groups, and pi-1 knows of them."""
NAMES, OTHERS = ("pi-1", "pi-2", "pi-3"), ("pi-4", "pi-5", "pi-6")
GROUPS = 2


class Waiting(NamedTuple):
    """An aggregator that waits for pi-1."""

    state: Federation
    answer: bytes
    """What pi-1 would answer."""
    early: Federation
    """The same phase before anybody has answered: what follows from the last answer is not done yet."""


@cache
def aggregators(weights: int | None = None) -> tuple[Waiting, ...]:
    """One for each phase; `weights`: of another model."""
    found = []
    story = Round() if weights is None else Round(weights=weights)
    if weights is not None:
        for party in story.parties.values():
            party.levels = np.zeros(weights, np.int64)
    effects = story.begin()
    for _ in range(PHASES):
        answers, early = dict(story.answers(effects)), story.state
        own = answers.pop("pi-1")
        for name, message in answers.items():
            story.take(name, message)
        found.append(Waiting(story.state, pack(own), early))
        effects = story.take("pi-1", own)
    return tuple(found)


def begun(variant: int) -> Federation:
    """The aggregator's state of a variant from `GROUPED` on."""
    return Round().state if variant in (BEFORE, GROUPED) else aggregators()[variant - FIRST].state


class Saved(NamedTuple):
    """What a device has on its disk, and what comes next."""

    memory: bytes | None
    mark: Mark
    message: bytes
    """What the server sends."""


class Device(MaskedRounds):
    """A device whose disk is in memory."""

    def __init__(self, settings: AgentSettings, saved: Saved | None = None, drawn: bytes = b"") -> None:
        self.drawn = drawn
        self.memory = saved.memory if saved is not None else None
        self.mark = saved.mark if saved is not None else Mark()
        self.sent: list[Message] = []
        groups = GROUPS if drawn else None
        masks = Masks(
            server="lying", cohort=3, threshold=3, value_bits=8, clip=CLIP, max_weight=1, groups=groups
        )
        told = Protection(masked=masks, devices=3)
        manifest = SimpleNamespace(
            kind="masked", generation=ROUND.generation, round=ROUND.round, protection=told
        )
        super().__init__(
            settings,
            cast(Any, self),
            Path(),
            lambda: cast(Any, SimpleNamespace(manifest=manifest)),
            self.sent.append,
        )

    def masked(self) -> MaskedUpdate:
        """As `Memory.masked`."""
        return MaskedUpdate(ROUND, MODEL, 8, CLIP, 1, np.zeros(SIZE, "<i2").tobytes(), self.drawn)

    def masking(self) -> bytes | None:
        """As `Memory.masking`."""
        return self.memory

    def save_masking(self, content: bytes) -> None:
        """As `Memory.save_masking`."""
        self.memory = content

    def _read_mark(self) -> Mark:
        return self.mark

    def _write_mark(self, mark: Mark) -> None:
        self.mark = mark

    def hear(self, message: bytes) -> list[Message]:
        """Take the frames of a message; what it sends."""
        self.sent.clear()
        for piece in split(message):
            self.take(unpack_frame(piece))
        return list(self.sent)


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory()


@cache
def settings() -> dict[str, AgentSettings]:
    """The configurations of the devices, with certificates."""
    homes = federation(Path(_folder().name), NAMES)
    return {name: AgentSettings.load(home / "agent.toml") for name, home in homes.items()}


@cache
def certificates() -> tuple[bytes, ...]:
    """Those of the devices, in DER."""
    found = []
    for each in settings().values():
        assert each.broker.certificate is not None
        assert each.broker.key is not None
        found.append(read_own(each.broker.certificate, each.broker.key).certificate)
    return tuple(found)


@cache
def grouped() -> tuple[bytes, bytes]:
    """What pi-1 has drawn, and the call to its group, which is `NAMES`."""
    drawn = {name: name.encode().ljust(32) for name in NAMES + OTHERS}
    terms = terms_of(NAMES)
    whole = terms.model_copy(update={"cohort": NAMES + OTHERS})
    tries = (drawn | {OTHERS[-1]: number.to_bytes(32, "big")} for number in count())
    told = next(each for each in tries if NAMES in groups_of(whole, GROUPS, each))
    call = Call(
        terms=pack(terms), certificates=certificates(), whole=NAMES + OTHERS, drawn=b"".join(told.values())
    )
    return drawn["pi-1"], pack(call)


@cache
def devices() -> tuple[Saved, ...]:
    """What pi-1 has on its disk before each phase, and the message with which that begins."""
    every = {name: Device(settings()[name]) for name in NAMES}
    state = server.begin(terms_of(NAMES))
    call = Call(terms=pack(terms_of(NAMES)), certificates=certificates())
    mail, found = dict[str, Message].fromkeys(NAMES, call), []
    while mail:
        found.append(Saved(every["pi-1"].memory, every["pi-1"].mark, pack(mail["pi-1"])))
        for name, message in mail.items():
            for answer in every[name].hear(pack(message)):
                assert isinstance(answer, MaskingMessage)
                state, _ = server.step(state, Arrived(name, answer), lambda *_: True)
        state, effects = server.step(state, PhaseOver(), lambda *_: True)
        mail = {each.device: each.message for each in effects if isinstance(each, SendTo)}
    return tuple(found)


def device(variant: int) -> Device:
    """The device of a variant from `GROUPED` on."""
    if variant == GROUPED:
        return Device(settings()["pi-1"], drawn=grouped()[0])
    return Device(settings()["pi-1"], None if variant == BEFORE else devices()[variant - FIRST])
