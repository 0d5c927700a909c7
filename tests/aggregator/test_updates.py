"""What comes from devices while a round is open, and what they are answered."""

import inspect

import pytest

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import partials
from aggregator.core.federation import Federation
from aggregator.core.stopping_rule import StoppingRule
from aggregator.core.update_limits import max_bytes
from aggregator.core.updates import terms_of
from aggregator.core.usual_distance import UsualDistance
from fedge.frozen import replace
from fedge.wire.frames import cost
from fedge.wire.freshness import RoundId
from fedge.wire.messages.message import pack
from fedge.wire.reasons import Reason, Rejection
from fedge.wire.selection import chosen
from tests.aggregator.stories import (
    DEADLINE_S,
    digest_of,
    frames,
    kinds,
    of,
    only_receipt,
    receipts,
    rules,
    running,
    update,
)
from tests.wording import assert_tells


def test_an_update_is_spooled_read_saved_and_then_its_receipt_is_sent() -> None:
    story = running("a", "b", "c")
    effects = story.answers("a")
    assert kinds(effects) == [do.SpoolFrame, do.ReadUpdate, do.SaveAnswer, do.SendReceipt]
    assert only_receipt(effects).verdict == "admitted"
    assert (story.state.admitted, "a" in story.state.awaited) == (1, False)


def test_a_known_update_gets_its_first_verdict_again_and_is_not_counted_twice() -> None:
    story = running("a", "b", "c")
    first = only_receipt(story.answers("a"))
    (again,) = story.send("a", update("a"))
    assert isinstance(again, do.SendReceipt)
    assert again.receipt == first
    assert story.state.admitted == 1


def test_a_refusal_is_repeated_as_well() -> None:
    story = running("a", "b", "c")
    effects = story.answers("a", samples=0)
    first = only_receipt(effects)
    assert (first.verdict, first.reason) == ("refused", Reason.BAD_SAMPLE_COUNT)
    assert do.CountRefusal("a", Reason.BAD_SAMPLE_COUNT) in effects
    assert do.DropSpool("a", first.update) in effects
    assert only_receipt(story.answers("a", samples=0)) == first
    assert story.state.admitted == 0


def test_another_update_in_the_same_round_is_already_answered() -> None:
    story = running("a", "b", "c")
    story.answers("a")
    effects = story.answers("a", samples=11)
    assert receipts(effects) == [("a", "refused", Reason.ALREADY_ANSWERED)]
    assert not of(do.SpoolFrame, effects)
    assert story.state.answers["a"].samples == 10


def test_an_update_that_is_read_twice_counts_once() -> None:
    story = running("a", "b", "c")
    story.answers("a")
    effects = story.tell(on.UpdateRead(story.now_s, "a", b"d" * 32, update("a", samples=11)))
    assert not of(do.SaveAnswer, effects)
    assert (story.state.admitted, story.state.answers["a"].samples) == (1, 10)


def test_a_device_that_measures_with_classes_it_does_not_train_on_is_named_once() -> None:
    story = running("a", "b", "c")
    assert not of(do.Log, story.answers("a", metrics={"held_out": 60.0, "held_unseen": 0.0}))
    figures = {"held_out": 60.0, "held_unseen": 40.0}
    (said,) = of(do.Log, story.answers("b", metrics=figures))
    assert (said.level, said.device, said.cause) == ("warning", "b", "held_unseen")
    assert_tells(said.text, "b: 40 of its 60 ", '[data] holdout = { part = …, by = "every" }')
    assert story.state.unseen == {"b"}
    story = running("a", "b", "c", unseen=frozenset({"b"}))
    assert not of(do.Log, story.answers("b", metrics=figures)), "it was said in a round before"
    story = running("a", "b", "c", unseen=frozenset({"b"}))
    story.answers("b", metrics={"held_out": 60.0})
    assert story.state.unseen == set(), "it is mended"


