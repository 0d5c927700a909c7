"""Real samples to compare an exported file on: what is read, and what is wrong with a file."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.__main__ import main
from aggregator.export.exporter import Exporter
from aggregator.export.job import Exported, Job
from aggregator.export.validation_samples import MAX_ROWS, read_samples
from fedge.errors import ConfigError
from fedge.export import parity
from fedge.nn.probes import ROWS
from fedge.wire.freshness import RoundId
from tests.aggregator.stories import TASK
from tests.aggregator.test_config import GOOD, write

INPUTS = len(TASK.features)


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_the_first_rows_are_read_as_float64(tmp_path: Path) -> None:
    X = np.arange(2_000 * INPUTS).reshape(-1, INPUTS)
    samples = read_samples(saved(tmp_path / "s.npz", X=X, y=X), INPUTS)
    assert samples.dtype == np.float64
    np.testing.assert_array_equal(samples, X[:MAX_ROWS])


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, os.strerror(errno.ENOENT)),
    "no archive": (lambda path: path.write_text("1,2"), "NumPy"),
    "cut short": (lambda path: path.write_bytes(saved(path, X=np.ones((9, 2))).read_bytes()[:90]), "damaged"),
    "no X": (lambda path: saved(path, Y=np.ones((1, INPUTS))), " X"),
    "objects": (lambda path: saved(path, X=np.array([[{}]])), "NumPy"),
    "text": (lambda path: saved(path, X=np.array([["1"]])), f"(n, {INPUTS})"),
    "another width": (lambda path: saved(path, X=np.ones((3, INPUTS + 1))), f"(n, {INPUTS})"),
    "one row": (lambda path: saved(path, X=np.ones(INPUTS)), f"(n, {INPUTS})"),
    "empty": (lambda path: saved(path, X=np.ones((0, INPUTS))), "n ≥ 1"),
    "not finite": (lambda path: saved(path, X=[[1.0] * INPUTS, [np.nan] * INPUTS]), "row 1 "),
    "too large": (lambda path: saved(path, X=[[1e300] * INPUTS]), "row 0 "),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_used_is_named_with_what_is_wrong(name: str, tmp_path: Path) -> None:
    make, fact = BROKEN[name]
    path = tmp_path / "samples.npz"
    make(path)
    with pytest.raises(ConfigError) as caught:
        read_samples(path, INPUTS)
    assert str(caught.value).startswith(f"[export] samples: {path}: ")
    assert fact in str(caught.value).partition(f"{path}: ")[2]


def test_check_reads_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = write(tmp_path, GOOD + '[export]\nsamples = "samples.npz"\n')
    assert main(["--config", str(settings), "--check"]) == os.EX_CONFIG
    assert "[export] samples: " in capsys.readouterr().err
    saved(tmp_path / "samples.npz", X=np.ones((5, 2)))
    assert main(["--config", str(settings), "--check", "--json"]) == 0
    assert '"samples": 5' in capsys.readouterr().out


def test_each_export_is_compared_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Any] = []
    rows_of = parity.rows_of

    def noted(spec: Any, samples: Any) -> Any:
        rows = list(rows_of(spec, samples))
        compared.extend(one.X for one in rows)
        return rows

    monkeypatch.setattr(parity, "rows_of", noted)
    posted: list[Exported] = []
    real = np.full((3, INPUTS), 7, np.float32)
    exporter = Exporter("greenhouse", tmp_path, posted.append, real)
    vector = np.zeros(TASK.network.schema.size, np.float32)
    exporter.submit(Job(RoundId(1, 1), bytes(32), TASK, vector, {}, last=False))
    while not posted:
        exporter._thread.join(0.01)
    exporter.close()
    assert posted[0].withheld == ""
    np.testing.assert_array_equal(compared[0][-3:], real)
    assert len(compared[0]) == ROWS + 3
