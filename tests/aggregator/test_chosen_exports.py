"""The files of the chosen model, and of the other one beside it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from aggregator.aggregation import outcome
from aggregator.aggregation.models import blob_of
from aggregator.core.choice import How, choose
from aggregator.core.federation import Federation, Stage
from aggregator.core.progress import Progress, progress_of
from aggregator.export import model_files
from aggregator.export.chosen_model import choice_entry, job_of
from aggregator.export.exporter import Exporter
from aggregator.export.job import Exported, Job
from aggregator.export.manifest import MANIFEST, ONNX
from aggregator.ledger.layout import KEPT
from aggregator.ledger.records import LedgerMeta
from aggregator.ledger.writing import Ledger
from fedge.wire.freshness import RoundId
from fedge.wire.messages.message import pack
from fedge.wire.models import model_message
from tests.aggregator.stories import EVERYBODY, TASK, P, federation
from tests.wording import assert_tells

LOSSES = (0.9, 0.3, 0.5, 0.6)
"""Of the models of rounds 0 to 3, as rounds 1 to 4 tell them."""


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    """Five models, of which the second is the best one."""
    ledger = Ledger(tmp_path / "ledger.db")
    with ledger.transaction():
        ledger.begin_generation(LedgerMeta(b"l" * 16, 1, "{}"))
        task = blob_of(pack(TASK), 0)
        ledger.save_content("task", RoundId(1, 0), task, pack(TASK))
        for number in range(5):
            here, data = RoundId(1, number), data_of(number)
            ledger.save_round(here, "train" if number else "survey", 0, (EVERYBODY,), 0.0)
            ledger.save_content("model", here, blob_of(data, number % 2), data)
            summary = {"seconds": 3.0, "loss": number / 10, "weight_change": 1.0}
            summary |= {"held_loss": LOSSES[number - 1]} if number else {}
            digest = blob_of(data, 0).digest
            ledger.close_round(here, digest, 3, 30, summary, 1.0, "mean/1", task.digest)
    yield ledger
    ledger.close()


def data_of(number: int) -> bytes:
    return model_message(RoundId(1, number), np.full(P, number, np.float32))


def progress(*losses: float | None) -> Progress:
    rounds = [{"weight_change": 1.0, **({"held_loss": x} if x is not None else {})} for x in losses]
    return progress_of([("train", each) for each in rounds], "loss")


def state(**changes: Any) -> Federation:
    after = {"round": RoundId(1, 5), "model": blob_of(data_of(4), 0), "progress": progress(*LOSSES)}
    return federation(**{**after, **changes})


def chosen(ledger: Ledger, state: Federation, until: RoundId, how: How) -> Job:
    job = job_of(ledger, state, until, how)
    assert job is not None
    return job


def exported(job: Job, folder: Path, exporter: Exporter | None = None) -> Exported:
    return (exporter or Exporter("greenhouse", folder, lambda _: None))._export(job)


def read(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    return manifest


def round_of(folder: Path) -> int:
    """Which round's the ONNX file is, by its own words."""
    model = onnx.load(folder / ONNX)
    return int({each.key: each.value for each in model.metadata_props}["round"])


@pytest.mark.parametrize(("told", "measured"), [({"held_loss": 0.7}, True), ({"bytes_up": 0.0}, False)])
def test_the_newest_is_measured_only_if_somebody_told_figures_of_it(
    told: dict[str, float], *, measured: bool
) -> None:
    """The round that asks for them is over at its deadline, whoever has answered."""
    now = progress(*LOSSES).after_measuring(told)
    manifest = choice_entry(choose(now, range(6), "best"), now)
    assert manifest["choice"]["newest"] == {"round": 4, "measured": measured}


def test_the_best_model_is_exported_and_the_newest_lies_beside_it(ledger: Ledger, tmp_path: Path) -> None:
    job = chosen(ledger, state(), RoundId(1, 4), "best")
    assert (job.round, job.until, job.digest) == (RoundId(1, 1), RoundId(1, 4), blob_of(data_of(1), 0).digest)
    np.testing.assert_array_equal(job.vector, np.ones(P))
    exported(job, tmp_path)
    assert (round_of(tmp_path), round_of(tmp_path / "newest")) == (1, 4)
    best, newest = read(tmp_path), read(tmp_path / "newest")
    assert (best["round"], best["measured"]) == (1, {"held_loss": 0.3})
    assert_tells(best["choice"].pop("why"), "best", "held-out loss 0.3000")
    assert best["choice"] == {
        "choose": "best",
        "by": "held_loss",
        "best": {"round": 1, "value": 0.3},
        "newest": {"round": 4, "measured": False},
    }
    assert (newest["round"], newest["measured"]) == (4, None)


