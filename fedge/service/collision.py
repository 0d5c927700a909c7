"""Detects packages `agent`, `aggregator` or `fleet` of another distribution in the place of Fedge's."""

import importlib.util
from importlib.metadata import distributions
from pathlib import Path

import fedge

NAMES = ("agent", "aggregator", "fleet")
OURS = "fedge"
ADVICE = "install Fedge into an environment of its own"


def collisions() -> list[str]:
    """Return a sentence for each package of Fedge that another distribution hides or may have overwritten."""
    root = Path(fedge.__file__).parent.parent
    others = _others()
    found = []
    for name in NAMES:
        spec = importlib.util.find_spec(name)
        where = Path(spec.origin).parent if spec is not None and spec.origin else None
        if where != root / name:
            found.append(f"the package {name!r} that Python finds is {where}, not Fedge's {root / name}")
        elif others[name]:
            found.append(
                f"{', '.join(sorted(others[name]))} also has a package {name!r}, in the same place as Fedge's"
            )
    return found


def _others() -> dict[str, set[str]]:
    """Return the other distributions that have a package or a module with one of these names.

    This searches the text of their file lists. `packages_distributions` creates a path object for each of
    thousands of installed files, which takes seconds on a small machine.
    """
    found: dict[str, set[str]] = {name: set() for name in NAMES}
    for distribution in distributions():
        packages = (distribution.read_text("top_level.txt") or "").split()
        files = "\n" + (distribution.read_text("RECORD") or "")
        for name in NAMES:
            if name in packages or f"\n{name}/" in files or f"\n{name}.py," in files:
                owner = str(distribution.metadata["Name"])
                if owner.lower() != OURS:
                    found[name].add(owner)
    return found
