"""`fedge-agent predict --score`: how good the held model is on rows whose answers are known."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.__main__ import main
from agent.data.model_scores import score
from fedge.errors import DataError
from tests.agent.test_predict import CLASSIFIER, LINE, LN9, REGRESSION, STEP, hold, model, settings_in
from tests.wording import assert_tells, telling


def scored(folder: Path, content: str, missing: str = "refuse") -> dict[str, Any]:
    (folder / "old.csv").write_text(content)
    out = io.StringIO()
    score(settings_in(folder, missing), folder / "old.csv", out, as_json=True)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def test_a_classifier_is_scored_by_class(tmp_path: Path) -> None:
    hold(tmp_path, CLASSIFIER, STEP)  # run above u = 10, walk below and at it
    found = scored(tmp_path, "u,v,label\n12,0,run\n11,0,run\n8,0,run\n7,0,walk\n13,0,walk\n6,0,walk\n")
    assert (found["generation"], found["round"], found["rows"]) == (2, 7, 6)
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["confusion"] == [[2, 1], [1, 2]]
    assert [one["recall"] for one in found["classes"]] == pytest.approx([2 / 3, 2 / 3])


def test_a_regression_is_scored_in_its_own_unit(tmp_path: Path) -> None:
    hold(tmp_path, REGRESSION, LINE)  # 155 and 105
    found = scored(tmp_path, "u,v,speed\n1,2,158\n0,0,101\n")
    (speed,) = found["targets"]
    assert speed["rmse"] == pytest.approx(12.5**0.5)
    assert speed["mae"] == pytest.approx(3.5)
    assert speed["rmse_mean"] == pytest.approx(28.5)


def test_rows_that_no_figure_counts_are_counted(tmp_path: Path) -> None:
    hold(tmp_path, CLASSIFIER, STEP)
    found = scored(tmp_path, "u,v,label\n12,0,run\n,0,run\n8,0,\n", "drop")
    assert (found["rows"], found["incomplete"], found["unlabelled"]) == (1, 1, 1)
    found = scored(tmp_path, "u,v,label\n12,0,run\n,0,walk\n8,0,\n", "fill")  # u is 10 then: walk
    assert (found["rows"], found["incomplete"], found["unlabelled"]) == (2, 0, 1)
    assert found["accuracy"] == 1
    with pytest.raises(DataError, match=telling("old.csv: line 3: column 'u' ")):
        scored(tmp_path, "u,v,label\n12,0,run\n,0,walk\n")
    found = scored(tmp_path, "u,v,label\n12,0,run\n8,0,\n")  # an answer that is not known refuses nothing
    assert (found["rows"], found["unlabelled"]) == (1, 1)


def test_what_overflows_has_no_answer(tmp_path: Path) -> None:
    hold(tmp_path, CLASSIFIER, model(1e30, LN9, -1e30, 0, 0, 0))
    found = scored(tmp_path, "u,v,label\n12,0,walk\n3e38,-3e38,run\n")
    assert (found["rows"], found["unanswered"], found["accuracy"]) == (2, 1, 0.5)
    hold(tmp_path, REGRESSION, model(1e30, 2, 0))
    with pytest.raises(DataError, match=r"no answer.* 1 row"):
        scored(tmp_path, "u,v,speed\n1e38,0,7\n")


def test_files_without_usable_answers_are_explained(tmp_path: Path) -> None:
    hold(tmp_path, CLASSIFIER, STEP)
    with pytest.raises(DataError, match=telling("old.csv: ", "column 'label'")):
        scored(tmp_path, "u,v\n12,0\n")
    with pytest.raises(DataError, match=r"old\.csv: line 3: column 'label' .*classes"):
        scored(tmp_path, "u,v,label\n12,0,run\n12,0,fly\n")
    with pytest.raises(DataError, match=telling("none of the 1 row")):
        scored(tmp_path, 'u,v,label\n12,0,""\n')
    hold(tmp_path, REGRESSION, LINE)
    with pytest.raises(DataError, match=telling("old.csv: ", "column 'speed'")):
        scored(tmp_path, "u,v\n12,0\n")


def test_an_archive_has_its_answers_in_y(tmp_path: Path) -> None:
    hold(tmp_path, REGRESSION, LINE)
    np.savez(tmp_path / "old.npz", X=[[1, 2], [0, 0]], y=[155, 105])
    out = io.StringIO()
    score(settings_in(tmp_path), tmp_path / "old.npz", out, as_json=True)
    assert json.loads(out.getvalue())["targets"][0]["rmse"] == pytest.approx(0, abs=1e-4)


def test_the_program_scores_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hold(tmp_path, CLASSIFIER, STEP)
    settings_in(tmp_path)
    (tmp_path / "old.csv").write_text("u,v,label\n12,0,run\n8,0,run\n")
    config = ["--config", str(tmp_path / "agent.toml")]
    assert main(["predict", str(tmp_path / "old.csv"), "--score", *config]) == 0
    told = capsys.readouterr().out
    assert_tells(told.splitlines()[0], "round 2.7: ", "accuracy 0.500", "2 rows", "'run'", "1.000")
    assert main(["predict", str(tmp_path / "old.csv"), *config]) == 0
    assert capsys.readouterr().out.startswith("row,class,probability\n")


def test_numbers_that_mean_no_reading_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hold(tmp_path, CLASSIFIER, STEP)
    scored(tmp_path, "u,v,label\n" + "12,0,run\n8,0,walk\n" * 15)
    assert caplog.messages == []
    scored(tmp_path, "u,v,label\n" + "12,0,run\n8,0,walk\n" * 15 + "-9999,0,run\n" * 3)
    assert any(re.search(telling("column 'u' ", "-9999 3 "), message) for message in caplog.messages)
