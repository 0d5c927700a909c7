"""The settings of a trial, for a new federation: `fedge init NAME --like out/try`."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from fedge.data.disclosure import listing
from fedge.errors import DataError
from fedge.service.escapes import printable
from fleet.demo.folders import is_of
from fleet.demo.provision import AGENT_FILE, FEDERATION_FILE

LEARNING = ("plan", "data", "rounds", "stopping")


@dataclass(frozen=True)
class Tried:
    """Sections of settings files, as text."""

    model: str
    learning: str
    """`[plan]`, `[data]` if there is one, `[rounds]` and `[stopping]`."""
    data: str
    """`[data]` of the devices."""
    summary: str
    """A summary for people."""


def is_trial(folder: Path) -> bool:
    """Whether `fedge try` has made a folder."""
    return is_of(folder, "try") and (folder / FEDERATION_FILE).is_file()


def tried(folder: Path) -> Tried:
    """Read a trial's settings.

    Raises:
        DataError: they are missing, or were changed so that they are not a trial's any more.
    """
    federation = _read(folder / FEDERATION_FILE)
    agents = sorted((folder / "devices").glob(f"*/{AGENT_FILE}"))
    if not agents:
        raise DataError(f"{folder}: no device has an {AGENT_FILE} there; run `fedge try` again")
    data = _section(_read(agents[0]), "data", agents[0])
    model = _section(federation, "model", folder / FEDERATION_FILE)
    learning = [
        _section(federation, name, folder / FEDERATION_FILE)
        for name in LEARNING
        if name != "data" or "\n[data]\n" in federation
    ]
    whole = "\n".join(learning) + "\n"
    whole = re.sub(r"(?m)^(quorum = \d+)$", r"\1    # a round with fewer updates stays open", whole)
    table = tomllib.loads(model)["model"]
    answers = table.get("classes") or table.get("targets", ())
    return Tried(
        model=f"# The model, from the trial in {printable(str(folder))}.\n{model}",
        learning=whole,
        data=f"# From the trial; path is where each device has its own data.\n{data}",
        summary=printable(
            f"from the trial in {folder}: {len(table['features'])} features ({listing(table['features'])}), "
            f"answers {listing(answers)}; the plan, the rules of rounds and stopping, and the devices' [data]"
        ),
    )


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}; run `fedge try` again") from None
    return text


def _section(text: str, name: str, path: Path) -> str:
    """The text of a section with its head, ending with one line end."""
    found = re.search(rf"(?ms)^\[{name}\]\n.*?(?=^\[|\Z)", text)
    if found is None:
        raise DataError(f"{path}: there is no section [{name}]; run `fedge try` again")
    return found[0].rstrip() + "\n"
