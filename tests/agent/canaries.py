"""Data that are wrong in many ways, full of marks that stand nowhere else."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agent.config import AgentSettings
from fedge.wire.reasons import Reason

MARKS = (b"canary", b"anna", b"8675309", b"31337")
"""Small letters: what is published is looked at in small letters too."""

ROWS = "".join(f"{i},0.5,{'dry' if i % 2 else 'wet'}\n" for i in range(40))
ARRAYS: dict[str, Any] = {"X": np.ones((40, 2)), "y": np.array(["dry", "wet"] * 20)}
FOLDER = "home/anna"
CLASSES, TARGETS = {"classes": ("dry", "wet")}, {"targets": ("dew", "frost")}


@dataclass(frozen=True)
class Case:
    """One way in which data are wrong."""

    files: dict[str, str | bytes | dict[str, Any]]
    """By name, below a folder of the user's; a table is an archive of these arrays."""
    reason: Reason
    log: str
    """What the device's own log says."""
    said: str = ""
    """What it tells others, among others."""
    data: str = 'source = "csv"\npath = "canary.csv"'
    learns: dict[str, Any] = field(default_factory=lambda: CLASSES)


def csv(text: str | bytes, reason: Reason, log: str, said: str = "", more: str = "", **how: Any) -> Case:
    return Case(
        {"canary.csv": text}, reason, log, said, f'source = "csv"\npath = "canary.csv"\n{more}', **how
    )


def folder(files: dict[str, str | bytes | dict[str, Any]], reason: Reason, log: str, said: str = "") -> Case:
    named = {f"canaries/{name}": content for name, content in files.items()}
    return Case({"canaries/note.txt": "", **named}, reason, log, said, 'source = "csv"\npath = "canaries"')


def npz(content: bytes | dict[str, Any], reason: Reason, log: str, said: str = "", **how: Any) -> Case:
    return Case({"canary.npz": content}, reason, log, said, 'source = "npz"\npath = "canary.npz"', **how)


def function(code: str, reason: Reason, log: str, said: str = "", **how: Any) -> Case:
    data = 'source = "python"\ncallable = "canary_MODULE:canary_read"\npath = "."'
    return Case({"canary_MODULE.py": code}, reason, log, said, data, **how)


BAD, WRONG, FEW = Reason.BAD_DATA, Reason.WRONG_INPUT, Reason.TOO_FEW_SAMPLES
HEADER = "heat,rain,label\n"
DATA_LIKE = "line 1 looks like data; name the columns: `[data] columns"
RAISING = """
class CanaryError(Exception): pass
class CanaryBase(BaseException): pass
class CanaryArray:
    def __init__(self, error): self.error = error
    def __array__(self, *_, **__): raise self.error
"""

