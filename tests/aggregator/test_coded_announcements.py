"""Models that are sent in a coded form: what is announced, who must be able, and what the ledger keeps."""

from pathlib import Path

import numpy as np
import pytest

from aggregator.aggregation import codings
from aggregator.aggregation.downlink import coded
from aggregator.aggregation.models import blob_of
from aggregator.config import FederationSettings
from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.ability import requirements
from aggregator.core.coded_form import CodedForm
from aggregator.core.progress import Progress
from aggregator.ledger.writing import Ledger
from fedge.errors import DamagedState
from fedge.wire.capabilities import can
from fedge.wire.freshness import RoundId
from fedge.wire.models import model_message
from tests.aggregator.ledger.ledgers import COHORTS, LIFE
from tests.aggregator.stories import OPEN, SURVEY, Story, blob, federation, of, only_manifest, running, status

CODED = blob("coded form of round 1", slot=1)
KEY = blob("model of round 0", slot=1)
FORM = CodedForm("int8", CODED, KEY)


def closed_with(story: Story, form: CodedForm | None) -> list[do.Effect]:
    for device in ("a", "b", "c"):
        story.answers(device)
    state = story.state
    model = blob("model of round 1", slot=1)
    event = on.RoundClosed(
        story.now_s, OPEN, state.task, state.task_message, model, Progress(rounds=1), form=form
    )
    return story.tell(event)


def test_a_model_is_announced_with_its_coded_form_and_its_key_frame() -> None:
    story = running("a", "b", "c")
    effects = closed_with(story, FORM)
    model = blob("model of round 1", slot=1)
    assert of(do.PublishBlobs, effects) == [do.PublishBlobs(RoundId(1, 2), blob("task"), model, FORM)]
    effects = story.published()
    manifest = only_manifest(effects)
    assert (manifest.model, manifest.coded, manifest.key) == (model, CODED, KEY)
    assert of(do.ClearSlots, effects) == [do.ClearSlots(0, 1, 1)]


def test_a_model_without_a_form_clears_the_key_frames() -> None:
    story = running("a", "b", "c")
    closed_with(story, None)
    effects = story.published()
    assert (only_manifest(effects).coded, only_manifest(effects).key) == (None, None)
    assert of(do.ClearSlots, effects) == [do.ClearSlots(0, 1)]


def test_rounds_with_a_model_require_its_codec_from_the_first_on() -> None:
    for kind, names in (("train", {"model:int4"}), ("evaluate", {"model:int4"}), ("survey", set())):
        state = federation(model_codec="int4", kind=kind)
        assert {name for name in requirements(state) if name.startswith("model:")} == names
    assert not [name for name in requirements(federation()) if name.startswith("model:")]
    both = federation(model_codec="int4", form=FORM)  # the setting has changed while the round was open
    assert {"model:int4", "model:int8"} <= requirements(both)
    assert {"model:float16", "model:int8", "model:int4"} <= can()


def test_a_device_that_cannot_is_not_awaited_and_is_named() -> None:
    story = Story(federation(model_codec="int8"))
    story.start()
    story.link_up()
    older = tuple(sorted(can() - {"model:int8"}))
    for device, told in (("a", tuple(sorted(can()))), ("old", older)):
        story.tell(on.StatusSeen(story.now_s, device, status().model_copy(update={"can": told})))
    lines = [effect.text for effect in of(do.Log, story.published())]
    assert set(story.state.awaited) == {"a"}
    assert any("old" in line and "model:int8" in line for line in lines)


def settings(**plan: object) -> FederationSettings:
    return FederationSettings.model_validate(
        {
            "federation": {"name": "greenhouse"},
            "model": {"features": ("volts",), "classes": ("idle", "busy")},
            "plan": plan,
        }
    )


