"""The most that a federation may ask, and what the owner is told of it."""

import pytest

from agent.core.limits import beyond_budget, beyond_plan, beyond_room, beyond_sources, expected_bytes
from agent.settings.limits import LimitsSettings
from fedge.algorithms.plan import Plan
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.manifest import Cohort, Manifest
from fedge.wire.reasons import Reason
from tests.wording import assert_tells

TASK = Blob(digest=bytes(32), slot=0, frames=1, size=500)
MODEL = Blob(digest=bytes(32), slot=0, frames=1, size=8_000)


def manifest(epochs: int | None = None) -> Manifest:
    return Manifest(
        generation=1,
        round=0 if epochs is None else 1,
        kind="survey" if epochs is None else "train",
        state="open",
        seed=1,
        task=TASK,
        model=None if epochs is None else MODEL,
        plan=None if epochs is None else Plan(epochs=epochs),
        cohort=Cohort(fraction=1.0, seed=1),
        seconds_left=60.0,
    )


def test_epochs() -> None:
    limits = LimitsSettings(epochs=10)
    assert not list(beyond_plan(limits, manifest(10)))
    assert not list(beyond_plan(limits, manifest())), "a survey has no plan"
    assert not list(beyond_plan(LimitsSettings(), manifest(1_000)))
    (objection,) = beyond_plan(limits, manifest(11))
    assert objection.reason == Reason.TOO_MANY_EPOCHS
    assert_tells(objection.detail, "11 epochs", "[limits] epochs", "10")


def asked(model_bytes: int, **plan: object) -> Manifest:
    """A round of training with a model of this size."""
    made = manifest(1)
    return made.model_copy(
        update={
            "plan": Plan(epochs=1, **plan),  # type: ignore[arg-type]
            "model": MODEL.model_copy(update={"size": model_bytes}),
        }
    )


def test_disk_for_the_state() -> None:
    """FedDyn keeps one vector, and the next one while an update waits: 2 × 8,000. SCAFFOLD's model has two
    vectors, so each has 4,000 bytes: 2 × 4,000."""
    for name, bytes_kept in (("dyn", 16_000), ("scaffold", 8_000)):
        assert not list(beyond_room(LimitsSettings(state_bytes=bytes_kept), asked(8_000, local=name)))
        (objection,) = beyond_room(LimitsSettings(state_bytes=bytes_kept - 1), asked(8_000, local=name))
        assert objection.reason is Reason.TOO_MUCH_STATE
        assert_tells(objection.detail, name, str(bytes_kept), "[limits] state_bytes", str(bytes_kept - 1))
    without = LimitsSettings(state_bytes=0)
    assert not list(beyond_room(without, asked(8_000)))
    assert list(beyond_room(without, asked(8_000, local="dyn")))


@pytest.mark.parametrize(
    ("plan", "vectors"),
    [
        ({}, 2),  # the announced weights and the new ones
        ({"momentum": 0.9, "weight_decay": 1e-4, "max_gradient": 1.0}, 5),  # and a buffer for each
        ({"local": "prox"}, 3),  # and the pull
        ({"local": "nova"}, 3.25),  # and the vector that is sent, and blocks in float64
        ({"local": "dyn"}, 6),  # and the pull, its correction twice, and its state
    ],
)
def test_memory_for_the_vectors(plan: dict[str, object], vectors: float) -> None:
    needed = int(vectors * 8_000)
    assert not list(beyond_room(LimitsSettings(memory_bytes=needed), asked(8_000, **plan)))
    (objection,) = beyond_room(LimitsSettings(memory_bytes=needed - 1), asked(8_000, **plan))
    assert objection.reason is Reason.TOO_MUCH_MEMORY
    assert_tells(objection.detail, str(needed), "[limits] memory_bytes", str(needed - 1))