CASES: dict[str, Case] = {
    # CSV
    "Telegraf's CSV": csv("1458229140,weather,garden-of-anna,30.0,100\n" * 40, BAD, DATA_LIKE, DATA_LIKE),
    "numpy.savetxt": csv("8.675309e+00,3.1337e+00,0.0\n" * 40, BAD, DATA_LIKE, DATA_LIKE),
    "InfluxDB's line protocol": csv(
        "weather,location=garden-of-anna heat=8675309 1465839830100400200\n" * 40,
        BAD,
        "line protocol",
        "line 1 is InfluxDB's line protocol",
    ),
    "a first row of text": csv(
        "canary-1,canary-2,canary-3\n" + ROWS,
        WRONG,
        "the columns are canary-1, canary-2, canary-3",
        "there is no column 'heat' (2 of the task's 2 features are missing)",
    ),
    "values twice in the first row": csv("8675309,8675309,walk\n" * 40, BAD, DATA_LIKE, DATA_LIKE),
    "a name twice": csv(
        "heat,canary,canary,rain,label,rain\n" + "8675309,1,2,3,dry,31337\n" * 40,
        BAD,
        "line 1: column 'rain' occurs twice",
        "line 1, column 'rain': columns 4 and 6 have one name",
    ),
    "a label twice": csv(
        "heat,rain,label,label\n" + "8675309,1,canary,dry\n" * 40,
        WRONG,
        "columns 3 and 4 have the name",
        "no column or array with each row's class",
    ),
    "other columns": csv(
        "heat,canary,label\n" + ROWS, WRONG, "the columns are heat, canary, label", "no column 'rain'"
    ),
    "no label": csv(
        "heat,rain,canary\n" + ROWS, WRONG, "the columns are heat, rain, canary", "each row's class"
    ),
    "a label of another name": csv(
        HEADER + ROWS, WRONG, "there is no column 'canary'", more='label = "canary"'
    ),
    "a series of another name": csv(
        HEADER + ROWS, BAD, "there is no column 'canary'", more='series = "canary"'
    ),
    "a cell of text": csv(
        HEADER + ROWS + "1,canary,wet\n",
        BAD,
        "line 42, column 'rain'",
        "line 42, column 'rain': not a number",
    ),
    "an infinite cell": csv(HEADER + ROWS + "1,8675309e99,wet\n", BAD, "column 'rain': infinite", "line 42"),
    "a missing cell": csv(
        HEADER + ROWS + "8675309,,wet\n", BAD, "column 'rain' is missing", "line 42: column 'rain'"
    ),
    "a missing label": csv(
        HEADER + ROWS + "8675309,1,\n", BAD, "the answer is missing", "line 42: the answer"
    ),
    "an unknown class": csv(
        HEADER + ROWS + "1,1,canary\n", BAD, "line 42: column 'label'", "they are dry, wet"
    ),
    "a cell too many": csv(
        HEADER + ROWS + "1,1,wet,canary\n" * 3,
        BAD,
        "line 42: has 4 cells",
        "line 42: has 4 cells, the header has 3 columns (3 of 43 rows cannot be read, more than [data] max",
    ),
    "Latin-1": csv(HEADER.encode() + b"canary\xe9,1,wet\n", BAD, "line 2: not UTF-8", "line 2: not UTF-8"),
    "an open quote": csv(
        HEADER + ROWS + '1,1,"canary\n' * 3, BAD, "not closed", "line 42: not CSV (3 of 43 rows"
    ),
    "NUL bytes": csv(
        HEADER + "canary\0\n" * 3 + ROWS,
        BAD,
        "line 2: NUL bytes",
        "NUL bytes, perhaps from a power cut (3 of 43 rows",
    ),
    "semicolons": csv(
        "heat;canary\n" + "1;2\n" * 40, WRONG, "columns are heat, canary", "there is no column 'rain'"
    ),
    "spaces": csv("8675309 31337.5\n1 2\n", BAD, DATA_LIKE, DATA_LIKE),
    "commas that may be anything": csv(
        "heat;rain;label\n" + "8,675;31,337;canary\n" * 40,
        BAD,
        "[data] decimal",
        "column 'heat': a comma before",
    ),
    "Parquet": csv(b"PAR1canary", BAD, "read_parquet", "this is no CSV but a Parquet file"),
    "JSON lines": csv(
        '{"heat": 8675309, "canary": "anna"}\n' * 40, WRONG, "are heat, canary", "no column 'rain'"
    ),
    "JSON that is no object": csv(
        '{"heat": 8675309, "rain": "canary"\n' * 40, BAD, "line 1: not a JSON object", "(40 of 40 rows"
    ),
    "times that are none": csv(
        HEADER + ROWS.replace("0.5", "canary"),
        BAD,
        "column 'rain': no cell",
        "no cell of the column",
        more='time = "rain"',
    ),
    "a time of another name": csv(HEADER + ROWS, BAD, "no column 'canary'", more='time = "canary"'),
    "empty": csv("", BAD, "is empty", "is empty"),
    "a header alone": csv("canary,anna\n", BAD, "no rows yet", "no rows yet"),
    "too few": csv(HEADER + ROWS[:40], FEW, "the minimum is 20", "the minimum is 20"),
    "too many for the names given": csv(
        ROWS,
        BAD,
        "[data] columns names 2 columns",
        "line 1: has 3 cells",
        more='columns = ["canary", "anna"]',
    ),
    "names of the owner's": csv(
        ROWS,
        WRONG,
        "the columns are canary, rain, label",
        "'heat'",
        more='columns = ["canary", "rain", "label"]',
    ),
    "names in another order": csv(
        "canary,anna\n1,2\n", BAD, "in another order", "line 1", more='columns = ["anna", "canary"]'
    ),
    "not there": Case({}, BAD, "home/anna/canary.csv: there is no such file", "is not there"),
    "a folder by the file's name": Case({"canary.csv/x": ""}, BAD, "holds no file", "holds no file"),
    "a folder of values": folder(
        {"anna-1.csv": HEADER + ROWS, "anna-2.csv": "21.7,31337,canary\n" * 9},
        BAD,
        "anna-2.csv: " + DATA_LIKE,
        DATA_LIKE,
    ),
    "a folder of other columns": folder(
        {"anna-1.csv": HEADER + ROWS, "anna-2.csv": "heat,canary,label\n1,2,wet\n"},
        BAD,
        "there is no column 'rain', which",
        "line 1, column 'rain': the files of the folder have different columns",
    ),
    "a folder of nothing": folder(
        {}, BAD, "home/anna/canaries: the folder holds no file", "no file whose name"
    ),
    "a file that is a folder": folder({"anna.csv/x": ""}, BAD, "anna.csv: cannot be read", "cannot be read"),
    # NPZ
    "no archive": npz(b"canary,anna\n", BAD, "canary.npz: not a NumPy archive", "no NumPy archive"),
    "no X": npz({"canary": np.ones(3)}, BAD, "its arrays are canary", "no array X, but 1 others"),
    "X of text": npz({**ARRAYS, "X": np.full((40, 2), "canary")}, BAD, "got <U6", "X must be numbers"),
    "objects": npz({**ARRAYS, "y": np.array(["canary", None] * 20)}, BAD, "array y", "Python objects"),
    "names twice": npz(
        {**ARRAYS, "features": ["canary"] * 2}, BAD, "features: 'canary' occurs twice", "columns 0 and 1"
    ),
    "other names": npz(
        {**ARRAYS, "features": ["heat", "canary"]}, WRONG, "are heat, canary", "no column 'rain'"
    ),
    "an unknown class of text": npz({**ARRAYS, "y": ["dry", "canary"] * 20}, BAD, "row 1: y", "row 1"),
    "an infinite value": npz(
        {**ARRAYS, "X": np.full((40, 2), np.inf)}, BAD, "row 0, column 0", "row 0, column 0"
    ),
    "labels that are no numbers": npz(
        {**ARRAYS, "y": ["canary"] * 40},
        WRONG,
        "it is text",
        "y must hold the targets dew, frost",
        learns=TARGETS,
    ),
    "too few targets": npz(
        {**ARRAYS, "y": np.full(40, 31337.5)}, WRONG, "y has shape (40,)", "2 targets", learns=TARGETS
    ),
    "series of another length": npz(
        {**ARRAYS, "series": ["canary"] * 3}, BAD, "series has 3 rows", "series has 3 rows"
    ),
    # functions
    "raises": function(
        RAISING + "def canary_read(): raise CanaryError('canary')",
        BAD,
        "raised CanaryError at",
        "raised an exception",
    ),
    "raises what is no exception": function(
        RAISING + "def canary_read(): raise CanaryBase('canary')",
        BAD,
        "raised CanaryBase at",
        "raised an exception",
    ),
    "is cancelled": function(
        "import asyncio\ndef canary_read(): raise asyncio.CancelledError('canary')",
        BAD,
        "raised CancelledError",
    ),
    "interrupts itself": function(
        "def canary_read(): raise KeyboardInterrupt('canary')", BAD, "KeyboardInterrupt"
    ),
    "leaves": function("def canary_read(): raise GeneratorExit('canary')", BAD, "raised GeneratorExit"),
    "exits": function("import sys\ndef canary_read(): sys.exit('canary')", BAD, "raised SystemExit"),
    "has no memory": function(
        "def canary_read(): raise MemoryError('canary')", BAD, "raised MemoryError at", "raised an"
    ),
    "cannot be imported": function(
        "raise RuntimeError('canary')", BAD, "importing canary_", "cannot be imported"
    ),
    "wants a module": function(
        "import canary_of_anna", BAD, "no module 'canary_of_anna'", "cannot be imported"
    ),
    "is no Python": function("def canary(:", BAD, "SyntaxError at", "cannot be imported"),
    "is not there": function("canary = 1", BAD, "canary_read does not exist in", "does not exist"),
    "returns something else": function(
        RAISING + "def canary_read(): return CanaryError('canary')",
        BAD,
        "got a CanaryError",
        "must return (X, y)",
    ),
    "an array that raises": function(
        RAISING + "def canary_read(): return CanaryArray(CanaryError('canary')), [0]",
        BAD,
        "X: to convert it raised CanaryError at",
        "X cannot be converted",
    ),
    "labels that raise": function(
        RAISING + "def canary_read(): return [[1.0]], CanaryArray(CanaryBase('canary'))",
        BAD,
        "y: to convert it raised CanaryBase at",
        "y cannot be converted",
    ),
    "an object among numbers": function(
        RAISING + "def canary_read(): return [[1.0, CanaryError('canary')]], [0]",
        BAD,
        "X holds a CanaryError at (0, 1)",
        "X cannot be converted",
    ),
    "a class of the owner's": function(
        "def canary_read(): return [[1.0, 2.0]] * 40, ['dry', 'canary'] * 20",
        BAD,
        "row 1: y names none",
        "row 1",
    ),
}


def lay_out(place: Path, case: Case) -> AgentSettings:
    """The user's folder, with the case's files."""
    home = place / FOLDER
    home.mkdir(parents=True)
    module = f"m{abs(hash(str(place)))}"  # modules stay loaded
    for name, content in case.files.items():
        path = home / name.replace("MODULE", module)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict):
            np.savez(path, **content)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    text = f'federation = "lab"\ndevice = "pi-1"\n[data]\n{case.data}\n'.replace("MODULE", module)
    (home / "agent.toml").write_text(text)
    return AgentSettings.load(home / "agent.toml", {})
