"""Choose the devices of a trial: a device whose data cannot be used is left out and named."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from agent.data.unfit import Unfit
from fedge.data.disclosure import listing
from fedge.errors import DataError
from fleet.trial.columns import require
from fleet.trial.files import FEWEST, DeviceFiles
from fleet.trial.options import Options
from fleet.trial.participants import Participant, read, task_of
from fleet.trial.proposal import Proposal, Wish
from fleet.trial.table import Table

SHOWN = 10
"""For how many devices the message gives reasons, if too few can take part."""


def readable(
    found: Sequence[DeviceFiles], homes: Path, options: Options
) -> tuple[list[Participant], dict[str, str]]:
    """The devices whose files can be read and have the named columns, and the reasons of the others.

    If no device has a named column, none is left out for that: the name was misspelt, which the proposal
    reports.

    Args:
        found: all devices.
        homes: the parent of the devices' own folders, which are created.
        options: the caller's options.

    Raises:
        UsageError: a key of `[data]` is invalid.
        DataError: fewer than two are left.
    """
    able, excluded = [], {}
    for one in found:
        try:
            able.append(read(one, homes / one.device, options))
        except DataError as error:
            excluded[one.device] = str(error)
    lacking = _lacking([device.table for device in able], options.wish)
    if len(lacking) < len(able):
        able = [device for device in able if device.found.device not in lacking]
        excluded |= lacking
    if excluded:
        _check_enough(len(able), excluded, options)
    return able, excluded


def admit(
    devices: Sequence[Participant], proposal: Proposal, options: Options, before: Mapping[str, str]
) -> tuple[list[Participant], dict[str, str]]:
    """The devices whose data fit the task, and the reasons of the others, besides those left out `before`.

    Raises:
        DataError: fewer than two are left, or none of them holds a row out.
    """
    task, able, excluded, held = task_of(proposal), [], dict(before), 0
    for device in devices:
        try:
            held += len(device.dataset(task, proposal, options).held_X)
        except Unfit as unfit:
            excluded[device.found.device] = str(unfit)
        else:
            able.append(device)
    _check_enough(len(able), excluded, options)
    if not held:
        raise DataError(
            f"{options.place}: no device holds a row out to measure models on, for every series is too short "
            f"for {proposal.holdout:g} of it by {proposal.by}: hold out a larger part (--holdout), or whole "
            "series (--by series)"
        )
    return able, excluded


def _check_enough(able: int, excluded: Mapping[str, str], options: Options) -> None:
    if able < FEWEST:
        shown = [f"  {name}: {reason}" for name, reason in islice(excluded.items(), SHOWN)]
        if len(excluded) > SHOWN:
            shown.append(f"  and {len(excluded) - SHOWN} more")
        why = "\n".join(shown)
        raise DataError(
            f"{options.place}: {able} of {able + len(excluded)} devices can take part, and a fleet has at "
            f"least {FEWEST}:\n{why}"
        )


def _lacking(tables: Sequence[Table], wish: Wish) -> dict[str, str]:
    """Devices without a named column, or without all columns that most devices have, with the reason."""
    roles = (("label", wish.label), ("target", wish.target), ("series", wish.series))
    named = [(role, name) for role, name in roles if name is not None]
    found: dict[str, str] = {}
    for table in tables:
        try:
            for role, name in (*named, *(("features", name) for name in wish.features or ())):
                require(table.name, table.columns, role, name)
        except DataError as error:
            found[table.device] = str(error)
            continue
        for name in (*([wish.target] if wish.target is not None else []), *(wish.features or ())):
            if name in table.faults:
                found.setdefault(table.device, table.faults[name].text)
    rest = [table for table in tables if table.device not in found]
    if wish.features is None:
        found |= _strange(rest, {name for _, name in named})
    return found


def _strange(tables: Sequence[Table], named: set[str]) -> dict[str, str]:
    """Devices that have none of the columns that more than half have: nothing could be learnt with them."""
    counts = Counter(name for table in tables for name in table.columns if name not in named)
    usual = [name for name, times in counts.items() if 2 * times > len(tables)]
    if not usual:
        return {}
    return {
        table.device: f"{table.name}: has none of the columns that most devices have: {listing(usual)}"
        for table in tables
        if not set(usual) & set(table.columns)
    }
