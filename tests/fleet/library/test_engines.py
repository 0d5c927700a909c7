"""The engine `fast` gives the model, the history and the curve of the engine `cores`, to the bit."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.aggregation.aggregate import Unusable
from aggregator.phases import train
from examples.extend import huber, sparse
from fedge import Algorithm, ConfigError, FedgeError, Plan, Result, Task, simulate
from fedge.algorithms.local.sgd import Sgd
from fedge.algorithms.plan import fedsgd
from fedge.algorithms.protocols import Combined, Rule, State, Updates
from fedge.algorithms.registry import Entry
from fedge.algorithms.server.average import Average
from fedge.algorithms.trainer import Job, Trained
from fleet.library.fast import devices as at_work
from fleet.library.fast import workers
from fleet.library.fast.memory import SharedArrays, mapped
from tests.fleet.library.fleets import CLASSIFIER, PLAN, REGRESSION, Data, fleet, summed
from tests.wording import assert_tells

ROUNDS, SEED = 4, 5
SGD = Plan(epochs=2, batch_size=8, learning_rate=0.05)
HALF = {"rounds": {"fraction": 0.5, "quorum": 2, "target": None}}
COMPARED = {"personal": {"compare": True}}
CASES: Mapping[str, tuple[Algorithm, Plan, Mapping[str, Mapping[str, Any]]]] = {
    "sgd": (Algorithm(), PLAN, {}),
    "one step": (Algorithm(), fedsgd(learning_rate=0.3), {}),
    "prox": (Algorithm(local="prox", options={"local": {"mu": 0.5}}), SGD, {}),
    "scaffold": (Algorithm(local="scaffold", options={"rule": {"weights": "uniform"}}), SGD, {}),
    "scaffold, half of the fleet": (
        Algorithm(local="scaffold", options={"rule": {"weights": "uniform"}}),
        SGD,
        HALF,
    ),
    "nova": (Algorithm(local="nova", rule="nova"), SGD, {}),
    "dyn": (Algorithm(local="dyn", server="dyn", options={"rule": {"weights": "uniform"}}), SGD, HALF),
    "adam": (Algorithm(server="adam"), SGD, {}),
    "momentum": (Algorithm(server="momentum"), SGD, {}),
    "a codec with a state": (Algorithm(codec=sparse.ENTRY, options={"codec": {"share": 0.3}}), SGD, HALF),
    "the largest entries": (
        Algorithm(codec="topk", options={"codec": {"share": 0.2, "values": "int8"}}),
        SGD,
        HALF,
    ),
    "rounded": (Algorithm(codec="int4"), SGD, HALF),
    "a rule from outside": (Algorithm(rule=huber.ENTRY), SGD, {}),
    "half of the fleet": (Algorithm(), PLAN, HALF),
    "several attempts": (Algorithm(), PLAN, {"rounds": {"fraction": 0.2, "quorum": 5}}),
    "all drawn": (Algorithm(), PLAN, {"rounds": {"fraction": 0.6, "quorum": 2}}),
    "coded models": (Algorithm(server="adam"), SGD, {"plan": {"model_codec": "int8", "key_every": 2}}),
    "coded models, half of the fleet": (
        Algorithm(local="scaffold", options={"rule": {"weights": "uniform"}}),
        SGD,
        {**HALF, "plan": {"model_codec": "int4"}},
    ),
    "models in float16": (Algorithm(), SGD, {"plan": {"model_codec": "float16"}}),
    "decay": (Algorithm(), PLAN, {"plan": {"rate_decay": 0.5}}),
    "fine-tuned": (Algorithm(personal="finetune"), SGD, COMPARED),
    "Ditto": (
        Algorithm(personal="ditto", local="scaffold", options={"rule": {"weights": "uniform"}}),
        SGD,
        HALF,
    ),
    "FedPer": (Algorithm(personal="head"), SGD, COMPARED),
    "bounds": (Algorithm(), PLAN, {"rounds": {"clip_norm": 1.0, "max_weight": 1.0}}),
    "patience": (Algorithm(), PLAN, {"stopping": {"patience": 1, "patience_on": "accuracy", "rounds": 9}}),
}


def both(
    task: Task, devices: Data, algorithm: Algorithm | None = None, count: int = 1, **arguments: Any
) -> tuple[Result, Result]:
    """The results of `cores`, and of `fast` with this number of workers."""
    given: dict[str, Any] = {"rounds": ROUNDS, "seed": SEED, "test": devices["pi-1"], **arguments}
    cores = simulate(task, devices, algorithm, **given)
    return cores, simulate(task, devices, algorithm, engine="fast", workers=count, **given)


def require_equal(cores: Result, fast: Result) -> None:
    """Check that all is equal but what a clock and the wire's messages say."""
    assert fast.model.weights.tobytes() == cores.model.weights.tobytes()
    assert (fast.model.task, fast.model.generation, fast.model.round) == (
        cores.model.task,
        cores.model.generation,
        cores.model.round,
    )
    for one, other in zip(fast.history, cores.history, strict=True):
        assert replace(one, seconds=0.0, bytes_up=0, bytes_down=0) == replace(
            other, seconds=0.0, bytes_up=0, bytes_down=0
        )
    assert fast.curve == cores.curve
    assert fast.stopped == cores.stopped
    assert _own(fast) == _own(cores)


