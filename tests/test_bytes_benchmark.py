"""The benchmark of bytes counts real messages, keeps its runs, and judges codecs by those of `float32`."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import bytes_curves, bytes_runs
from benchmarks import bytes_to_accuracy as benchmark
from benchmarks.bytes_runs import (
    PLAIN,
    Composition,
    Fleet,
    Job,
    Kept,
    Run,
    digits,
    framed,
    of_equal_models,
    run,
    run_all,
)
from benchmarks.bytes_to_accuracy import COMPOSITIONS, Case, goals, loses_none, pairs, row
from fedge.errors import ConfigError

ROUNDS = 2
FLEET = digits("iid", ROUNDS, 0.5)
WEIGHTS = 64 * 200 + 200 + 200 * 10 + 10
"""15,010, of 64-200-10."""
CODED = Composition("int4", {"codec": "int4"}, models_of="int4, zlib")
ZLIB = Composition("int4, zlib", {"codec": "int4", "codec_options": {"entropy": "zlib"}})


@pytest.fixture(scope="module")
def plain() -> Run:
    return run(Job(FLEET, COMPOSITIONS[0], 1))


def made(name: str, seed: int, accuracy: tuple[float, ...], update: int) -> Run:
    """A run with two updates in each round, of a fleet of four devices."""
    count = len(accuracy)
    return Run(
        "f", name, seed, 4, 10, accuracy, (2 * update,) * count, (2 * 1_000,) * count, (2,) * count, "", 0.0
    )


def test_bytes_are_those_of_vectors_messages_and_frames(plain: Run) -> None:
    """The vector takes 4 bytes a weight, the rest of message and frame some hundreds; so does a model."""
    assert plain.weights == WEIGHTS
    assert plain.devices == 20
    assert len(plain.accuracy) == ROUNDS
    assert 4 * WEIGHTS + 200 < plain.update_bytes < 4 * WEIGHTS + 600
    assert 4 * WEIGHTS + 200 < plain.received_bytes < 2.1 * (4 * WEIGHTS + 5_000), "one more is followed"


def test_a_frame_has_fields_of_its_own_and_a_long_message_has_several_frames() -> None:
    """A frame holds 129,024 bytes, and has some 82 besides."""
    assert 60 < framed(1_000) - 1_000 < 100
    assert 3 * 60 < framed(3 * 129_024) - 3 * 129_024 < 3 * 100
    assert framed(3 * 129_024 + 1) - framed(3 * 129_024) > 60


def test_both_engines_count_the_same_and_make_the_same_models(plain: Run) -> None:
    """But for bytes of numbers, of which larger ones take more, and for models that are followed."""
    found = run(Job(replace(FLEET, engine="fast"), COMPOSITIONS[0], 1))
    assert found.accuracy == plain.accuracy
    assert found.updates == plain.updates
    assert found.update_bytes == pytest.approx(plain.update_bytes, abs=20)
    assert 4 * WEIGHTS < found.received_bytes <= plain.received_bytes


def test_a_codec_without_the_entropy_stage_has_the_models_of_the_one_with_it() -> None:
    """4,096 bits less a step for each 256 of 15,010 entries: 59 steps and 7,505 bytes of levels are 7,741."""
    kept = Kept(None)
    run_all([Job(FLEET, CODED, 1), Job(FLEET, ZLIB, 1)], kept, 1)
    coded, shortened = (kept.runs[FLEET.name, one.name, 1] for one in (CODED, ZLIB))
    assert coded.accuracy == shortened.accuracy
    assert 7_741 + 200 < coded.update_bytes < 7_741 + 600
    assert shortened.update_bytes < 0.9 * coded.update_bytes
    with pytest.raises(ConfigError, match="different models"):
        of_equal_models(replace(coded, accuracy=(0.0, 0.0)), shortened)


def test_a_run_that_is_kept_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder" / "runs.jsonl"
    job, run_ = Job(FLEET, COMPOSITIONS[0], 1), made(PLAIN, 1, (0.1, 0.2), 100)
    Kept(path).add(replace(run_, fleet=FLEET.name, settings=job.settings))
    with path.open("a") as file:
        file.write('{"fleet": "cut sho')
    Kept(path).add(replace(run_, seed=7))
    kept = Kept(path)
    assert sorted(key[2] for key in kept.runs) == [1, 7]
    assert kept.runs[job.key] == replace(run_, fleet=FLEET.name, settings=job.settings)
    monkeypatch.setattr(bytes_runs, "run", lambda *_: pytest.fail("it runs"))
    run_all([job], kept, 1)
    other = Job(replace(FLEET, rate=0.2), COMPOSITIONS[0], 1)
    assert not kept.has(other), "it is of another rate"


def test_a_row_has_bytes_and_rounds_to_the_target() -> None:
    """Two rounds of two updates of 100 bytes among four devices: 100 each until the second round's model."""
    plain = [made(PLAIN, seed, (0.5, 0.9, 0.9, 0.9, 0.9, 0.9), 400) for seed in (1, 2)]
    coded = [
        made("c", 1, (0.5, 0.9, 0.8, 0.8, 0.8, 0.8), 100),
        made("c", 2, (0.5, 0.9, 0.9, 0.9, 0.9, 0.9), 100),
    ]
    found = row(coded, plain, 0.9)
    assert (found.fewer, found.rounds) == (4.0, (2, 2))
    assert (found.up_bytes, found.down_bytes) == (100.0, 1_000.0)
    assert found.last == pytest.approx((0.82, 0.9))
    missed = row([coded[0], made("c", 2, (0.5,) * 6, 100)], plain, 0.9)
    assert missed.rounds == (2, None)
    assert missed.up_bytes is missed.down_bytes is None


