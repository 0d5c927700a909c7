"""The sources of a device's samples. Each reads and checks data, and detects whether they have changed."""

from collections.abc import Mapping

from agent.config import AgentSettings
from agent.settings.sources import CsvSettings, NpzSettings, PythonSettings
from agent.sources.csv import CsvSource
from agent.sources.exclusions import excluding
from agent.sources.form_settings import FormSettings
from agent.sources.function import FunctionSource
from agent.sources.newest_rows import Newest
from agent.sources.npz import NpzSource
from agent.sources.samples import Samples, Source

__all__ = ["CsvSource", "FunctionSource", "NpzSource", "Samples", "Source", "open_source", "open_sources"]


def open_source(data: CsvSettings | NpzSettings | PythonSettings) -> Source:
    """Return the source that `[data]` describes, without the values that its owner excludes."""
    return excluding(_open(data), data)


def _open(data: CsvSettings | NpzSettings | PythonSettings) -> Source:
    match data:
        case CsvSettings():
            return CsvSource(
                data.path,
                data.label,
                data.series,
                data.columns,
                form=FormSettings.of(data),
                newest=Newest.of(data.newest),
                files=data.files,
            )
        case NpzSettings():
            return NpzSource(data.path, data.newest)
        case PythonSettings():
            return FunctionSource(data.callable, data.path, data.newest)


def open_sources(settings: AgentSettings) -> Mapping[str, Source]:
    """Return all sources that this device's owner offers, by name."""
    return {name: open_source(data) for name, data in settings.offered.items()}