def _own(found: Result) -> dict[str, dict[str, float]]:
    """What devices tell of their rows."""
    others = ("seconds", "received_bytes", "sent_bytes")
    return {
        device: {name: value for name, value in told.items() if name not in others}
        for device, told in found.figures.items()
    }


@pytest.mark.parametrize("case", CASES)
def test_the_engines_give_the_same_bits(case: str) -> None:
    algorithm, plan, settings = CASES[case]
    cores, fast = both(CLASSIFIER, fleet(7), algorithm, plan=plan, settings=settings)
    require_equal(cores, fast)
    assert len({point.loss for point in fast.curve}) == len(fast.curve) > 1, "each round makes another model"


@pytest.mark.parametrize("case", ["sgd", "scaffold, half of the fleet", "a codec with a state"])
@pytest.mark.parametrize(
    ("count", "forked"),
    [pytest.param(2, True, id="forked"), pytest.param(3, False, id="started anew", marks=pytest.mark.slow)],
)
def test_the_number_of_processes_changes_no_bit(
    case: str, count: int, forked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "forks", lambda: forked)
    algorithm, plan, settings = CASES[case]
    require_equal(*both(CLASSIFIER, fleet(7), algorithm, count, plan=plan, settings=settings))


class First(Rule):
    """A rule whose result is the vector of the first update, as it got it."""

    version = "first/1"

    def aggregate(self, updates: Updates, base: np.ndarray, state: State) -> Combined:
        return Combined(next(iter(updates.lanes())).vector.astype(np.float32, copy=False))


class Keeping(Average):
    """A server optimizer whose state is the aggregate, as it got it."""

    def init(self, size: int) -> dict[str, Any]:
        return {"last": np.zeros(size, np.float32)}

    def step(self, base: Any, aggregate: Any, state: Any, share: float = 1.0) -> Any:
        return (0.5 * (aggregate + state["last"])).astype(np.float32), {"last": aggregate}


class Sending(Sgd):
    """A local algorithm that starts between the weights and a vector of the server's."""

    receives = sends = ("more",)

    def run(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        start = (job.weights + 0.1 * job.received["more"]).astype(np.float32)
        trained = super().run(replace(job, received={**job.received, "weights": start}), cancelled)
        return replace(trained, vectors={**trained.vectors, "more": trained.vector})


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("parts", "settings"),
    [
        ({"server": Entry("server", "keeping", Keeping)}, {}),
        ({"local": Entry("local", "sending", Sending)}, {}),
        ({}, {"rounds": {"clip_norm": 1.0}}),
    ],
    ids=["state", "further vector", "model"],
)
def test_parts_may_hand_on_the_very_vector_of_an_update(
    parts: dict[str, Any], settings: Mapping[str, Mapping[str, Any]], count: int
) -> None:
    """The next round's updates are written where this vector was."""
    algorithm = Algorithm(rule=Entry("rule", "first", First), **parts)
    require_equal(*both(CLASSIFIER, fleet(7), algorithm, count, plan=SGD, settings=settings))