@pytest.mark.parametrize(
    ("plan", "model_bytes", "vectors"),
    [
        ({"personal": "finetune"}, 8_000, 2),  # the model in use: in the database, and in its file
        ({"personal": "ditto"}, 8_000, 3),  # and v
        ({"compare": True}, 8_000, 1),  # the model alone, which is not used
        ({"personal": "ditto", "compare": True}, 8_000, 4),
        ({"personal": "clusters"}, 16_000, 2),  # two models are announced, and one is used
    ],
)
def test_disk_for_models_of_the_devices_own(plan: dict[str, object], model_bytes: int, vectors: int) -> None:
    needed = vectors * 8_000
    assert not list(beyond_room(LimitsSettings(state_bytes=needed), asked(model_bytes, **plan)))
    (objection,) = beyond_room(LimitsSettings(state_bytes=needed - 1), asked(model_bytes, **plan))
    assert objection.reason is Reason.TOO_MUCH_STATE
    assert_tells(objection.detail, "[personal]", str(needed), "[limits] state_bytes")


@pytest.mark.parametrize(
    ("plan", "model_bytes", "vectors"),
    [
        ({"personal": "finetune"}, 8_000, 4),  # beside the 2 of sgd: the personal model, and the former one
        ({"personal": "ditto", "compare": True}, 8_000, 7),  # and v; the model alone, and the former one
        ({"personal": "clusters"}, 16_000, 5),  # and the second announced one
    ],
)
def test_memory_for_models_of_the_devices_own(
    plan: dict[str, object], model_bytes: int, vectors: int
) -> None:
    needed = vectors * 8_000
    assert not list(beyond_room(LimitsSettings(memory_bytes=needed), asked(model_bytes, **plan)))
    assert list(beyond_room(LimitsSettings(memory_bytes=needed - 1), asked(model_bytes, **plan)))


def test_room_is_asked_of_rounds_of_training_alone() -> None:
    limits = LimitsSettings(state_bytes=0, memory_bytes=1)
    assert not list(beyond_room(limits, manifest())), "a survey has no plan"
    assert not list(beyond_room(LimitsSettings(), asked(10**9, local="dyn")))
    unknown = asked(8_000, local="of_later")
    assert not list(beyond_room(limits, unknown)), "it is declined as unsupported"


def test_sources() -> None:
    offered, open_to_all = frozenset({"data", "heart"}), LimitsSettings()
    for asked in (None, "data", "heart"):
        assert not list(beyond_sources(open_to_all, offered, asked))
    (objection,) = beyond_sources(open_to_all, offered, "camera")
    assert objection.reason is Reason.UNKNOWN_SOURCE
    assert "'camera'" in objection.detail
    assert "heart" not in objection.detail
    assert objection.full.startswith(objection.detail)
    assert objection.full.endswith("data, heart"), "its owner is told the others"
    limits = LimitsSettings(sources=("heart",))
    assert not list(beyond_sources(limits, offered, "heart"))
    for asked in (None, "data"):
        (objection,) = beyond_sources(limits, offered, asked)
        assert objection.reason is Reason.FORBIDDEN_SOURCE
        assert "'data'" in objection.detail
        assert "heart" not in objection.detail
        assert objection.full.startswith(objection.detail)
        assert objection.full.endswith("heart")
    (objection,) = beyond_sources(LimitsSettings(sources=()), offered, None)
    assert objection.full.endswith("none")


def test_expected_bytes() -> None:
    assert expected_bytes(manifest(1), task=True, model=True, update=True) == 500 + 8_000 + 8_000
    assert expected_bytes(manifest(1), task=False, model=False, update=True) == 8_000
    assert expected_bytes(manifest(1), task=False, model=True, update=False) == 8_000
    assert expected_bytes(manifest(), task=True, model=False, update=True) == 500 + 500


def test_the_budget_of_a_day() -> None:
    limits = LimitsSettings(bytes_per_day=20_000)
    assert not list(beyond_budget(limits, 4_000, 16_000))
    assert not list(beyond_budget(LimitsSettings(), 10**12, 1))
    (objection,) = beyond_budget(limits, 4_001, 16_000)
    assert objection.reason is Reason.OVER_BYTE_BUDGET
    assert {"16000", "4001", "bytes_per_day", "20000"} <= set(objection.detail.split())
