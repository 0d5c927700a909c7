"""A proposal in words, for terminal and report."""

from fedge.data.disclosure import listing
from fleet.trial.proposal import Proposal


def proposed(proposal: Proposal) -> dict[str, str]:
    """The proposal as lines by topic, each short enough to read."""
    count = len(proposal.features)
    lines = {
        "features": f"{count}: {listing(proposal.features)}",
        "left out": "; ".join(f"{name}: {reason}" for name, reason in proposal.left_out.items()),
        "classes": listing([f"{name} ({rows} rows)" for name, rows in proposal.counts.items()]),
        "target": proposal.target or "",
        "held out": held_out(proposal),
        "missing": missing(proposal) if proposal.missing != "refuse" else "",
    }
    return {name: text for name, text in lines.items() if text}


def held_out(proposal: Proposal) -> str:
    """A text that says which rows measure the models."""
    part = f"{proposal.holdout:g} of each device's rows"
    nth = f"{1 / proposal.holdout:.3g}"
    return {
        "time": f"{part}: the last ones",
        "every": f"{part}: one in {nth}, from everywhere in the file",
        "random": f"{part}: drawn at random",
        "series": f"{part}: one recording in {nth}",
    }[proposal.by]


def missing(proposal: Proposal) -> str:
    """A text that says what is done with missing values."""
    return {
        "fill": "a missing value counts as the fleet's mean of its column",
        "drop": "rows with a missing value are left out",
        "refuse": "no row may have a missing value",
    }[proposal.missing]
