"""Metrics for Prometheus: the state of the federation, without naming a device.

Off unless `[metrics] listen` is set. The page is read-only and has no password: whoever can reach the address
can read it. Names and units follow https://prometheus.io/docs/practices/naming/.
"""

from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from aggregator.core.federation import Stage
from aggregator.core.patience import given_up
from aggregator.core.quorum import updates_needed
from aggregator.export.privacy_entry import spent_of
from aggregator.shell.counters import BOUNDS_S, Counters, Snapshot
from fedge import __version__
from fedge.wire.reasons import Reason

BROUGHT = {
    "accuracy": (
        "fedge_accuracy_ratio",
        "Accuracy of the model before the last, on the devices' held-out parts.",
    ),
    "held_loss": (
        "fedge_held_out_loss",
        "Loss of the model before the last, on the devices' held-out parts.",
    ),
    "rmse": (
        "fedge_rmse",
        "Root mean squared error of the model before the last, on the devices' held-out parts, in the "
        "target's unit.",
    ),
    "mae": (
        "fedge_mae",
        "Mean absolute error of the model before the last, on the devices' held-out parts, in the target's "
        "unit.",
    ),
    "rmse_mean": (
        "fedge_rmse_of_the_mean",
        "Root mean squared error of always answering with the mean that the survey found.",
    ),
    **{
        f"{name}_{whose}": (f"{metric}_{whose}{unit}", f"{words} {of}, on the devices' held-out parts.")
        for whose, of in (
            ("personal", "of the models that devices use"),
            ("alone", "of models that devices have trained alone"),
        )
        for name, metric, unit, words in (
            ("accuracy", "fedge_accuracy", "_ratio", "Accuracy"),
            ("rmse", "fedge_rmse", "", "Root mean squared error"),
        )
    },
    "compared": (
        "fedge_devices_compared",
        "Devices that compare the model that they use with one that they have trained alone.",
    ),
    "worse_off": (
        "fedge_devices_worse_off",
        "How many of them are worse off than alone by more than one held-out row.",
    ),
    "shared_worse_off": (
        "fedge_devices_shared_worse_off",
        "How many of them would be worse off so with the shared model.",
    ),
    "loss": ("fedge_training_loss", "Mean loss on the devices' training parts after the last round."),
    "partial": (
        "fedge_devices_ended_early",
        "Devices whose training in the last round ended at their owner's time limit.",
    ),
    "weight_change": (
        "fedge_weight_change_ratio",
        "How much the last round changed the weights: |w' - w| / |w|.",
    ),
    "staleness": (
        "fedge_staleness_rounds",
        "With buffered rounds: how many rounds back the last round's updates began, in the mean.",
    ),
}
"""The figures of a round's summary that are shown, with their names and descriptions."""

USES = {"shared": "use_shared", "personal": "use_personal"}
"""The counts of a round's summary by the model that devices use."""


class FederationCollector(Collector):
    """Turns the state and the counters into samples at each scrape.

    Args:
        federation: its name.
        counters: what has been counted since the start.
        now: the present state; None while there is none.
    """

    def __init__(self, federation: str, counters: Counters, now: Callable[[], Snapshot | None]) -> None:
        self._federation = federation
        self._counters = counters
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """Yield all families."""
        info = GaugeMetricFamily("fedge_info", "Always 1.", labels=("federation", "version"))
        info.add_metric((self._federation, __version__), 1)
        yield info
        yield from self._counted()
        if (now := self._now()) is not None:
            yield from _present(now)

    def _counted(self) -> Iterator[Metric]:
        counters = self._counters
        yield CounterMetricFamily(
            "fedge_updates_admitted", "Updates and surveys that were admitted.", counters.admitted
        )
        for name, words, counts in (
            ("fedge_updates_refused", "Messages of devices that were refused.", counters.refused),
            ("fedge_rounds_declined", "Attempts of rounds that a device declined.", counters.declined),
        ):
            family = CounterMetricFamily(name, words, labels=("reason",))
            for reason in Reason:  # zeros too: a rate needs a value before the first event
                family.add_metric((reason.value,), counts[reason])
            yield family
        uppers = (*map(str, BOUNDS_S), "+Inf")
        yield HistogramMetricFamily(
            "fedge_round_seconds",
            "Duration of closed rounds, surveys included.",
            buckets=list(zip(uppers, accumulate(counters.buckets), strict=True)),
            sum_value=counters.seconds,
        )
        if counters.outlying is not None:
            words = "Devices that lie far from the fleet in some column of the survey."
            yield GaugeMetricFamily("fedge_survey_outlying_devices", words, counters.outlying)
        if any(key in counters.brought for key in USES.values()):
            words = "Devices by the model that they use: the shared one, or their personal one."
            uses = GaugeMetricFamily("fedge_devices_using", words, labels=("model",))
            for model, key in USES.items():
                uses.add_metric((model,), counters.brought.get(key, 0))
            yield uses
        for key, (name, words) in BROUGHT.items():
            if key in (brought := counters.brought):
                yield GaugeMetricFamily(name, words, brought[key])


def _present(now: Snapshot) -> Iterator[Metric]:
    state = now.state
    for name, words, value in (
        ("fedge_broker_connected", "1 while connected to the broker.", state.link_up),
        ("fedge_generation", "The generation.", state.round.generation),
        ("fedge_round", "The round that is open, or the last; 0 is the survey.", state.round.round),
        ("fedge_round_attempt", "How often the round's deadline has passed below quorum.", state.attempt),
        ("fedge_round_updates", "Updates admitted in the open round.", state.admitted),
        ("fedge_round_quorum", "Updates that close the open round.", updates_needed(state)),
        ("fedge_round_awaited", "Devices that the open round waits for.", len(state.awaited)),
        (
            "fedge_devices_given_up",
            "Devices that rounds do not wait for: they let deadlines pass, or their updates were refused.",
            len(given_up(state)),
        ),
        ("fedge_devices_online", "Devices whose status is online.", len(state.online)),
        ("fedge_devices_known", "Devices that have ever sent a status.", len(state.fleet)),
        ("fedge_devices_quarantined", "Devices that the operator has set aside.", len(state.quarantined)),
        ("fedge_model_weights", "Numbers in the model.", state.weights),
        ("fedge_spooled_bytes", "Bytes of updates that are not complete yet.", state.spooled),
    ):
        yield GaugeMetricFamily(name, words, float(value))
    privacy = state.protection.privacy if state.protection is not None else None
    if privacy is not None:
        for name, words, figure in (
            ("fedge_privacy_epsilon", "ε that all rounds together may cost a device.", privacy.epsilon),
            ("fedge_privacy_epsilon_spent", "ε of the rounds so far.", spent_of(privacy).epsilon),
            ("fedge_privacy_delta", "δ of both.", privacy.delta),
            ("fedge_privacy_releases", "Rounds that have been paid for.", privacy.witness.number),
            ("fedge_privacy_rounds", "Rounds that may be paid for.", privacy.rounds),
        ):
            yield GaugeMetricFamily(name, words, float(figure))
    phases = GaugeMetricFamily("fedge_phase", "1 for the stage that the round is in.", labels=("phase",))
    for phase in Stage:
        phases.add_metric((phase.value,), float(phase is state.stage))
    yield phases
    traffic = CounterMetricFamily(
        "fedge_mqtt_bytes",
        "Bytes of topics and payloads, over the connection to the broker.",
        labels=("direction",),
    )
    traffic.add_metric(("received",), now.received_bytes)
    traffic.add_metric(("sent",), now.sent_bytes)
    yield traffic