@pytest.mark.parametrize(
    ("counts", "kept"),
    [
        ([(12, 10), (12, 10)], True),  # two more
        ([(12, 10), (13, 10)], False),
        ([(44, 40), (44, 40)], True),  # 10 % more
        ([(44, 40), (45, 40)], False),
    ],
)
def test_no_rounds_are_lost_within_two_or_a_tenth(counts: list[tuple[int, int]], kept: bool) -> None:
    assert loses_none(counts) is kept


def case(monkeypatch: pytest.MonkeyPatch, coded: tuple[float, ...], update: int) -> tuple[Case, Kept]:
    """Two compositions, with `float32` at .9 from the first round on."""
    monkeypatch.setattr(benchmark, "COMPOSITIONS", (COMPOSITIONS[0], Composition("c", {"codec": "int8"})))
    monkeypatch.setattr(benchmark, "PAIRED", (PLAIN, "c"))
    kept = Kept(None)
    for seed in (1, 2):
        kept.add(made(PLAIN, seed, (0.9,) * len(coded), 4_000))
        kept.add(made("c", seed, coded, update))
    fleet = Fleet("f", FLEET.study, 0.1, 0.9, len(coded))
    return Case(fleet, (1, 2), (1, 2), ((25.0, 0.005),)), kept


@pytest.mark.parametrize(
    ("coded", "update", "met"),
    [
        ((0.8, 0.8, *(0.896,) * 5, 0.9), 160, [False, True]),  # in round 8; .3 lower
        ((0.8, 0.9, *(0.896,) * 5), 160, [True, True]),  # in round 2
        ((0.8, 0.9, *(0.89,) * 5), 160, [True, False]),  # 1 point lower
        ((0.9,) * 5, 1_001, [False, False]),  # too many bytes for both
        ((0.9,) * 5, 1_000, [True, False]),
        ((0.8,) * 8, 160, [False, False]),  # it never comes there
    ],
)
def test_a_goal_is_met_by_a_codec_that_saves_and_keeps_the_condition(
    coded: tuple[float, ...], update: int, met: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, kept = case(monkeypatch, coded, update)
    assert [goal.met for goal in goals(asked, benchmark.rows(asked, kept), pairs(asked, kept))] == met


@pytest.mark.parametrize(
    ("received", "coded", "met"),
    [(285, (0.9,) * 5, True), (286, (0.9,) * 5, False), (285, (0.8,) * 5, False)],
)
def test_the_goal_of_bytes_down_is_met_by_a_codec_of_models_that_loses_no_rounds(
    received: int, coded: tuple[float, ...], met: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`float32` receives 1,000 bytes; 1,000 / 3.5 are 285.7."""
    asked, kept = case(monkeypatch, coded, 4_000)
    for seed in (1, 2):
        kept.add(replace(kept.runs["f", "c", seed], down=(2 * received,) * 5))
    asked = replace(asked, lower=(), down=3.5)
    _, goal = goals(asked, benchmark.rows(asked, kept), pairs(asked, kept))
    assert goal.met is met


def test_coded_models_take_fewer_bytes_down_and_both_engines_count_them(plain: Run) -> None:
    """int8 takes a byte a weight and four a block of 512: 15,130 for 15,010 weights."""
    coded = Composition("models int8", {"codec": "float32", "model_codec": "int8"})
    found = [run(Job(replace(FLEET, engine=engine, rounds=4), coded, 1)) for engine in ("cores", "fast")]
    assert found[0].accuracy == found[1].accuracy
    assert found[1].received_bytes < 0.9 * plain.received_bytes


def test_the_first_goal_has_five_seeds_and_three_fleets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "mnist", lambda split, *_: replace(FLEET, name=split))
    asked = benchmark.cases(["iid", "shards", "watch"], short=False)
    assert [one.fleet.name for one in asked] == ["iid", "shards", "watch"]
    for one in asked:
        seeds = {
            name: [job.seed for job in one.jobs() if job.composition.name == name]
            for name in (PLAIN, "drive")
        }
        assert seeds == {PLAIN: [1, 2, 3, 4, 5], "drive": [1, 2, 3]}


def test_the_plot_has_a_line_and_bars_for_each_codec() -> None:
    runs = [made("a & b", seed, (0.5, 0.9, 0.95), 100) for seed in (1, 2)]
    line = bytes_curves.line(runs)
    assert line.points == ((50.0, 0.5), (100.0, 0.9), (150.0, 0.95))
    bars = [bytes_curves.Bar("a & b", 100.0, 1_000.0, 2.0), bytes_curves.Bar("never", None, None, None)]
    drawn = bytes_curves.drawn([bytes_curves.Panel("f", 0.95, [line], bars)])
    root = ElementTree.fromstring(drawn)
    texts = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("a & b") == texts.count("never") == 1
    assert "2 rounds" in texts
    lines = [each.get("points") for each in root.iter("{http://www.w3.org/2000/svg}polyline")]
    assert [len((points or "").split()) for points in lines] == [2], (
        "what is far below the target is left out"
    )


def test_the_short_form_writes_report_and_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, kept = case(monkeypatch, (0.9,) * 5, 160)
    monkeypatch.setattr(benchmark, "cases", lambda *_, **__: [asked])
    monkeypatch.setattr(benchmark, "Kept", lambda _: kept)
    monkeypatch.setattr(benchmark, "run_all", lambda *_: None)
    path = tmp_path / "bytes.svg"
    monkeypatch.setattr("sys.argv", ["bytes_to_accuracy", "--quick", "--json", "--svg", str(path)])
    assert benchmark.main() == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in told["f"]["rows"]] == [PLAIN, "c"]
    assert told["f"]["rows"][1]["fewer"] == 25.0
    assert told["f"]["others"]["Flower"] > 4 * 10
    assert path.read_text().startswith("<svg")
