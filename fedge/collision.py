"""The names `agent`, `aggregator` and `fleet` are others' too: notice when a package is not ours."""

import importlib.util
from importlib.metadata import packages_distributions
from pathlib import Path

import fedge

NAMES = ("agent", "aggregator", "fleet")
OURS = "fedge"
ADVICE = "install Fedge into an environment of its own"


def collisions() -> list[str]:
    """One sentence for each of our packages that another distribution has taken or may have overwritten."""
    root = Path(fedge.__file__).parent.parent
    owners = packages_distributions()
    found = []
    for name in NAMES:
        spec = importlib.util.find_spec(name)
        where = Path(spec.origin).parent if spec is not None and spec.origin else None
        others = sorted({owner for owner in owners.get(name, ()) if owner.lower() != OURS})
        if where != root / name:
            found.append(f"the package {name!r} that Python finds is {where}, not Fedge's {root / name}")
        elif others:
            found.append(f"{', '.join(others)} has a package {name!r} too, in the same place as Fedge's")
    return found