def test_codecs_of_updates_alone_are_refused_for_models() -> None:
    for name in ("topk", "drive", "gzip"):
        with pytest.raises(ValueError, match=f"{name}.*int8"):
            settings(model_codec=name)
    for name in ("float32", "float16", "int8", "int4"):
        found = settings(model_codec=name, key_every=3)
        assert "model_codec" not in found.first_plan().model_dump(exclude_none=True)
        assert "key_every" not in found.first_plan().model_dump(exclude_none=True)


def close_coded(ledger: Ledger, number: int, start: np.ndarray, key_of: int) -> None:
    """Close a round whose model is coded in int8, with the model of another round as its key frame."""
    here = RoundId(1, number)
    key = codings.key_of(ledger, ledger.model_of(RoundId(1, key_of)) or b"")
    found = coded(here, {"weights": start + number}, "int8", 7, codings.before(ledger, here).errors, key)
    assert found is not None
    data = model_message(here, found.vectors["weights"])
    slot = number % 2
    ledger.save_round(here, "train", 0, COHORTS, 0.0)
    ledger.save_content("model", here, blob_of(data, slot), data)
    ledger.close_round(here, blob_of(data, slot).digest, 2, 20, {}, 1.0, "mean/1")
    codings.save(ledger, here, found, slot)


@pytest.fixture
def kept(tmp_path: Path) -> Ledger:
    """Rounds 1 to 4 refer to the model of round 0, and round 5 to that of round 4."""
    ledger = Ledger(tmp_path / "ledger.db")
    first = np.linspace(-1, 1, 600, dtype=np.float32)
    data = model_message(SURVEY, first)
    with ledger.transaction():
        ledger.begin_generation(LIFE)
        ledger.save_round(SURVEY, "survey", 0, COHORTS, 0.0)
        ledger.save_content("model", SURVEY, blob_of(data, 0), data)
        ledger.close_round(SURVEY, blob_of(data, 0).digest, 2, 20, {}, 1.0, "survey/2")
        for number in range(1, 6):
            close_coded(ledger, number, first, 4 if number == 5 else 0)
    return ledger


def contents(ledger: Ledger, kind: str) -> list[int]:
    return [n for (n,) in ledger._all("SELECT round FROM contents WHERE kind = ? ORDER BY round", kind)]


def test_a_key_frame_stays_as_long_as_a_kept_round_refers_to_it(kept: Ledger) -> None:
    with kept.transaction():
        kept.forget_rounds_before(RoundId(1, 4))
    assert contents(kept, "model") == [0, 3, 4, 5]
    with kept.transaction():
        kept.forget_rounds_before(RoundId(1, 5))
    assert contents(kept, "model") == [0, 4, 5], "the round before has left the error for round 5"
    assert [row for (row,) in kept._all("SELECT round FROM codings ORDER BY round")] == [4, 5]


def test_of_coded_forms_only_the_published_ones_stay(kept: Ledger) -> None:
    assert contents(kept, "coded") == [4, 5]
    form = codings.form_of(kept, 1)
    assert form is not None
    assert (form.codec, form.coded.slot) == ("int8", 1)
    assert form.key is not None
    assert form.key.digest == kept.model_of(RoundId(1, 4))
    keys = {slot: blob.digest for (kind, slot), blob in kept.slots().items() if kind == "key"}
    assert keys[1 - form.key.slot] == kept.model_of(SURVEY), (
        "a new key frame does not overwrite the former one"
    )


def test_an_error_that_does_not_match_its_digest_is_damage(kept: Ledger) -> None:
    here = RoundId(1, 6)
    assert codings.before(kept, here).errors
    with kept.transaction():
        kept._run("UPDATE codings SET errors = ? WHERE round = 5", b"{}\n")
    with pytest.raises(DamagedState):
        codings.before(kept, here)


def test_errors_do_not_outlast_their_generation(kept: Ledger) -> None:
    found = codings.before(kept, RoundId(2, 1))
    assert (dict(found.errors), found.key) == ({}, None)
    assert codings.form_of(kept, 2) is None
