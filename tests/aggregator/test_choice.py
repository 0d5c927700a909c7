"""Which model is exported, told by the rounds that have closed."""

from aggregator.core.choice import choose
from aggregator.core.progress import Progress, progress_of
from tests.wording import assert_tells


def progress(*losses: float | None, final: float | None = None) -> Progress:
    rounds = [
        {"weight_change": 1.0, "accuracy": 0.5, **({"held_loss": loss} if loss is not None else {})}
        for loss in losses
    ]
    now = progress_of([("train", each) for each in rounds], "loss")
    return now if final is None else now.after_measuring({"held_loss": final, "accuracy": 0.25})


def test_the_best_that_was_measured_with_the_newest_beside_it() -> None:
    choice = choose(progress(0.9, 0.5, 0.4, 0.45), range(5), "best")
    assert (choice.chosen.round, choice.by) == (2, "held_loss")
    assert choice.chosen.figures == {"held_loss": 0.4, "accuracy": 0.5}, "as they were when it was measured"
    assert_tells(choice.why, "best", "held-out loss 0.4000")
    assert choice.other is not None
    assert (choice.other.round, choice.other.figures) == (4, {}), "the newest is not measured"


def test_the_newest_with_the_best_beside_it() -> None:
    choice = choose(progress(0.9, 0.5, 0.4, 0.45), range(5), "newest")
    assert choice.other is not None
    assert (choice.chosen.round, choice.other.round) == (4, 2)


def test_what_is_measured_at_the_end_may_be_the_best() -> None:
    better = choose(progress(0.9, 0.5, 0.4, final=0.3), range(4), "best")
    assert (better.chosen.round, better.chosen.figures) == (3, {"held_loss": 0.3, "accuracy": 0.25})
    worse = choose(progress(0.9, 0.5, 0.4, final=0.41), range(4), "best")
    assert worse.other is not None
    assert (worse.chosen.round, worse.other.round, worse.other.figures["held_loss"]) == (2, 3, 0.41)


def test_of_equal_ones_the_first() -> None:
    assert choose(progress(0.4, 0.4), range(3), "best").chosen.round == 0


def test_where_nothing_is_measured_it_is_the_newest_and_that_is_said() -> None:
    for how in ("best", "newest"):
        choice = choose(progress(None, None), range(3), how)  # type: ignore[arg-type]
        assert (choice.chosen.round, choice.chosen.figures) == (2, {})
        assert_tells(choice.why, "newest", "held-out loss")
    assert choice.other is None, "there is no best one to lie beside it"
    assert choose(Progress(), [0], "best").chosen.round == 0


def test_a_best_model_that_is_not_kept_is_named() -> None:
    """An older program freed it, or patience is on another figure since."""
    choice = choose(progress(0.1, 0.5, 0.6), [1, 2, 3], "best")
    assert choice.chosen.round == 3
    assert_tells(choice.why, "round 0 ", "held-out loss 0.1000", "not keep")
