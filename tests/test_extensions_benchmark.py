"""The benchmark of additions checks all parts, and counts what a trial touches."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import extensions
from benchmarks.extensions import TRIALS, Checked, Tried, attempt, check_all, report, table
from fedge.algorithms.local.sgd import Sgd
from fedge.algorithms.registry import Entry, registered

FEDPROX = next(trial for trial in TRIALS if trial.part == "proximal")


@pytest.mark.slow
def test_every_registered_part_keeps_its_laws() -> None:
    checked = check_all()
    assert {part.kind for part in checked} >= {"codec", "local", "personal", "server", "trainer"}
    assert [part for part in checked if part.broken] == []


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.part)
def test_each_trial_names_a_place_that_is_free(trial: extensions.Trial) -> None:
    if trial.kind not in extensions.REGISTRIES:
        pytest.skip("there is no registry of this kind yet")
    assert (extensions.ROOT / trial.place).parent.is_dir()
    assert not (extensions.ROOT / trial.place).exists()


@pytest.mark.slow
def test_an_addition_touches_one_file_and_learns_there() -> None:
    tried = attempt(FEDPROX, 2)
    assert (tried.failed, tried.files) == ("", 1)
    assert tried.met
    assert tried.loss[-1] < tried.loss[0]
    assert not (extensions.ROOT / FEDPROX.place).exists(), "the trial is dropped"


@pytest.mark.slow
def test_a_trial_that_fails_tells_why() -> None:
    tried = attempt(replace(FEDPROX, part="nobody's"), 1)
    assert not tried.met
    assert tried.failed
    assert not attempt(replace(FEDPROX, example="nobody"), 1).met


@pytest.mark.slow
def test_a_part_that_is_named_and_not_used_fails() -> None:
    """What is called FedProx here is what learns without it."""
    trial = replace(FEDPROX, options={})
    with registered(Entry("local", FEDPROX.part, Sgd)), pytest.raises(SystemExit):
        extensions.one(trial, 2)


def test_files_that_were_added_changed_or_removed_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in extensions.PRODUCTION:
        (tmp_path / "tree" / name).mkdir(parents=True)
        for file in ("a.py", "b.py", "c.py"):
            (tmp_path / "tree" / name / file).write_text(name)
    monkeypatch.setattr(extensions, "ROOT", tmp_path / "tree")
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "tree", copy)
    assert extensions._differing(copy) == set()
    (copy / "fedge" / "a.py").write_text("changed")
    (copy / "agent" / "b.py").unlink()
    (copy / "fleet" / "new.py").touch()
    assert extensions._differing(copy) == {Path("fedge/a.py"), Path("agent/b.py"), Path("fleet/new.py")}


def test_a_breach_or_a_second_file_misses_the_goal() -> None:
    kept, broken = Checked("codec", "a", 0.1, ""), Checked("codec", "b", 0.1, "length: too long")
    one, two = (Tried("x", files, (1.0, 0.5), "") for files in (1, 2))
    assert report([kept], [one])["met"]
    assert not report([kept, broken], [one])["met"]
    assert not report([kept], [one, two])["met"]
    assert not report([kept], [replace(one, loss=(0.5, 1.0))])["met"]
    json.dumps(report([kept, broken], [one, two]))
    assert "length: too long" in table([kept, broken], [one, two])