def test_an_update_of_any_kept_round_gets_its_first_verdict_again_and_is_not_spooled() -> None:
    story = running("a", "b", stopping=StoppingRule(rounds=99))
    first = only_receipt(story.answers("a"))
    story.answers("b")
    for number in range(2, 6):
        story.closed()
        story.published()
        assert story.state.round == (1, number)
        effects = story.send("a", update("a"))
        assert kinds(effects) == [do.SendReceipt]
        assert only_receipt(effects) == first
        for device in ("a", "b"):
            story.answers(device)
        assert kinds(story.frame("a", frames(update("a"), 4)[1])) == [do.SendReceipt]


def test_a_refusal_in_an_earlier_round_is_repeated_with_its_reason() -> None:
    story = running("a", "b", "c", stopping=StoppingRule(rounds=99))
    first = only_receipt(story.answers("c", samples=0))
    for _ in range(3):
        for device in ("a", "b"):
            story.answers(device)
        story.later(DEADLINE_S)
        story.closed()
        story.published()
    assert first.reason is Reason.BAD_SAMPLE_COUNT
    assert only_receipt(story.send("c", update("c", samples=0))) == first


def test_after_the_end_of_learning_every_kept_verdict_comes_again() -> None:
    story = running("a", "b", "c", stopping=StoppingRule(rounds=2))
    first = only_receipt(story.answers("a"))
    for device in ("b", "c"):
        story.answers(device)
    story.closed()
    story.published()
    for device in ("a", "b", "c"):
        story.answers(device)
    story.closed()
    assert story.stage() == "done"
    assert only_receipt(story.send("a", update("a"))) == first


def test_of_a_round_that_is_no_longer_kept_nobody_knows_whether_the_update_counted() -> None:
    story = running("a", "b", round=RoundId(1, 50), stopping=StoppingRule(rounds=99))
    late = update("a", RoundId(1, 2))
    for remembered, reason in ((False, Reason.FORGOTTEN), (True, Reason.STALE_ROUND)):
        effects = story.tell(on.UpdateRead(story.now_s, "a", digest_of(late), late, remembered))
        assert receipts(effects) == [("a", "refused", reason)]
        assert not of(do.SaveAnswer, effects)
    assert receipts(story.answers("a")) == [("a", "admitted", None)]


def test_an_update_of_a_round_long_closed_is_stale_and_does_not_spend_the_answer() -> None:
    story = running("a", "b", round=RoundId(1, 5), stopping=StoppingRule(rounds=99))
    effects = story.send("a", update("a", RoundId(1, 2)))
    assert receipts(effects) == [("a", "refused", Reason.STALE_ROUND)]
    assert not of(do.SaveAnswer, effects)
    assert receipts(story.answers("a")) == [("a", "admitted", None)]


def test_an_update_made_from_another_model_does_not_spend_the_answer() -> None:
    """It was made for another aggregator, which had a copy of this ledger."""
    story = running("a", "b")
    other = update("a").model_copy(update={"base": b"b" * 32})
    effects = story.send("a", other)
    assert receipts(effects) == [("a", "refused", Reason.WRONG_BASE)]
    assert not of(do.SaveAnswer, effects)
    assert receipts(story.answers("a")) == [("a", "admitted", None)]


def test_an_update_made_from_another_model_does_not_spend_the_answer_of_who_is_chosen_later() -> None:
    """The other aggregator had chosen it already; here the attempt that chooses it is still to come."""
    story = running(rules=rules(0.25))
    late = next(
        device
        for device in (f"pi-{i}" for i in range(1_000))
        if not any(chosen(c, *story.state.round, k, device) for k, c in enumerate(story.state.cohorts))
    )
    other = update(late, base=b"b" * 32)
    assert receipts(story.send(late, other)) == [(late, "refused", Reason.WRONG_BASE)]
    while story.state.cohorts[-1].fraction < 1.0:
        story.later(DEADLINE_S)
    assert receipts(story.answers(late)) == [(late, "admitted", None)]


