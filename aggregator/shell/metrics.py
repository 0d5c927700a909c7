"""Metrics for Prometheus: how the federation is doing, without naming a device.

Off unless `[metrics] listen` is set. The page is read-only and needs no password: who may reach the address
may read it. Names and units follow https://prometheus.io/docs/practices/naming/.
"""

from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from aggregator.core.federation import Stage
from aggregator.core.patience import given_up
from aggregator.core.quorum import updates_needed
from aggregator.shell.counters import BOUNDS_S, Counters, Snapshot
from fedge import __version__
from fedge.wire.reasons import Reason

BROUGHT = {
    "accuracy": (
        "fedge_accuracy_ratio",
        "Accuracy on the devices' held-out parts, of the model before the last.",
    ),
    "held_loss": (
        "fedge_held_out_loss",
        "Loss on the devices' held-out parts, of the model before the last.",
    ),
    "rmse": (
        "fedge_rmse",
        "Root mean squared error on the devices' held-out parts, in the target's unit, of the model before "
        "the last.",
    ),
    "mae": (
        "fedge_mae",
        "Mean absolute error on the devices' held-out parts, in the target's unit, of the model before the "
        "last.",
    ),
    "rmse_mean": (
        "fedge_rmse_of_the_mean",
        "Root mean squared error of always answering with the mean that the survey found.",
    ),
    "loss": ("fedge_training_loss", "Mean loss on the devices' training parts after the last round."),
    "weight_change": (
        "fedge_weight_change_ratio",
        "How much the last round changed the weights: |w' - w| / |w|.",
    ),
}
"""The figures of a round's summary that are shown, with their names and descriptions."""


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
            "fedge_updates_admitted", "Updates and surveys that count.", counters.admitted
        )
        for name, words, counts in (
            ("fedge_updates_refused", "What devices sent in vain.", counters.refused),
            ("fedge_rounds_declined", "Rounds that a chosen device did not take part in.", counters.declined),
        ):
            family = CounterMetricFamily(name, words, labels=("reason",))
            for reason in Reason:  # zeros too: a rate needs a value before the first event
                family.add_metric((reason.value,), counts[reason])
            yield family
        uppers = (*map(str, BOUNDS_S), "+Inf")
        yield HistogramMetricFamily(
            "fedge_round_seconds",
            "How long closed rounds took, the survey too.",
            buckets=list(zip(uppers, accumulate(counters.buckets), strict=True)),
            sum_value=counters.seconds,
        )
        if counters.outlying is not None:
            words = "Devices that lie far from the fleet in some column of the survey."
            yield GaugeMetricFamily("fedge_survey_outlying_devices", words, counters.outlying)
        for key, (name, words) in BROUGHT.items():
            if key in (brought := counters.brought):
                yield GaugeMetricFamily(name, words, brought[key])


def _present(now: Snapshot) -> Iterator[Metric]:
    state = now.state
    for name, words, value in (
        ("fedge_broker_connected", "1 while the broker is reached.", state.link_up),
        ("fedge_generation", "The generation.", state.round.generation),
        ("fedge_round", "The round that is open, or the last; 0 is the survey.", state.round.round),
        ("fedge_round_attempt", "How often the round's deadline has passed below quorum.", state.attempt),
        ("fedge_round_updates", "Updates admitted in the open round.", state.admitted),
        ("fedge_round_quorum", "Updates that it takes to close it.", updates_needed(state)),
        ("fedge_round_awaited", "Devices online that have not answered yet.", len(state.awaited)),
        (
            "fedge_devices_given_up",
            "Devices that rounds do not wait for: they let deadlines pass, or what they send is refused.",
            len(given_up(state)),
        ),
        ("fedge_devices_online", "Devices whose status is online.", len(state.online)),
        ("fedge_devices_known", "Devices that have ever told their status.", len(state.fleet)),
        ("fedge_devices_quarantined", "Devices that the operator has set aside.", len(state.quarantined)),
        ("fedge_model_weights", "Numbers in the model.", state.weights),
        ("fedge_spooled_bytes", "Parts of updates that are not whole yet.", state.spooled),
    ):
        yield GaugeMetricFamily(name, words, float(value))
    phases = GaugeMetricFamily("fedge_phase", "1 for the phase that the round is in.", labels=("phase",))
    for phase in Stage:
        phases.add_metric((phase.value,), float(phase is state.stage))
    yield phases
    traffic = CounterMetricFamily("fedge_mqtt_bytes", "Topics and payloads.", labels=("direction",))
    traffic.add_metric(("received",), now.received_bytes)
    traffic.add_metric(("sent",), now.sent_bytes)
    yield traffic
