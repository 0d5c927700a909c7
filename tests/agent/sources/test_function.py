"""Functions of the owner's as a source. Every error names the function; never a value."""

from pathlib import Path

import pytest

from agent.settings.sources import CsvSettings, NpzSettings, PythonSettings
from agent.sources import CsvSource, FunctionSource, NpzSource, Samples, open_source
from fedge.errors import DataError
from tests.agent.sources.files import SECRET
from tests.wording import assert_tells, telling

# Python functions


def function_of(folder: Path, code: str, name: str = "read") -> Samples:
    """Run a module of the code; its name is the folder's, for modules stay loaded."""
    module = f"loader_{abs(hash(str(folder)))}"
    (folder / f"{module}.py").write_text(code)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.path", ["/nowhere"])
        return FunctionSource(f"{module}:{name}", folder).read()


def test_function_is_called_at_each_read(tmp_path: Path) -> None:
    code = """
n = 3
def read():
    global n
    n += 1
    return [[1, 2]] * n, ['a'] * n, list(range(n))
"""
    samples = function_of(tmp_path, code)
    assert samples.X.shape == (4, 2)
    assert samples.series.tolist() == [0, 1, 2, 3]
    assert len(function_of(tmp_path, code).X) == 5
    source = FunctionSource("math:pi")
    assert source.fingerprint() != source.fingerprint()


def test_function_results_are_copied(tmp_path: Path) -> None:
    samples = function_of(
        tmp_path, "import numpy as np\nX = np.ones((3, 2), np.float32)\ndef read():\n    return X, [0, 1, 0]"
    )
    samples.X[:] = 7
    again = function_of(tmp_path, (tmp_path / next(tmp_path.glob("loader_*.py")).name).read_text())
    assert again.X.max() == 1


BROKEN_FUNCTIONS: dict[str, tuple[str, list[str]]] = {
    "syntax": ("def read(:", ["loader_{n}", "SyntaxError"]),
    "import raises": ("1 / 0", ["loader_{n}", "ZeroDivisionError"]),
    "imports what is not there": (
        "import no_such_thing",
        ["'no_such_thing'", "{folder}"],
    ),
    "no function": ("x = 1", ["read ", "{folder}/loader_{n}.py"]),
    "not a function": ("read = 3", ["read ", "function", "{folder}/loader_{n}.py"]),
    "takes arguments": ("def read(a): pass", ["TypeError"]),
    "raises": (
        f"def read():\n    raise ValueError('{SECRET}')",
        ["ValueError", "{folder}/loader_{n}.py:2"],
    ),
    "exits": ("import sys\ndef read():\n    sys.exit(3)", ["SystemExit", "{folder}/loader_{n}.py:3"]),
    "returns nothing": ("def read(): pass", ["(X, y)", "(X, y, series)", "NoneType"]),
    "returns X alone": (
        "def read(): return [[1, 2]],",
        ["(X, y)", "(X, y, series)", "tuple of 1"],
    ),
    "returns four": (
        "def read(): return 1, 2, 3, 4",
        ["(X, y)", "(X, y, series)", "tuple of 4"],
    ),
    "ragged": ("def read(): return [[1, 2], [3]], [0, 1]", ["X ", "rows", "length"]),
    "wrong lengths": ("def read(): return [[1, 2], [3, 4]], [0]", ["y ", "1 rows", "X ", "2"]),
}


@pytest.mark.parametrize(("code", "facts"), BROKEN_FUNCTIONS.values(), ids=BROKEN_FUNCTIONS.keys())
def test_broken_functions_are_explained(tmp_path: Path, code: str, facts: list[str]) -> None:
    number = str(abs(hash(str(tmp_path))))
    with pytest.raises(DataError) as caught:
        function_of(tmp_path, code)
    told = [fact.format(n=number, folder=tmp_path) for fact in facts]
    assert_tells(str(caught.value), f"loader_{number}:read: ", *told)
    assert SECRET not in str(caught.value)


def test_function_of_a_module_that_is_not_there() -> None:
    with pytest.raises(DataError, match=telling("no_module_here:f: ", "'no_module_here'")):
        FunctionSource("no_module_here:f").read()


def test_the_configuration_opens_its_source(tmp_path: Path) -> None:
    path = tmp_path / "d"
    assert open_source(CsvSettings(source="csv", path=path, series="s")) == CsvSource(path, "label", "s")
    assert open_source(NpzSettings(source="npz", path=path)) == NpzSource(path)
    assert open_source(PythonSettings(source="python", callable="a:b", path=path)) == FunctionSource(
        "a:b", path
    )