def test_an_update_in_another_devices_name_does_not_spend_anybodys_answer() -> None:
    story = running("a", "b", "c")
    assert receipts(story.send("b", update("a"))) == [("b", "refused", Reason.FOREIGN_DEVICE)]
    assert receipts(story.answers("b")) == [("b", "admitted", None)]
    assert receipts(story.answers("a")) == [("a", "admitted", None)]


def test_who_is_not_on_the_roster_is_refused_at_the_first_frame() -> None:
    story = running("a", "b", roster=frozenset({"a", "b"}))
    effects = story.answers("c")
    assert receipts(effects) == [("c", "refused", Reason.UNKNOWN_DEVICE)]
    assert not of(do.SpoolFrame, effects)


def test_garbage_is_counted_and_answered_and_changes_nothing_else() -> None:
    story = running("a", "b", "c")
    before = story.state
    effects = story.tell(on.GarbageArrived("a", b"d" * 32, Reason.MALFORMED, "not msgpack"))
    assert kinds(effects) == [do.CountRefusal, do.SendReceipt, do.Log]
    assert only_receipt(effects).update == b"d" * 32
    assert story.state == before


def test_an_update_whose_bytes_are_wrong_is_dropped_and_may_be_sent_again() -> None:
    story = running("a", "b", "c")
    message = update("a")
    story.frame("a", frames(message)[0])
    effects = story.tell(
        on.UpdateRead(story.now_s, "a", digest_of(message), Rejection(Reason.MALFORMED, "no digest"))
    )
    assert kinds(effects) == [do.DropSpool, do.CountRefusal, do.SendReceipt, do.Log]
    assert receipts(story.answers("a")) == [("a", "admitted", None)]


# ── frames ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_repeated_frame_is_answered_with_what_is_missing() -> None:
    story = running("a", "b", "c")
    pieces = frames(update("a"), 4)
    assert kinds(story.frame("a", pieces[0])) == [do.SpoolFrame]
    assert kinds(story.frame("a", pieces[2])) == [do.SpoolFrame]
    receipt = only_receipt(story.frame("a", pieces[0]))
    assert (receipt.verdict, receipt.missing, receipt.after_s) == ("retry", (1, 3), 0)
    story.frame("a", pieces[3])
    assert kinds(story.frame("a", pieces[1])) == [do.SpoolFrame, do.ReadUpdate]
    assert (story.state.partials, story.state.spooled) == ({}, 0)


def test_a_newer_update_replaces_what_a_device_had_begun() -> None:
    story = running("a", "b", "c")
    older, newer = update("a", samples=10), update("a", samples=11)
    story.frame("a", frames(older, 4)[0])
    assert kinds(story.frame("a", frames(newer, 4)[0])) == [do.DropSpool, do.SpoolFrame]
    assert story.state.partials["a"].id == digest_of(newer)
    assert receipts(story.send("a", newer, 4)) == [
        ("a", "retry", None),  # frame 0 again
        ("a", "admitted", None),
    ]


def test_frames_that_contradict_each_other_are_refused_and_the_first_ones_stay() -> None:
    story = running("a", "b", "c")
    message = update("a")
    story.frame("a", frames(message, 4)[0])
    held = story.state.partials
    longer = frames(message, 2)[1]
    for contradicts in (
        longer.model_copy(update={"size": longer.size + 1}),
        longer.model_copy(update={"data": longer.data + b"x"}),  # no cut has a longer last frame
    ):
        effects = story.frame("a", contradicts)
        assert receipts(effects) == [("a", "refused", Reason.MALFORMED)]
        assert story.state.partials == held


