"""What a device tells of itself has a range, and one device moves the fleet's figures by little."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.aggregation.figures import (
    LARGEST_LOSS,
    RANGES,
    SMALL_MESSAGES,
    bytes_needed,
    fault,
    known,
    summarize,
)
from aggregator.core.progress import Progress
from aggregator.core.stopping_rule import StoppingRule
from aggregator.core.verdicts import Verdict
from tests.wording import assert_tells

NEEDED = 2**21
TWENTY = range(19)
"""The honest ones of twenty."""


def told(samples: int = 100, **metrics: float) -> Verdict:
    return Verdict(b"d" * 32, "admitted", samples=samples, metrics=metrics)


def summary(answers: dict[str, Verdict]) -> dict[str, float]:
    return summarize(answers, NEEDED)


def fleet(accuracy: float = 0.8, loss: float = 0.5, samples: int = 40, held: int = 10) -> dict[str, Verdict]:
    """Nineteen devices around these figures."""
    return {
        f"pi-{k}": told(
            samples,
            loss_before=loss + k / 100,
            loss_after=loss / 2 + k / 100,
            accuracy_before=accuracy - 0.09 + k / 100,
            accuracy_after=accuracy - 0.09 + k / 100,
            held_loss_before=loss + k / 100,
            held_out=held,
            received_bytes=50_000,
        )
        for k in TWENTY
    }


# ── ranges ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "value", "facts"),
    [
        ("accuracy_before", 1e9, ("= 1000000000: ", "0…1")),
        ("accuracy_after", -0.1, ("= -0.1: ", "0…1")),
        ("accuracy_before", 1.0000001, ("= 1.0000001: ", "0…1")),
        ("loss_before", -1e300, ("= -1e+300: ", "finite")),
        ("held_loss_before", -1e-9, ("= -1e-09: ", "finite")),
        ("held_loss_after", -1.0, ("= -1: ",)),
        ("loss_after", -1.0, ("= -1: ",)),
        ("seconds", -1.0, ("= -1: ",)),
        ("held_out", 2.5, ("= 2.5: ", "0…2147483647")),
        ("held_out", -1.0, ("= -1: ", "0…2147483647")),
        ("held_out", 2.0**31, ("= 2147483648: ", "0…2147483647")),
        ("held_unseen", 0.5, ("= 0.5: ", "0…2147483647")),
        ("held_unseen", 2.0, ("= 2: ", "held_out")),
        ("partial", 2.0, ("= 2: ", "0…1")),
        ("partial", 0.5, ("= 0.5: ", "0…1")),
        ("received_bytes", 1e300, ("= 1e+300: ", "0…1125899906842624")),
        ("received_bytes", 0.5, ("= 0.5: ", "0…1125899906842624")),
        ("sent_bytes", -7.0, ("= -7: ", "0…1125899906842624")),
        ("accuracy_personal", 1.5, ("= 1.5: ", "0…1")),
        ("accuracy_alone", -0.1, ("= -0.1: ", "0…1")),
        ("held_loss_personal", -1.0, ("= -1: ",)),
        ("rmse_alone", -1.0, ("= -1: ",)),
        ("mae_personal", float("inf"), ("= inf: ", "finite")),
        ("chose", 2.0, ("= 2: ", "0…1")),
        ("chose", 0.5, ("= 0.5: ", "0…1")),
    ],
)
def test_a_figure_outside_of_its_range_is_named(name: str, value: float, facts: tuple[str, ...]) -> None:
    why = fault({"loss_after": 1.0, name: value} if name != "loss_after" else {name: value})
    assert why is not None
    assert_tells(why, f"{name} ", *facts)
    assert known({name: value, "held_out": 1.0} if name != "held_out" else {name: value}).get(name) is None


def test_what_can_be_true_passes_however_bad_it_is() -> None:
    honest = {
        "loss_before": 1e308,  # a model that was about to diverge
        "loss_after": 0.0,
        "held_loss_before": 1e308,
        "accuracy_before": 0.0,
        "accuracy_after": 1.0,
        "held_out": 0.0,
        "received_bytes": 2.0**50,
        "sent_bytes": 0.0,
        "seconds": 86_400.5,
    }
    assert fault(honest) is None
    assert known(honest) == honest


def test_a_figure_of_a_newer_device_is_neither_kept_nor_judged() -> None:
    assert fault({"brightness": -1e308}) is None
    assert known({"brightness": -1e308, "loss_after": 1.0}) == {"loss_after": 1.0}


def test_every_figure_that_is_summarized_has_a_range() -> None:
    assert set(summary(fleet())) == {
        "loss_before",
        "loss",
        "accuracy",
        "held_loss",
        "accuracy_local",
        "bytes_down",
    }
    for name in fleet()["pi-0"].metrics:
        assert name in RANGES


# ── the fleet's figures ────────────────────────────────────────────────────────────────────────────


def test_losses_are_weighed_by_samples_and_accuracies_by_what_is_held_out() -> None:
    found = summary(
        {
            "a": told(10, loss_after=2.0, accuracy_before=0.5, held_out=10, received_bytes=100),
            "b": told(20, loss_after=1.0, accuracy_before=1.0, held_out=10, received_bytes=50),
        }
    )
    # No weight above the lower median: 10 and 10 both times.
    assert found == {"loss": 1.5, "accuracy": 0.75, "bytes_down": 150}


def test_from_three_devices_on_the_lowest_and_the_highest_do_not_count() -> None:
    answers = {f"pi-{k}": told(accuracy_before=value, held_out=5) for k, value in enumerate((0.1, 0.6, 1.0))}
    assert summary(answers)["accuracy"] == 0.6
    answers["pi-3"] = told(accuracy_before=0.8, held_out=5)
    assert summary(answers)["accuracy"] == pytest.approx(0.7)


def test_one_device_tells_of_no_more_unseen_rows_than_the_median_one_holds_out() -> None:
    answers = {f"pi-{k}": told(held_out=10, held_unseen=0) for k in range(19)}
    assert "held_unseen" not in summary(answers), "there are none"
    answers["pi-3"] = told(held_out=10, held_unseen=4)
    assert summary(answers)["held_unseen"] == 4
    answers["liar"] = told(10**6, held_out=2.0**31 - 1, held_unseen=2.0**31 - 1)
    assert summary(answers)["held_unseen"] == 14, "the median device holds out 10"
    answers["liar"] = told(1, held_out=9, held_unseen=10)
    assert_tells(fault({"held_out": 9.0, "held_unseen": 10.0}) or "", "held_unseen = 10", "held_out")
    assert summary(answers)["held_unseen"] == 4, "what cannot be true does not count"


def test_devices_that_ended_early_are_counted() -> None:
    answers = {f"pi-{k}": told(partial=float(k < 3)) for k in range(19)}
    assert summary(answers)["partial"] == 3
    answers["liar"] = told(10**6, partial=2.0**31)
    assert summary(answers)["partial"] == 3, "what cannot be true does not count"
    answers["liar"] = told(10**6, partial=1.0)
    assert summary(answers)["partial"] == 4, "each device counts once, whatever its n_k"
    assert "partial" not in summary({"a": told(partial=0.0), "b": told()}), "there are none"


def test_a_figure_that_nobody_tells_is_not_made_up() -> None:
    assert summary({"a": told(10, accuracy_before=0.9), "b": told(5, held_out=3)}) == {"bytes_down": 0}
    assert summarize({}, NEEDED) == {"bytes_down": 0}


def test_what_a_ledger_of_before_holds_is_read_as_if_it_were_told_today() -> None:
    """An update that was admitted before there were ranges."""
    answers = {
        **fleet(),
        "liar": told(accuracy_before=1e9, held_out=1e18, received_bytes=-1.0, loss_after=-1e300),
    }
    honest = summary(fleet())
    for name, value in summary(answers).items():
        assert value == pytest.approx(honest[name], rel=0.05), name


@pytest.mark.parametrize("honest", [0, 1, 2])
def test_where_fewer_than_three_hold_rows_out_their_word_is_not_the_fleets(honest: int) -> None:
    """Nineteen that tell their training losses only, but for some of them."""
    answers = {
        f"pi-{k}": told(loss_before=1.0, loss_after=0.5, held_out=0, accuracy_before=0.5) for k in TWENTY
    }
    for k in range(honest):
        answers[f"pi-{k}"] = told(loss_before=1.0, loss_after=0.5, **HELD_OUT)
    answers["liar"] = told(**HELD_OUT | BRAGGART)
    found = summary(answers)
    assert (found["loss_before"], found["loss"]) == (1.0, 0.5)
    if honest < 2:
        assert not {"accuracy", "held_loss", "accuracy_local"} & set(found)
        assert StoppingRule(99, accuracy=0.9, patience=1).reason(after([answers] * 3)) is None
    else:
        assert (found["accuracy"], found["held_loss"], found["accuracy_local"]) == (0.5, 2.0, 0.5)


def test_losses_that_one_device_alone_tells_are_not_the_fleets() -> None:
    answers = {f"pi-{k}": told() for k in TWENTY}
    assert "loss" not in summary({**answers, "liar": told(loss_after=0.0, loss_before=0.0)})


@pytest.mark.parametrize("devices", [1, 2])
def test_a_fleet_of_one_or_two_that_all_hold_rows_out_ends_by_its_accuracy(devices: int) -> None:
    answers = {f"pi-{k}": told(**HELD_OUT | {"accuracy_before": 0.95}) for k in range(devices)}
    assert StoppingRule(99, accuracy=0.9).reason(after([answers])) is not None


HELD_OUT = {"accuracy_before": 0.5, "accuracy_after": 0.5, "held_loss_before": 2.0, "held_out": 20.0}

CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        **{
            name: st.floats(0, sys.float_info.max)
            for name in ("loss_before", "loss_after", "held_loss_before", "rmse_before", "mae_before")
        },
        **{name: st.floats(0, 1) for name in ("accuracy_before", "accuracy_after")},
        "held_out": st.integers(0, 2**31 - 1).map(float),
        "received_bytes": st.integers(0, 2**50).map(float),
    },
)


@settings(deadline=None)
@given(CLAIMS, st.integers(1, 10**6))
def test_one_of_twenty_moves_no_figure_by_more_than_a_twentieth_of_its_range(
    claims: dict[str, float], samples: int
) -> None:
    honest, lied = summary(fleet()), summary({**fleet(), "liar": told(samples, **claims)})
    for name, value in honest.items():
        # What the honest ones say of it spreads over 0.18: a twentieth of the range of an accuracy is .05.
        most = NEEDED if name == "bytes_down" else 0.18 / 17
        assert abs(lied[name] - value) <= most, name


@settings(deadline=None)
@given(st.lists(CLAIMS, min_size=1, max_size=5))
def test_whatever_devices_tell_the_figures_are_finite_and_in_their_range(
    metrics: list[dict[str, float]],
) -> None:
    found = summary({f"pi-{k}": told(10, **claims) for k, claims in enumerate(metrics)})
    assert all(0 <= value <= LARGEST_LOSS for value in found.values())
    for name in ("accuracy", "accuracy_local"):
        assert found.get(name, 0) <= 1
    assert found["bytes_down"] <= len(metrics) * NEEDED


def test_a_figure_is_a_function_of_the_set() -> None:
    answers = {**fleet(), "big": told(10**6, loss_before=1e308, accuracy_before=1.0, held_out=10**6)}
    assert summary(dict(reversed(answers.items()))) == summary(answers)


def test_nobody_is_believed_to_have_received_more_than_a_round_can_need() -> None:
    answers = {f"pi-{k}": told(received_bytes=2.0**50) for k in range(2)}
    assert summary(answers)["bytes_down"] == 2 * NEEDED
    assert bytes_needed(task=1_000, model=9_000) == 4 * 10_000 + SMALL_MESSAGES


# ── when learning ends ─────────────────────────────────────────────────────────────────────────────


def after(rounds: list[dict[str, Verdict]]) -> Progress:
    progress = Progress()
    for answers in rounds:
        found = summary(answers)
        progress = progress.after({**found, "weight_change": 1.0})
    return progress


BRAGGART = {"accuracy_before": 1.0, "held_loss_before": 0.0, "held_out": 2.0**31 - 1}
PESSIMIST = {"accuracy_before": 0.0, "held_loss_before": 1e308, "held_out": 2.0**31 - 1}


def test_one_of_twenty_does_not_end_learning_by_its_accuracy() -> None:
    rule = StoppingRule(99, accuracy=0.9)
    liar = {"liar": told(10**6, **BRAGGART)}
    assert rule.reason(after([{**fleet(accuracy=0.85), **liar}])) is None


def test_one_of_twenty_does_not_keep_an_accuracy_from_ending_learning() -> None:
    rule = StoppingRule(99, accuracy=0.9)
    assert rule.reason(after([{**fleet(accuracy=0.93), "liar": told(10**6, **PESSIMIST)}])) is not None


def errors(rmse: float) -> dict[str, Verdict]:
    """Nineteen devices whose errors are around this one, in the target's unit."""
    return {
        f"pi-{k}": told(40, rmse_before=rmse - 0.9 + k / 10, mae_before=rmse / 2, held_out=10) for k in TWENTY
    }


