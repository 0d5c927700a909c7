"""Describes the inventory of a source in words, for the device's owner. Pure."""

from agent.data.inventory import Inventory
from agent.sources import Samples
from fedge.data.disclosure import listing


def lines(found: Inventory) -> dict[str, str]:
    """Return the inventory as texts for people, by topic."""
    samples = found.samples
    files = [f"{name} ({rows} rows)" for name, rows in samples.blocks]
    left = len(samples.X) - len(found.kept)
    between = len(found.kept) - len(found.training) - len(found.held)
    holdout = found.rules.holdout
    lines = {
        "files": listing(files),
        "not read": listing(samples.beside.others),
        "waits": f"the last line of {listing(samples.waiting)}: used once it has a line end"
        if samples.waiting
        else "",
        "rows": f"{len(samples.X)}{_of(samples)}: {len(found.training)} for training, "
        f"{len(found.held)} held out "
        f"({holdout.part:g} by {holdout.by}), {between} in gaps, {left} left out",
        "series": str(found.series)
        + (f", {found.short} of which are too short to hold rows out" if found.short else ""),
        "used": listing(found.used),
        "not used": listing(found.unused),
    }
    if found.classes is not None:
        lines["classes"] = listing(
            [
                f"{one.written} = {one.name} ({one.training} + {one.held})"
                if one.written != one.name
                else f"{one.name} ({one.training} + {one.held})"
                for one in found.classes
            ]
        )
    lines["excluded"] = listing(
        [
            f"{one['count']} values of {one['column']!r} ({one['why']}, first: {one['first']})"
            for one in found.excluded
        ]
    )
    return {about: text for about, text in lines.items() if text}


def _of(samples: Samples) -> str:
    return "" if samples.of is None else f", the newest of {samples.of}"


def notes(found: Inventory) -> dict[str, str]:
    """Return the source's notes by topic: how it read its files, and what it could not read."""
    samples = found.samples
    left = () if samples.left_out is None else (samples.left_out.text,)
    unread = samples.notes(found.used)[len(left) :]
    said = {"read as": samples.reading, "unreadable": left, "unread": unread}
    return {about: "; ".join(told) for about, told in said.items() if told}
