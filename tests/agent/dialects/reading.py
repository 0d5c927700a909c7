"""Reading one CSV by a given dialect."""

from pathlib import Path
from typing import Any

from agent.sources import CsvSource, Samples
from agent.sources.form_settings import FormSettings

NAN = float("nan")


def read(folder: Path, content: str | bytes, label: str | None = "label", **said: Any) -> Samples:
    file = folder / "a.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    columns, series = said.pop("columns", None), said.pop("series", None)
    return CsvSource(file, label, series, columns, form=FormSettings(**said)).read()


def column(samples: Samples, name: str) -> list[float]:
    assert samples.columns is not None
    assert samples.columns.index(name) not in samples.faults, samples.faults
    return [round(float(value), 4) for value in samples.X[:, samples.columns.index(name)]]