def test_one_of_twenty_does_not_end_learning_by_its_rmse() -> None:
    """Nor keep it from ending."""
    rule = StoppingRule(99, rmse=20.0)
    good, bad = ({"liar": told(10**6, rmse_before=x, held_out=2.0**31 - 1)} for x in (0.0, 1e308))
    assert rule.reason(after([{**errors(22.0), **good}])) is None
    assert rule.reason(after([{**errors(19.0), **bad}])) is not None
    assert summary({**errors(22.0), **bad})["rmse"] == pytest.approx(22.0, abs=0.1)


def test_a_root_mean_square_is_merged_by_its_squares() -> None:
    """Of 10 rows each: √((3² + 5²) / 2) is that of all twenty, and 4 would be of none."""
    answers = {
        "a": told(rmse_before=3.0, mae_before=3.0, held_out=10),
        "b": told(rmse_before=5.0, mae_before=5.0, held_out=10),
    }
    found = summary(answers)
    assert found["rmse"] == pytest.approx(17**0.5, rel=1e-12)
    assert found["mae"] == 4.0


def test_one_of_twenty_does_not_end_learning_by_patience() -> None:
    """A loss of 0 once, which none after it can be below; then the largest."""
    rule = StoppingRule(99, patience=3)
    rounds = [{**fleet(loss=2.0), "liar": told(10**6, **BRAGGART)}]
    rounds += [{**fleet(loss=1.9 - k / 10), "liar": told(10**6, **PESSIMIST)} for k in range(8)]
    assert after(rounds).since_best == 0
    assert rule.reason(after(rounds)) is None


def test_one_of_twenty_does_not_keep_patience_from_ending_learning() -> None:
    """Honest losses stand still; the liar's improve every time, or cannot be added up."""
    rule = StoppingRule(99, patience=3)
    for lie in (lambda k: 10.0**-k, lambda k: 1e308, lambda k: 0.0):
        liar = [{"liar": told(10**6, held_loss_before=lie(k), held_out=2.0**31 - 1)} for k in range(6)]
        rounds = [{**fleet(loss=2.0), **each} for each in liar]
        assert rule.reason(after(rounds)) is not None


def test_a_loss_of_1e308_switches_no_rule_off() -> None:
    found = summary({**fleet(), "liar": told(**PESSIMIST)})
    assert found["held_loss"] == pytest.approx(summary(fleet())["held_loss"], abs=0.02)
