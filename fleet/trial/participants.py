"""The devices of a trial: their data, and their training parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent.data.dataset import Dataset, fit
from agent.settings.sources import CsvSettings
from agent.sources import Samples, open_source
from aggregator.settings.model import ModelSection
from fedge.data.disclosure import listing
from fedge.errors import DataError
from fedge.wire.messages.task import Task
from fleet.cli.data_options import csv_settings
from fleet.demo.provision import Value
from fleet.trial.files import DeviceFiles
from fleet.trial.options import Options
from fleet.trial.proposal import Proposal, holdout_setting
from fleet.trial.table import Table, table_of


@dataclass(frozen=True, eq=False)
class Participant:
    """A device that may take part."""

    found: DeviceFiles
    samples: Samples
    table: Table

    def dataset(self, task: Task, proposal: Proposal, options: Options) -> Dataset:
        """Its training and held-out part, in float64.

        Raises:
            Unfit: its data do not fit the task.
        """
        settings = _settings(Path(self.samples.name), options, proposed(proposal))
        return fit(self.samples, task, settings, exact=True)


def read(one: DeviceFiles, home: Path, options: Options) -> Participant:
    """Copy a device's data, or its part of a split file, to its folder, and read the originals.

    Raises:
        UsageError: a key of `[data]` is invalid.
        DataError: they cannot be copied or read.
    """
    if one.text is None and not one.files:
        raise DataError(f"{one.origin}: the folder holds no file whose name ends in .csv")
    one.put(home)
    path = home / one.path if one.text is not None else one.files[0]
    if one.text is None and not Path(one.path).suffix:
        path = path.parent
    samples = open_source(_settings(path, options, {})).read()
    if samples.nameless is not None:
        raise samples.nameless
    return Participant(one, samples, table_of(one.device, samples))


def unfinished(devices: Sequence[Participant]) -> list[str]:
    """A warning about files whose last line has no end: an agent waits for the rest of it."""
    waiting = [device.found.device for device in devices if device.samples.waiting]
    if not waiting:
        return []
    return [
        f"the last line of {len(waiting)} of {len(devices)} devices' files has no line end and is not used: "
        f"{listing(waiting)}; end it with a newline"
    ]


def _settings(path: Path, options: Options, more: Mapping[str, Value]) -> CsvSettings:
    return csv_settings({**section(str(path.resolve()), options), **more})


def section(path: str, options: Options) -> dict[str, Value]:
    """The section `[data]` before the proposal."""
    found: dict[str, Value] = {"source": "csv", "path": path}
    if options.wish.label is not None:
        found["label"] = options.wish.label
    if options.wish.series is not None:
        found["series"] = options.wish.series
    return found | dict(options.data)


def proposed(proposal: Proposal) -> dict[str, Value]:
    """The section `[data]` with the proposal."""
    return {
        "missing": proposal.missing,
        "holdout": holdout_setting(proposal.holdout, proposal.by),
    }


def task_of(proposal: Proposal) -> Task:
    """The proposed task.

    Raises:
        DataError: it is impossible, for example with too many columns.
    """
    try:
        return ModelSection.model_validate(_tuples(proposal.model())).task(reconnect_spread_s=1.0)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DataError(f"[model] {first['loc'][0]}: {first['msg']}") from None


def _tuples(model: Mapping[str, Value]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in model.items()}
