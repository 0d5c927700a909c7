"""The most that a federation may ask, and what the owner is told of it."""

from agent.core.limits import beyond_budget, beyond_plan, beyond_sources, expected_bytes
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
