"""The benchmark of attacks learns as `fedge.simulate` does, and judges each rule by the worst attack."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import byzantine_case as benchmark
from benchmarks import byzantine_peer, byzantine_plot
from benchmarks.byzantine import goals, table
from benchmarks.byzantine_case import COUNT_ALL, MEAN, NNM, ROUNDS, Case, Cell, case_of, rows
from benchmarks.byzantine_fleet import Bounded, Fleet, dealt
from benchmarks.byzantine_runs import BOUNDS, Job, Part, Run, Setting, run, run_all
from benchmarks.kept_runs import KeptRuns
from fedge import Task, simulate
from fedge.algorithms.plan import fedsgd
from fedge.algorithms.registry import LOCAL, RULES
from fedge.nn import Dense, Network, NetworkSpec, ReLU
from fedge.nn.initialize import first_weights
from fleet.simulator.attacks.registry import attack

FEW, SEED, CLASSES = 5, 3, 3
RECORDED = Path(__file__).parents[1] / "benchmarks" / "recorded" / "byzantine"
SHORT = Setting(20, "digits", units=8)


def devices(count: int) -> dict[str, tuple[Any, Any]]:
    """Honest devices h00… and two attackers, with unlike numbers of rows."""
    found = {}
    for number, name in enumerate((*(f"h{k:02d}" for k in range(count)), "x00", "x01")):
        rng = np.random.default_rng(number)
        y = rng.integers(0, CLASSES, 30 + 3 * number)
        found[name] = rng.normal(y[:, None], 1.0, (len(y), 4)).astype(np.float32), y
    return found


@pytest.mark.parametrize("bounds", [Bounded(), BOUNDS], ids=["without bounds", "with bounds"])
@pytest.mark.parametrize(
    "told",
    [
        None,
        {"name": "sign-flip", "strength": 400.0},
        {"name": "alie", "z": 1.5},
        {"name": "min-max"},
        {"name": "mimic"},
        {"name": "gaussian", "std": 0.1},
        {"name": "label-flip"},
        {"name": "inflation"},
    ],
    ids=str,
)
def test_the_loop_makes_the_models_of_the_simulation_to_the_bit(
    told: dict[str, Any] | None, bounds: Bounded
) -> None:
    """Sign flip by 400 is refused from the second round on by `max_norm`, where there are bounds."""
    given = devices(6)
    names = ("a", "b", "c", "d")
    task = Task(
        network=NetworkSpec(
            inputs=4, layers=(Dense(units=5), ReLU(), Dense(units=CLASSES)), loss="cross-entropy"
        ),
        features=names,
        classes=("0", "1", "2"),
    )
    limits = {each: getattr(bounds, each) for each in ("clip_norm", "max_weight", "max_norm")}
    found = simulate(
        task,
        given,
        plan=fedsgd(0.5),
        rounds=FEW,
        seed=SEED,
        holdout=0.0,
        settings={"rounds": {"quorum": 2, "target": None, **limits}},
        engine="fast",
        workers=1,
        attackers=None if told is None else {"x00": told, "x01": told},
    )
    spec = found.model.task.network
    network = Network(spec)
    prepared = [(network.prepare(X), y.astype(np.int64)) for X, y in given.values()]
    fleet = Fleet(
        network,
        first_weights(spec, SEED, 1),
        prepared if told is None else prepared[:6],
        [] if told is None else prepared[6:],
        None if told is None else attack(told),
        LOCAL.make("sgd"),
        RULES.make("mean"),
        fedsgd(0.5),
        0,
        bounds,
        CLASSES,
        SEED,
        tuple(given) if told is None else (),
    )
    for _ in range(FEW):
        fleet.run()
    refused = sum(len(given) - row.devices for row in found.history if row.kind == "train")
    assert fleet.refused == refused
    assert (refused > 0) == (told is not None and told["name"] == "sign-flip" and bounds is BOUNDS)
    assert fleet.weights.tobytes() == found.model.weights.tobytes()


def test_similarity_is_the_share_of_rows_that_is_dealt_evenly() -> None:
    """Of 200 rows a half is even, so each of 10 devices has 10 of all classes and 10 of one class."""
    y = np.repeat(np.arange(10), 20)
    X = np.arange(200.0)[:, None]
    hands = dealt((X, y), 10, 0.5, 1)
    assert sorted(float(row) for hand, _ in hands for row in hand[:, 0]) == list(range(200))
    for hand, labels in hands:
        assert (y[hand[:, 0].astype(int)] == labels).all(), "a row keeps its label"
        assert len(set(labels[10:])) <= 3
        assert len(set(labels[:10])) >= 4
    alike = dealt((X, y), 10, 1.0, 1)
    assert all(len(set(labels)) >= 7 for _, labels in alike)
    apart = dealt((X, y), 10, 0.0, 1)
    assert [set(labels) for _, labels in apart] == [{number} for number in range(10)]


def test_a_run_tells_accuracy_backdoor_and_refusals() -> None:
    """A hundred rounds on digits learn something; the trigger of one device of eleven works with the mean."""
    case = case_of((2,), (1.0,), (False,), short=True)
    setting = replace(SHORT, rounds=100, units=32)
    honest = run(Job(setting, MEAN, None, 0, 1.0, False, 1))
    assert honest.accuracy > 0.6
    assert honest.backdoor is None
    marked = run(Job(setting, MEAN, case.backdoor, 1, 1.0, False, 1))
    assert marked.backdoor is not None
    assert marked.backdoor > 0.5
    broken = run(Job(setting, MEAN, Part("IPM", {"name": "ipm", "epsilon": 100.0}), 2, 1.0, False, 1))
    assert broken.accuracy < honest.accuracy - 0.3


def test_the_same_job_gives_the_same_run_and_is_kept(tmp_path: Path) -> None:
    job = Job(SHORT, MEAN, Part("Gaussian", {"name": "gaussian", "std": 1.0}), 2, 0.5, True, 1)
    kept = KeptRuns(tmp_path / "runs.jsonl", Run)
    run_all([job], kept)
    again = KeptRuns(tmp_path / "runs.jsonl", Run)
    assert again.has(job)
    assert again.runs == kept.runs == {job.key: run(job)}
    assert not again.has(replace(job, setting=replace(SHORT, rounds=30)))
    assert not again.has(replace(job, attack=Part("Gaussian", {"name": "gaussian", "std": 2.0})))


def made(case: Case, accuracy: dict[tuple[str, str], float], backdoor: float = 0.05) -> KeptRuns[Run]:
    """Runs with .97 but for some (rule, attack)."""
    kept = KeptRuns(None, Run)
    for job in case.jobs():
        name = "" if job.attack is None else job.attack.name
        found = accuracy.get((job.rule.name, name), 0.97)
        marked = backdoor if name == "backdoor" else None
        kept.add(Run(*job.key, found, marked, 0, job.settings, 0.0))
    return kept


def test_the_worst_attack_counts_and_the_void_mean_is_a_missed_goal() -> None:
    case = case_of((2,), (1.0,), (False, True), short=False)
    kept = made(case, {("mean", "IPM 100"): 0.6, ("median", "mimic"): 0.9, (f"krum{NNM}", "ALIE 1.5"): 0.94})
    found = {(one.rule, one.bounded): one for one in rows(case, kept, Cell(2, 1.0))}
    assert (found["median", False].accuracy, found["median", False].attack) == (0.9, "mimic")
    met = {goal.name: goal.met for goal in goals(case, kept)}
    assert met["f = 2, similarity 1: what the plain mean loses to IPM 100"], ".37 of at least .30"
    near = [name for name in met if "accuracy of" in name]
    assert near, "rules with nnm are judged"
    assert all(NNM in name for name in near)
    assert [name for name in near if not met[name]] == [
        f"f = 2, similarity 1: accuracy of krum{NNM} against ALIE 1.5"
    ], "less than .97, our own, less .02"
    assert all(met[name] for name in met if "backdoor" in name)
    assert "| median | 0.900 (mimic) | 0.900 (mimic) |" in table(case, kept)
    void = {goal.name: goal.met for goal in goals(case, made(case, {}, backdoor=0.2))}
    assert not any(met for name, met in void.items() if "plain mean" in name or "backdoor" in name)


def test_rules_that_count_all_updates_are_shown_and_not_judged_by_the_backdoor() -> None:
    case = case_of((2,), (1.0,), (False,), short=False)
    kept = made(case, {}, backdoor=0.9)
    judged = [goal.name for goal in goals(case, kept) if "backdoor" in goal.name]
    assert not [name for name in judged for rule in COUNT_ALL if f" {rule}," in name]
    assert {rule for rule in benchmark.NAMES for name in judged if f" {rule}," in name} == (
        set(benchmark.NAMES) - set(COUNT_ALL)
    )
    for rule in COUNT_ALL:
        assert f"| {rule} | 0.900, 0.970 |" in table(case, kept)


def test_a_rule_of_which_an_attack_is_missing_is_neither_told_nor_judged() -> None:
    case = case_of((2,), (1.0,), (False,), short=False)
    whole, part = made(case, {}), KeptRuns(None, Run)
    for one in whole.runs.values():
        if (one.rule, one.attack) != (f"median{NNM}", "mimic"):
            part.add(one)
    gone = {one.rule for one in rows(case, whole, Cell(2, 1.0))} - {
        one.rule for one in rows(case, part, Cell(2, 1.0))
    }
    assert gone == {f"median{NNM}"}
    assert len(goals(case, whole)) == len(goals(case, part)) + 1
    assert table(case, part).count(f"| median{NNM} |") == 1, "of the backdoor"
    assert f">median{NNM}<" in byzantine_plot.drawn(case, whole)
    assert f">median{NNM}<" not in byzantine_plot.drawn(case, part)
    assert goals(case, KeptRuns(None, Run)) == []


def test_the_plot_shows_each_attack_and_names_the_worst() -> None:
    """Two panels: 1 + 8 rules with and without nnm stand two attackers, of 14 devices bulyan does not."""
    case = case_of((2, 4), (1.0,), (False,), short=False)
    drawn = byzantine_plot.drawn(case, made(case, {("median", "mimic"): 0.5}))
    rules = len(case.rules(2)) + len(case.rules(4))
    assert drawn.count("<circle") == rules * (len(benchmark.ATTACKS) + 1)
    assert drawn.count(">mimic<") == 2
    assert drawn.count("stroke-dasharray") == 2
    assert drawn.startswith("<svg")


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.jsonl")), ids=lambda path: path.name)
def test_the_recorded_runs_are_of_this_benchmarks_settings(path: Path) -> None:
    """A change of the settings, a rule's or an attack's options makes them worthless: run them again."""
    case = case_of(
        (1, 2, 3, 4), (1.0, 0.66, 0.33), (False, True), short=False, rounds=int(path.stem.split("-")[1])
    )
    kept, wanted = KeptRuns(path, Run), {job.key: job for job in case.jobs()}
    assert kept.runs
    assert all(kept.has(wanted[key]) for key in kept.runs)


def test_the_default_rounds_are_recorded() -> None:
    assert (RECORDED / f"rounds-{ROUNDS}.jsonl").exists()


def test_a_rule_is_left_out_where_devices_are_too_few() -> None:
    """Bulyan needs 4 f + 3: 11 with two attackers of 12, 15 with three of 13."""
    case = case_of((2, 3), (1.0,), (False,), short=False)
    assert "bulyan" in [rule.name for rule in case.rules(2)]
    assert "bulyan" not in [rule.name for rule in case.rules(3)]
    assert {rule.name.removesuffix(NNM) for rule in case.rules(1)} == {"mean", *benchmark.NAMES}


def test_what_differs_from_the_peer_is_a_missed_goal() -> None:
    assert [goal.met for goal in byzantine_peer.goals({"median": 1e-8, "krum": 0.01})] == [True, False]


def test_our_answers_to_the_peers_questions_are_those_of_rules_and_attacks() -> None:
    """Of the columns (0, 1, 2, 9) and (0, 0, 0, 4), with f = 1: medians 1.5 and 0, trimmed means as well."""
    matrix = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [9.0, 4.0]])
    asked = {one.name: one for one in byzantine_peer.questions(1)}
    assert {one.removesuffix(NNM) for one in asked} >= set(benchmark.NAMES) - {"bulyan", "norm-bound"}
    assert byzantine_peer.ours(asked["median"], matrix).tolist() == [1.5, 0.0]
    assert byzantine_peer.ours(asked["trimmed-mean"], matrix).tolist() == [1.5, 0.0]
    assert byzantine_peer.ours(asked["sign-flip"], matrix).tolist() == [-3.0, -1.0]
    rounds = byzantine_peer.ours(asked["centered-clipping"], np.stack([matrix, matrix]))
    assert rounds.shape == (2, 2)
    assert rounds[0].tolist() != rounds[1].tolist(), "the second round begins at the first one's center"