def test_the_newest_model_is_exported_and_the_best_lies_beside_it(ledger: Ledger, tmp_path: Path) -> None:
    exported(chosen(ledger, state(), RoundId(1, 4), "newest"), tmp_path)
    assert (round_of(tmp_path), round_of(tmp_path / "best")) == (4, 1)
    assert not (tmp_path / "newest").exists()
    assert_tells(read(tmp_path)["choice"]["why"], "newest", "[export] choose")
    assert read(tmp_path / "best")["measured"] == {"held_loss": 0.3}


def test_what_was_measured_at_the_end_stands_in_both_manifests(ledger: Ledger, tmp_path: Path) -> None:
    after = progress(*LOSSES).after_measuring({"held_loss": 0.4, "accuracy": 0.75})
    done = state(progress=after, stage=Stage.DONE)
    job = chosen(ledger, done, RoundId(1, 5), "best")
    assert (job.round, job.until, job.last) == (RoundId(1, 1), RoundId(1, 5), True)
    exported(job, tmp_path)
    assert read(tmp_path)["choice"]["newest"] == {"round": 4, "measured": True}
    assert read(tmp_path / "newest")["measured"] == {"held_loss": 0.4, "accuracy": 0.75}
    better = state(progress=progress(*LOSSES).after_measuring({"held_loss": 0.2}), stage=Stage.DONE)
    assert chosen(ledger, better, RoundId(1, 5), "best").round == RoundId(1, 4)


@pytest.mark.parametrize("how", ["best", "newest"])
def test_where_nothing_is_measured_it_is_the_newest(ledger: Ledger, tmp_path: Path, how: How) -> None:
    exported(chosen(ledger, state(progress=progress(*[None] * 4)), RoundId(1, 4), how), tmp_path)
    assert round_of(tmp_path) == 4
    assert (read(tmp_path)["measured"], read(tmp_path)["choice"]["best"]) == (None, None)
    assert not (tmp_path / "best").exists()


def begin_anew(ledger: Ledger, *, kind: str = "survey", trained: int = 0) -> None:
    """Generation 2, with the model of its beginning and of so many rounds of training."""
    with ledger.transaction():
        ledger.begin_generation(LedgerMeta(b"l" * 16, 2, "{}"))
        for number in range(1 + trained):
            here, data = RoundId(2, number), model_message(RoundId(2, number), np.full(P, 9.0, np.float32))
            ledger.save_round(here, "train" if number else kind, 0, (EVERYBODY,), 0.0)
            ledger.save_content("model", here, blob_of(data, number % 2), data)
            summary = {"seconds": 3.0, "held_loss": 2.0}
            ledger.close_round(here, blob_of(data, 0).digest, 3, 30, summary, 1.0, "mean/1")


def anew(number: int, *losses: float | None) -> Federation:
    model = blob_of(model_message(RoundId(2, number), np.full(P, 9.0, np.float32)), number % 2)
    return state(round=RoundId(2, number + 1), model=model, progress=progress(*losses))


@pytest.mark.parametrize(("how", "kept", "beside"), [("best", 1, "newest"), ("newest", 4, "best")])
def test_first_weights_do_not_take_the_place_of_a_good_model(
    ledger: Ledger, tmp_path: Path, how: How, kept: int, beside: str
) -> None:
    """A new generation begins with a survey: what was exported before stays until somebody has trained."""
    begin_anew(ledger)
    for _ in range(2):  # and a restart in between changes nothing: it is computed from the ledger
        job = chosen(ledger, anew(0), RoundId(2, 0), how)
        assert (job.round, job.until, job.last) == (RoundId(1, kept), RoundId(2, 0), False)
        exported(job, tmp_path)
        assert (read(tmp_path)["generation"], read(tmp_path)["round"], round_of(tmp_path)) == (1, kept, kept)
        assert_tells(read(tmp_path)["choice"]["why"], "generation 2 ")
        assert read(tmp_path / beside)["generation"] == 1
    begin_anew(ledger, trained=1)
    exported(chosen(ledger, anew(1, 2.0), RoundId(2, 1), how), tmp_path)
    assert (read(tmp_path)["generation"], read(tmp_path)["round"]) == (2, 1)


