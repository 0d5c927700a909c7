"""The examples of parts from outside keep the laws of their kind, are found by name, and learn."""

import runpy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.sources.function import FunctionSource
from fedge import Algorithm, ConfigError, simulate
from fedge.algorithms.registry import REGISTRIES, load
from fedge.testing import check_codec, check_local, check_rule, check_server, check_trainer
from tests.fleet.library.fleets import CLASSIFIER, PLAN, fleet
from tests.wording import telling

FOLDER = Path(__file__).parents[3] / "examples"
LONGEST = 66
PARTS: dict[str, Callable[[Any], None]] = {
    "sparse": check_codec,
    "huber": check_rule,
    "fedadam": check_server,
    "proximal": check_local,
    "fedcm": check_local,
}


@pytest.mark.parametrize("path", sorted((FOLDER / "extend").glob("*.py")), ids=lambda path: path.stem)
def test_each_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("name", PARTS)
def test_each_part_is_found_by_module_and_attribute_and_keeps_the_laws(name: str) -> None:
    entry = load(f"examples.extend.{name}:ENTRY")
    try:
        PARTS[name](entry)
    finally:
        REGISTRIES[entry.kind].remove(entry.name)


def test_a_part_of_an_installed_package_is_found_by_the_name_of_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = tmp_path / "somebodys_codecs-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys-codecs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[fedge.extensions]\nsparse = examples.extend.sparse:ENTRY\n")
    monkeypatch.syspath_prepend(tmp_path)
    entry = load("sparse")
    try:
        assert REGISTRIES["codec"].make("sparse", {"share": 0.5}).max_bytes(10) == 40
    finally:
        REGISTRIES["codec"].remove(entry.name)
    with pytest.raises(ConfigError):
        load("dense")


def test_the_trainer_keeps_the_laws() -> None:
    from examples.extend.trainer import BoldDriver

    check_trainer(BoldDriver)


def test_the_source_is_read_by_module_and_function() -> None:
    samples = FunctionSource("examples.extend.source:read").read()
    assert samples.X.shape[1] == 3
    assert set(np.unique(samples.y)) == {0, 1}


@cache
def plain_weights(momentum: float) -> bytes:
    """What the built-in parts learn with this momentum."""
    plan = PLAN.model_copy(update={"momentum": momentum})
    return simulate(CLASSIFIER, fleet(), plan=plan, rounds=12, seed=2).model.weights.tobytes()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("proximal", {"mu": 0.05}),
        ("fedcm", {"share": 0.5}),
        ("sparse", {"share": 0.3}),
        ("huber", {"passes": 4}),
        ("fedadam", {"rate": 0.1}),
    ],
)
def test_a_federation_learns_with_each(name: str, options: dict[str, float]) -> None:
    entry = load(f"examples.extend.{name}:ENTRY")
    algorithm = Algorithm(**{entry.kind: entry.name}, options={entry.kind: options})
    still = PLAN.model_copy(update={"momentum": 0.0})  # what FedCM needs
    plan = still if name == "fedcm" else PLAN
    try:
        first, again = (
            simulate(CLASSIFIER, fleet(), algorithm, plan=plan, rounds=12, seed=2) for _ in range(2)
        )
    finally:
        REGISTRIES[entry.kind].remove(entry.name)
    assert first.model.weights.tobytes() == again.model.weights.tobytes()
    assert first.model.weights.tobytes() != plain_weights(plan.momentum)
    assert first.history[-1].accuracy is not None
    assert first.history[-1].accuracy > 0.85


def test_the_residual_of_the_sparse_codec_is_refused_where_the_result_is_no_sum() -> None:
    entries = [load(f"examples.extend.{name}:ENTRY") for name in ("sparse", "huber")]
    algorithm = Algorithm(codec="sparse", rule="huber")
    refused = telling('[plan] codec = "sparse"', '[rule] name = "huber"', '[rule] name = "mean"')
    try:
        with pytest.raises(ConfigError, match=refused):
            simulate(CLASSIFIER, fleet(), algorithm, plan=PLAN, rounds=1)
    finally:
        for entry in entries:
            REGISTRIES[entry.kind].remove(entry.name)


def test_the_notebook_runs_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    cells = runpy.run_path(str(FOLDER / "notebook.py"))
    assert cells["result"].history[-1].accuracy > 0.8
    assert np.mean(cells["model"].predict(cells["X"]) == cells["y"]) > 0.8
    table = capsys.readouterr().out
    assert all(row.kind in table for row in cells["result"].history)
