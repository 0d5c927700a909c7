"""How devices fare with the model that they use, beside a model that each has trained alone. Pure.

With `[personal] compare` a device tells three figures of its own held-out rows: of the shared model, of the
model that it uses, and of the one alone. It is worse off than alone if the difference is more than one row:

    h (accuracy_alone - accuracy_personal) > 1            for a classifier with h held-out rows
    h rmse_personal² > (h + 1) rmse_alone²                for a regression: more than one mean row's square

Each device is counted by itself. So whatever one device tells, it changes each count by one at most.
"""

from collections.abc import Mapping, Sequence

from fedge.wire.messages.fields import Metrics

LARGEST = 1e30
"""An RMSE counts as at most this: its square is finite."""
ROUNDING = 1e-6
"""What a difference of whole rows may be off, because devices tell shares of rows."""
USES = ("use_shared", "use_personal")
"""The counts of devices by `chose`: the model that they use."""


def counts(told: Sequence[Metrics]) -> dict[str, float]:
    """Count the devices that use each model, those that compare, and those that are worse off than alone.

    Args:
        told: the known figures of each device.

    Returns:
        `use_shared` and `use_personal`, if a device tells which model it uses; `compared`,
        `worse_off` and `shared_worse_off` (with the shared model), if a device compares.
    """
    found: dict[str, float] = {}
    chose = [int(metrics["chose"]) for metrics in told if "chose" in metrics]
    if chose:
        found |= {name: chose.count(number) for number, name in enumerate(USES)}
    comparing = [metrics for metrics in told if worse_off(metrics, "personal") is not None]
    if comparing:
        found |= {
            "compared": len(comparing),
            "worse_off": sum(bool(worse_off(metrics, "personal")) for metrics in comparing),
            "shared_worse_off": sum(bool(worse_off(metrics, "before")) for metrics in comparing),
        }
    return found


def worse_off(metrics: Mapping[str, float], whose: str) -> bool | None:
    """Whether a device is worse off than alone by more than one held-out row.

    Args:
        metrics: what it tells.
        whose: `personal`, the model that it uses; `before`, the shared one.

    Returns:
        None: it does not tell both figures, or holds nothing out.
    """
    rows = metrics.get("held_out", 0.0)
    for name in ("accuracy", "rmse"):
        own, alone = metrics.get(f"{name}_{whose}"), metrics.get(f"{name}_alone")
        if own is None or alone is None or rows <= 0:
            continue
        if name == "accuracy":
            return by_more_than_a_row(rows * (alone - own))
        squares = [min(value, LARGEST) ** 2 for value in (own, alone)]
        return bool(rows * squares[0] > (rows + 1) * squares[1] * (1 + ROUNDING))
    return None


def by_more_than_a_row(behind: float) -> bool:
    """Whether a model that gets so many rows fewer right than another one is worse off.

    The demo, its report, the metrics and `benchmarks.personal` count by this function. The benchmark's
    `behind` is a mean over seeds.

    >>> [by_more_than_a_row(rows) for rows in (-3, 1, 1.2, 2)]
    [False, False, True, True]
    """
    return bool(behind > 1 + ROUNDING)
