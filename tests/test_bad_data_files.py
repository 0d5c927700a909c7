"""Data files that are wrong: the error names the file, the place in it, and what puts it right."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.config import AgentSettings
from agent.data.dataset import fit
from agent.sources import open_source
from fedge.errors import DataError
from tests.bad_input import AGENT, TASK, assert_told, rows_of

ROWS = "heat,rain,label\n" + "".join(f"{i},0.5,{'dry' if i % 2 else 'wet'}\n" for i in range(40))
ARRAYS: dict[str, Any] = {"X": np.ones((40, 2)), "y": np.array(["dry", "wet"] * 20)}

CSV_FILES: dict[str, tuple[Any, ...]] = {
    # what is wrong: (the file, the place as the message names it, what it must name to be put right)
    "empty": ("", "", "header"),
    "a header alone": ("heat,rain,label\n", "", "rows"),
    "Latin-1": (ROWS.encode().replace(b"1,0.5", b"\xe9,0.5"), "line 3: ", "UTF-8"),
    "commas that may be decimal": (
        ROWS.replace(",", ";").replace("0.5", "1,500"),
        "line 2, column 'rain': ",
        "[data] decimal",
    ),
    "a short line": (ROWS.replace("7,0.5,dry", "7,0.5"), "line 9: ", "2 cells", "3 columns"),
    "a quote that stays open": (ROWS.replace("8,0.5,wet", '8,"0.5,wet'), "line 10: ", "quote"),
    "a column twice": (ROWS.replace("label", "heat", 1), "line 1: column 'heat' "),
    "another column": (ROWS.replace("rain", "snow", 1), "", "'rain'", "heat, snow, label"),
    "no label": (ROWS.replace("label", "kind", 1), "", "'label'", "heat, rain, kind"),
    "a foreign class": (
        ROWS.replace("9,0.5,dry", "9,0.5,hail", 1),
        "line 11: column 'label' ",
        "1 such row",
        "dry, wet",
    ),
    "a decimal comma": (ROWS.replace("5,0.5,", '5,"0,5",', 1), "line 7, column 'rain': ", "point"),
    "too large": (ROWS.replace("\n3,", "\n3e99,", 1), "line 5, column 'heat': ", "float32"),
    "a missing value": (
        ROWS.replace("\n4,0.5", "\n4,", 1),
        "line 6: column 'rain' ",
        '[data] missing = "drop" or "fill"',
    ),
    "too few rows": ("".join(ROWS.splitlines(keepends=True)[:20]), "", "16 ", "20"),
}


def read_and_fit(folder: Path, source: str, file: str) -> None:
    """As the agent does: its configuration, then the source, then what the task wants of it."""
    text = AGENT.replace('"csv"', f'"{source}"').replace("data.csv", file)
    (folder / "agent.toml").write_text(text, encoding="utf-8")
    settings = AgentSettings.load(folder / "agent.toml", {})
    fit(open_source(settings.data).read(), TASK, settings.data)


def test_what_the_broken_files_are_made_of_is_right(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(ROWS)
    read_and_fit(tmp_path, "csv", "data.csv")
    np.savez(tmp_path / "data.npz", **ARRAYS)
    read_and_fit(tmp_path, "npz", "data.npz")


@pytest.mark.parametrize(("content", "place", "facts"), rows_of(CSV_FILES))
def test_broken_csv_files(tmp_path: Path, content: str | bytes, place: str, facts: list[str]) -> None:
    file = tmp_path / "data.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        read_and_fit(tmp_path, "csv", "data.csv")
    assert_told(caught.value, f"{file}: {place}", facts)


NPZ_FILES: dict[str, tuple[Any, ...]] = {
    # what is wrong: (the file's arrays or bytes, how the message begins, what it must name to be put right)
    "no archive": (b"heat,rain\n1,2\n", "", "numpy.savez"),
    "no X": ({"x": ARRAYS["X"]}, "", "array X", "x"),
    "a flat X": ({"X": np.ones(40)}, "X ", "(samples, features)"),
    "Python objects": ({**ARRAYS, "y": np.array([None] * 40)}, "array y: ", "Python objects"),
    "y too short": ({**ARRAYS, "y": np.array(["dry"])}, "y ", "1 rows", "40"),
    "too many columns": ({**ARRAYS, "X": np.ones((40, 3))}, "X ", "3 columns", "2 features: heat, rain"),
    "y of numbers": ({**ARRAYS, "y": np.ones(40)}, "y ", "(samples,)"),
}


@pytest.mark.parametrize(("content", "key", "facts"), rows_of(NPZ_FILES))
def test_broken_npz_files(
    tmp_path: Path, content: dict[str, Any] | bytes, key: str, facts: list[str]
) -> None:
    file = tmp_path / "data.npz"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.savez(file, **content)
    with pytest.raises(DataError) as caught:
        read_and_fit(tmp_path, "npz", "data.npz")
    assert_told(caught.value, f"{file}: {key}", facts)


@pytest.mark.parametrize("source", ["csv", "npz"])
def test_a_file_that_is_not_there(tmp_path: Path, source: str) -> None:
    with pytest.raises(DataError) as caught:
        read_and_fit(tmp_path, source, "nowhere")
    assert_told(caught.value, f"{tmp_path / 'nowhere'}: ", ["no such file"])