@pytest.mark.parametrize("how", ["best", "newest"])
def test_of_a_generation_that_began_with_a_good_model_that_is_exported_at_once(
    ledger: Ledger, tmp_path: Path, how: How
) -> None:
    """Whoever goes back from a bad model wants it replaced."""
    begin_anew(ledger, kind=KEPT)
    assert chosen(ledger, anew(0), RoundId(2, 0), how).round == RoundId(2, 0)
    begin_anew(ledger, kind=KEPT, trained=1)
    best = chosen(ledger, anew(1, 0.1), RoundId(2, 1), "best")  # the model it began with was measured
    assert best.round == RoundId(2, 0)


def test_of_the_first_generation_the_first_weights_are_all_there_is(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "new.db")
    data = model_message(RoundId(1, 0), np.full(P, 9.0, np.float32))
    with ledger.transaction():
        ledger.begin_generation(LedgerMeta(b"l" * 16, 1, "{}"))
        ledger.save_round(RoundId(1, 0), "survey", 0, (EVERYBODY,), 0.0)
        ledger.save_content("model", RoundId(1, 0), blob_of(data, 0), data)
        ledger.close_round(RoundId(1, 0), blob_of(data, 0).digest, 3, 30, {}, 1.0, "mean/1")
    first = state(round=RoundId(1, 1), model=blob_of(data, 0), progress=Progress())
    assert chosen(ledger, first, RoundId(1, 0), "best").round == RoundId(1, 0)
    ledger.close()


def test_where_the_ledger_keeps_no_good_model_the_files_stay_as_they_are(tmp_path: Path) -> None:
    """A ledger that was lost, and begun anew: the export's folder may hold a good model."""
    ledger = Ledger(tmp_path / "new.db")
    begin_anew(ledger)
    assert job_of(ledger, anew(0), RoundId(2, 0), "best") is None
    ledger.close()


@pytest.mark.timeout(20)
def test_generations_are_not_counted_through(ledger: Ledger) -> None:
    """The number of a generation that begins above what devices have seen may be any."""
    assert ledger.trained_before(2**40) == RoundId(1, 4)


def test_the_best_model_is_kept_until_a_new_generation_has_trained(ledger: Ledger) -> None:
    """Also where its round is older than those that are kept."""
    begin_anew(ledger)
    with ledger.transaction():
        ledger.retain(RoundId(2, 0), 2, 2**40, outcome._best(ledger, RoundId(2, 0), Progress()))
    assert ledger.kept_models(1) == [1, 3, 4]  # 3 is what round 4 began from
    assert chosen(ledger, anew(0), RoundId(2, 0), "best").round == RoundId(1, 1)
    begin_anew(ledger, trained=1)
    with ledger.transaction():
        ledger.retain(RoundId(2, 1), 2, 2**40, outcome._best(ledger, RoundId(2, 1), progress(2.0)))
    assert 1 not in ledger.kept_models(1)


def test_another_choice_takes_the_other_folder_away_and_nothing_that_is_not_ours(
    ledger: Ledger, tmp_path: Path
) -> None:
    exported(chosen(ledger, state(), RoundId(1, 4), "best"), tmp_path)
    (tmp_path / "newest" / "notes.txt").write_text("mine")
    exported(chosen(ledger, state(), RoundId(1, 4), "newest"), tmp_path)
    assert [path.name for path in (tmp_path / "newest").iterdir()] == ["notes.txt"]


def test_the_other_model_is_written_once(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    write = model_files.write
    monkeypatch.setattr(
        model_files, "write", lambda folder, *rest: (written.append(folder), write(folder, *rest))[1]
    )
    exporter = Exporter("greenhouse", tmp_path, lambda _: None)
    for _ in range(3):
        exported(chosen(ledger, state(), RoundId(1, 4), "newest"), tmp_path, exporter)
    assert written.count(tmp_path / "best") == 1
    assert written.count(tmp_path) == 3


def test_a_folder_that_cannot_be_written_withholds_no_chosen_model(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "newest").write_text("a file lies in the folder's place")
    done = exported(chosen(ledger, state(), RoundId(1, 4), "best"), tmp_path)
    assert (done.withheld, round_of(tmp_path)) == ("", 1)
    assert f"{tmp_path / 'newest'}" in caplog.text
