"""One device of a fleet of processes: its folder, its configuration, what it has on disk."""

from dataclasses import dataclass
from pathlib import Path

from agent.shell import model_file
from tests.system.databases import query

# The source of a device that can be held in the middle of a round: it counts its reads, and from the one
# whose number stands in `hold` on it waits until that file is gone.
SAMPLES = """\
import pathlib, select
import numpy as np

here = pathlib.Path(__file__).parent

def read():
    with (here / "reads").open("a") as reads:
        reads.write(".")
    while is_held((here / "reads").stat().st_size):
        select.select([], [], [], 0.005)  # under libfaketime time.sleep never returns
    with np.load(here / "samples.npz") as samples:
        return samples["X"], samples["y"]

def is_held(number):
    try:
        return number >= int((here / "hold").read_text())
    except FileNotFoundError:
        return False
"""


@dataclass(frozen=True)
class Device:
    """One device: its folder, its configuration, what it has on disk."""

    name: str
    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "agent.toml"

    @property
    def reads(self) -> int:
        """How often the program has begun to read its data, over all its lives."""
        file = self.folder / "reads"
        return file.stat().st_size if file.exists() else 0

    def hold(self, read: int) -> None:
        """Make it wait in its `read`-th reading and all later ones (the survey's is the first)."""
        (self.folder / "hold.new").write_text(str(read))
        (self.folder / "hold.new").replace(self.folder / "hold")

    def release(self) -> None:
        (self.folder / "hold").unlink()

    def saved(self) -> tuple[int, int, bytes, str | None] | None:
        """Generation, round, digest and verdict of the update in its store."""
        database = self.folder / "state" / "agent.db"
        rows = query(
            database, "SELECT generation, round, digest, verdict FROM outbox LEFT JOIN verdict USING (digest)"
        )
        return rows[0] if rows else None

    def held_model(self) -> bytes | None:
        """The digest of the model in its file."""
        kept = model_file.read(self.folder / "state" / model_file.FILE)
        return kept.model_digest if kept else None
