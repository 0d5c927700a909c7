"""Devices with real certificates that have promised an update, and a server that calls them; no broker."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from agent.config import AgentSettings
from agent.core.state import MaskedUpdate
from agent.shell.masked_rounds import MARK, MaskedRounds
from agent.shell.memory import Memory
from fedge.identity import bundle
from fedge.identity.certified_keys import read_own
from fedge.masking.messages import Terms
from fedge.masking.round_messages import Call
from fedge.masking.thresholds import default_threshold
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.message import Message, pack
from fedge.wire.messages.protection import Masks, Protection
from fleet.pki.enrolment import enroll
from fleet.pki.folder import FederationFolder
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding

FEDERATION, ROUND, SIZE, CLIP = "pumps", RoundId(1, 1), 16, 0.5
MODEL = b"m" * 32


def federation(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    """Enrol devices; their folders by name."""
    made = FederationFolder(folder / FEDERATION)
    found(made, Founding(FEDERATION, ["127.0.0.1"], 8883, 8884))
    homes = {}
    for name in names:
        homes[name] = folder / name
        homes[name].mkdir()
        for file, content in bundle.unpack(enroll(made, name).bundle.read_bytes()).items():
            (homes[name] / file).write_bytes(content)
    return homes


class Place:
    """One device: its memory on the disk, what it has sent, and what its core knows."""

    def __init__(self, name: str, home: Path, levels: np.ndarray[Any, Any]) -> None:
        self.name, self.home, self.sent = name, home, list[Message]()
        self.settings = AgentSettings.load(home / "agent.toml")
        self.memory = Memory(home / "agent.db")
        self.levels = levels
        self.promise(ROUND)
        self.start()

    def promise(
        self,
        round_id: RoundId,
        cohort: int = 3,
        threshold: int = 3,
        groups: int | None = None,
        drawn: bytes = b"",
    ) -> None:
        """Keep an update for this round."""
        levels = self.levels.astype("<i2").tobytes()
        update = MaskedUpdate(round_id, MODEL, 8, CLIP, 1, levels, drawn)
        digest = b"d" * 32
        self.memory.save_update(Attempt(round_id, 0), digest, b"payload", masked=update)
        masks = Masks(
            server="lying",
            cohort=cohort,
            threshold=threshold,
            value_bits=8,
            clip=CLIP,
            max_weight=1,
            groups=groups,
        )
        manifest = SimpleNamespace(
            kind="masked",
            generation=round_id.generation,
            round=round_id.round,
            protection=Protection(masked=masks, devices=threshold),
        )
        self.agent = SimpleNamespace(manifest=manifest)

    def start(self) -> None:
        """Start the program anew, from what is on the disk."""
        self.rounds = MaskedRounds(
            self.settings,
            self.memory,
            self.home / MARK,
            lambda: self.agent,  # type: ignore[arg-type,return-value] # it reads the manifest alone
            self.sent.append,
        )

    @property
    def certificate(self) -> bytes:
        """Its certificate, in DER."""
        broker = self.settings.broker
        assert broker.certificate is not None
        assert broker.key is not None
        return read_own(broker.certificate, broker.key).certificate


def new_places(homes: dict[str, Path]) -> dict[str, Place]:
    """Devices in these folders, without memory of an attempt."""
    rng = np.random.default_rng(3)
    for home in homes.values():
        for left in ("agent.db", "agent.db-wal", "agent.db-shm", MARK):
            (home / left).unlink(missing_ok=True)
    return {name: Place(name, home, rng.integers(-127, 128, SIZE)) for name, home in homes.items()}


def terms_of(names: tuple[str, ...], **changes: object) -> Terms:
    """The terms of an attempt with these devices."""
    fields: dict[str, object] = {
        "federation": FEDERATION, "generation": 1, "round": 1, "attempt": 0, "base": MODEL, "cohort": names,
        "size": SIZE, "value_bits": 8, "clip": CLIP, "max_weight": 1,
        "threshold": default_threshold(len(names)),
        "colluders": 0, "dropouts": 0, "server": "lying",
    }  # fmt: skip
    return Terms.model_validate({**fields, **changes})


def call(terms: Terms, places: dict[str, Place], **instead: bytes) -> Call:
    """The call to an attempt; `instead`: other certificates, by device."""
    certificates = tuple(
        instead.get(name.replace("-", "_"), places[name].certificate) for name in terms.cohort
    )
    return Call(terms=pack(terms), certificates=certificates)