class Failing(Sgd):
    """In the first round pi-0 fails, in the second one all others."""

    def run(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        is_first, is_pi_0 = job.plan.learning_rate == SGD.learning_rate, len(job.y) == 40
        if is_first == is_pi_0:
            raise RuntimeError
        return super().run(job, cancelled)


def test_a_round_that_does_not_close_names_who_failed_in_it() -> None:
    """pi-0, with 40 of 50 rows to train on, failed in the round before."""
    texts = []
    for engine in ("cores", "fast"):
        with pytest.raises(FedgeError) as error:
            simulate(
                CLASSIFIER,
                fleet(4),
                Algorithm(local=Entry("local", "failing", Failing)),
                plan=SGD,
                rounds=3,
                settings={"rounds": {"quorum": 2, "target": None}, "plan": {"rate_decay": 0.5}},
                engine=engine,  # type: ignore[arg-type]
                workers=1,
            )
        texts.append(str(error.value))
    assert_tells(texts[0], "round 1.2", "pi-1", "pi-2", "pi-3")
    assert "pi-0" not in texts[0]
    assert texts[0] == texts[1]


def test_what_another_process_cannot_be_sent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(Sgd):
        pass

    monkeypatch.setattr(workers, "forks", lambda: False)
    with pytest.raises(ConfigError, match="workers=1"):
        simulate(CLASSIFIER, fleet(), Algorithm(local=Mine()), rounds=1, engine="fast", workers=2)


@pytest.mark.parametrize("count", [1, 2])
def test_of_a_regression_the_same(count: int) -> None:
    require_equal(*both(REGRESSION, summed(4), None, count, plan=PLAN))


def test_devices_without_held_out_rows_are_not_measured_in_the_end() -> None:
    cores, fast = both(CLASSIFIER, fleet(), plan=PLAN, holdout=0.0)
    require_equal(cores, fast)
    assert [row.kind for row in fast.history] == ["survey", *["train"] * ROUNDS]


def test_it_ends_with_the_same_round() -> None:
    cores, fast = both(CLASSIFIER, fleet(), plan=PLAN, until=lambda told: told.round == 2)
    require_equal(cores, fast)
    assert (fast.stopped, fast.model.round, len(fast.curve)) == ("until", 2, 3)


def test_rounds_are_told_with_the_same_figures() -> None:
    told: list[list[tuple[object, ...]]] = []
    for engine in ("cores", "fast"):
        told.append([])
        simulate(
            CLASSIFIER,
            fleet(),
            plan=PLAN,
            rounds=2,
            engine=engine,  # type: ignore[arg-type]
            test=fleet()["pi-1"],
            progress=lambda one: told[-1].append((one.round, one.rounds, one.point, one.row.loss)),
        )
    assert told[0] == told[1]
    assert [one[:2] for one in told[0]] == [(1, 2), (2, 2)]


@pytest.mark.parametrize("count", [1, 2])
def test_one_that_diverges_ends_with_the_last_model_before(
    count: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    steep = Plan(learning_rate=1e3, momentum=0.99, epochs=90)
    cores, fast = both(CLASSIFIER, fleet(), None, count, plan=steep)
    require_equal(cores, fast)
    assert (fast.stopped, fast.model.round) == ("diverged", 0)
    assert fast.why == cores.why


def test_the_others_go_on_without_one_that_diverges(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    devices = fleet(5)
    X, y = devices["pi-3"]
    X = X.copy()
    X[3] = 1e30  # its own loss is not finite; the survey bounds its influence
    devices["pi-3"] = X, y
    settings = {"rounds": {"quorum": 3}, "model": {"clip": 0}}
    cores, fast = both(CLASSIFIER, devices, plan=PLAN, settings=settings)
    require_equal(cores, fast)
    assert {row.devices for row in fast.history if row.kind == "train"} == {4}


def test_who_does_not_take_part_is_named_with_the_same_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    devices = fleet()
    devices["pi-3"] = tuple(part[:8] for part in devices["pi-3"])  # type: ignore[assignment]
    texts = []
    for engine in ("cores", "fast"):
        with pytest.raises(FedgeError, match=r"pi-3.*samples") as told:
            simulate(CLASSIFIER, devices, rounds=1, engine=engine)  # type: ignore[arg-type]
        texts.append(str(told.value))
    assert texts[0] == texts[1]


def test_a_round_that_would_close_with_the_first_that_arrive_is_refused() -> None:
    some = {"rounds": {"target": 2, "quorum": 2}}
    with pytest.raises(ConfigError, match="target"):
        simulate(CLASSIFIER, fleet(), rounds=1, settings=some, engine="fast", workers=1)


def test_updates_that_spoil_the_model_are_set_aside_as_in_production(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    usable, asked = train.usable, 0

    def once(*arguments: Any, **more: Any) -> Any:
        nonlocal asked
        asked += 1
        return Unusable(("pi-2",)) if asked == 1 else usable(*arguments, **more)

    results = []
    for engine in ("cores", "fast"):
        asked = 0
        monkeypatch.setattr(train, "usable", once)
        results.append(
            simulate(
                CLASSIFIER,
                fleet(),
                plan=PLAN,
                rounds=2,
                settings={"rounds": {"quorum": 3}},
                engine=engine,  # type: ignore[arg-type]
                workers=1,
            )
        )
    require_equal(*results)
    assert [row.devices for row in results[1].history] == [4, 3, 4, 4]


@pytest.mark.parametrize(
    ("what", "arguments"),
    [
        ("engine", {"engine": "slow"}),
        ("workers", {"engine": "fast", "workers": 0}),
        ("workers", {"engine": "fast", "workers": 1.5}),
        ("workers", {"workers": 2}),
        ("folder", {"engine": "fast", "folder": "there"}),
    ],
)
def test_arguments_that_no_engine_takes_are_named(what: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=what):
        simulate(CLASSIFIER, fleet(2), rounds=1, **arguments)


def test_a_worker_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dying(Sgd):
        def run(self, job: Any, cancelled: Any) -> Any:
            os._exit(3)

    monkeypatch.setattr(workers, "forks", lambda: True)
    with pytest.raises(FedgeError, match="exit code 3"):
        simulate(CLASSIFIER, fleet(), Algorithm(local=Dying()), rounds=1, engine="fast", workers=2)


class OddError(FedgeError):
    """An error that cannot be unpickled: `type(*args)` lacks an argument."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"{what} {number}")


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("error", [OddError("part", 7), ValueError("part 7")])
def test_an_error_in_a_worker_is_told_whatever_its_type(
    error: Exception, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> object:
        raise error

    monkeypatch.setattr(workers, "forks", lambda: True)
    monkeypatch.setattr(at_work, "admit", fails)
    with pytest.raises(FedgeError, match="part 7") as told:
        simulate(CLASSIFIER, fleet(), rounds=1, engine="fast", workers=count)
    if isinstance(error, ValueError):
        assert "pi-" in str(told.value)
    if count > 1:
        assert type(told.value) is FedgeError


def test_arrays_are_kept_while_they_are_large_enough(tmp_path: Path) -> None:
    shared = SharedArrays(tmp_path)
    place, first = shared.array("model", (2, 3))
    first[:] = np.arange(6).reshape(2, 3)
    assert shared.array("model", (1, 3))[0] == place
    assert (mapped(place) == first).all()
    wider, _ = shared.array("model", (4, 3))
    assert (wider.path != place.path, wider.shape) == (True, (5, 3))  # a quarter more than asked for
    shared.close()
    assert not [*tmp_path.iterdir()]