@pytest.mark.parametrize(("before", "then"), [(4, 7), (7, 4), (4, 1)])
def test_an_update_that_is_cut_anew_begins_anew_and_the_receipt_names_frames_of_this_cut(
    before: int, then: int
) -> None:
    """A device that comes back through a broker with a smaller limit, in the middle of its update."""
    story = running("a", "b", "c")
    message = update("a")
    for frame in frames(message, before)[:-1]:
        story.frame("a", frame)
    spooled = story.state.spooled
    effects = story.frame("a", frames(message, then)[0])
    assert kinds(effects)[:2] == [do.DropSpool, do.SpoolFrame]
    assert {effect.digest for effect in of(do.DropSpool, effects)} == {digest_of(message)}
    assert story.state.spooled == (
        spooled + 512 * (then - before) if then > 1 else 0  # `cost` of a frame besides its data
    )
    if then > 1:
        assert only_receipt(effects).missing == tuple(range(1, then))
        # Frames of the former cut that come late begin that one anew; nothing of the two is mixed.
        late = only_receipt(story.frame("a", frames(message, before)[1]))
        assert late.missing == (0, *range(2, before))
    effects = story.send("a", message, then)
    assert receipts(effects)[-1] == ("a", "admitted", None)
    assert (story.state.admitted, story.state.spooled) == (1, 0)


def test_a_receipt_names_as_many_missing_frames_as_the_smallest_payload_holds() -> None:
    """The least of `[broker] max_payload_bytes` is 4,096; a device asks for the rest with the next one."""
    story = running("a", "b", "c")
    first = frames(update("a"))[0]
    story.frame("a", first.model_copy(update={"n": 4_000, "size": 4_000, "data": b"x"}))
    receipt = only_receipt(
        story.frame("a", first.model_copy(update={"n": 4_000, "size": 4_000, "data": b"x"}))
    )
    assert receipt.missing == tuple(range(1, partials.MOST_NAMED + 1))
    assert len(pack(receipt.model_copy(update={"detail": "x" * 500}))) <= 4_096


def test_an_update_larger_than_the_task_can_make_is_refused_at_its_first_frame() -> None:
    story = running("a", "b", "c")
    effects = story.answers("a", body=bytes(max_bytes(story.state)))
    assert receipts(effects) == [("a", "refused", Reason.OVERSIZE)]
    assert not of(do.SpoolFrame, effects)


def test_a_full_spool_asks_for_patience_and_takes_what_it_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    story = running("a", "b", "c")
    first = frames(update("a"), 2)
    monkeypatch.setattr(partials, "SPOOL_BYTES", cost(first[0].size, 2))
    story.frame("a", first[0])
    effects = story.frame("b", frames(update("b"), 2)[0])
    receipt = only_receipt(effects)
    assert (receipt.verdict, receipt.reason, receipt.missing) == ("retry", Reason.TOO_MANY_PARTIAL, ())
    assert receipt.after_s > 0
    assert not of(do.SpoolFrame, effects)
    assert receipts(story.send("a", update("a"), 2))[-1] == ("a", "admitted", None)
    assert kinds(story.frame("b", frames(update("b"), 2)[0])) == [do.SpoolFrame]


def test_a_partial_update_is_dropped_with_its_round() -> None:
    story = running("a", "b", "c")
    message = update("c")
    story.frame("c", frames(message, 2)[0])
    story.answers("a")
    story.answers("b")
    story.later(DEADLINE_S)
    effects = story.closed()
    assert do.DropSpool("c", digest_of(message)) in effects
    assert (story.state.partials, story.state.spooled) == ({}, 0)


def test_terms_are_made_anew_when_anything_changes_that_they_are_made_of() -> None:
    read = set[str]()

    class Seen:
        """A state that notes which of its fields are read."""

        def __getattr__(self, name: str) -> object:
            if name == "parts":  # it is made of these
                return Federation.parts.fget(self)  # type: ignore[attr-defined]
            read.add(name)
            return getattr(state, name)

    state = running("a", usual=UsualDistance(1.0, vectors={"control": 2.0})).state
    assert terms_of.__wrapped__(Seen()) == terms_of(state)  # type: ignore[attr-defined]
    numbers = {"weights": 7, "seed": 5, "max_samples": 3, "kind": "evaluate", "round": RoundId(1, 9)}
    for name, other in numbers.items():
        assert name in read
        assert terms_of(replace(state, **{name: other})) is not terms_of(state), name
    cached = {*inspect.getclosurevars(terms_of).nonlocals["read"].__reduce__()[1]}
    assert read <= cached
