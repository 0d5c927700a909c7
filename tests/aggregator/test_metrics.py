"""What is counted, under which names it is shown, and that no device is named."""

import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

import fedge
from aggregator.core import rounds
from aggregator.core.events import Event
from aggregator.core.verdicts import Missed
from aggregator.shell.counters import BOUNDS_S, Counters, Snapshot
from aggregator.shell.exposition import MOST_CONNECTIONS, Exposition
from aggregator.shell.metrics import FederationCollector
from fedge.errors import ConfigError
from fedge.wire.frames import cost
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.status import Decline
from fedge.wire.reasons import Reason
from fleet.demo.broker import free_port
from tests.aggregator.stories import DEADLINE_S, Story, decline, federation, frames, status, update
from tests.wording import telling


class Counted(Story):
    """A story that is counted, as the runtime does it."""

    def __init__(self) -> None:
        super().__init__(federation())
        self.counters = Counters()

    def tell(self, event: Event) -> list[rounds.do.Effect]:
        before = self.state
        effects = super().tell(event)
        self.counters.step(before, event, effects)
        return effects


def values(counters: Counters, now: Snapshot | None = None) -> dict[tuple[str, ...], float]:
    """Name and label values of each sample → its value."""
    registry = CollectorRegistry()
    registry.register(FederationCollector("pumps", counters, lambda: now))
    return samples(registry.collect())


def samples(families: Iterator[Metric]) -> dict[tuple[str, ...], float]:
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_verdicts_are_counted_by_reason() -> None:
    story = Counted()
    story.announce("pi-1", "pi-2", "pi-3")
    story.answers("pi-1")
    story.answers("pi-1")  # the same again is no other update
    story.answers("pi-2", samples=0)
    story.send("pi-3", update("pi-3", RoundId(1, 9)))
    story.send("pi-3", update("pi-3", RoundId(1, 8)))
    assert story.counters.admitted == 1
    assert story.counters.refused == {Reason.BAD_SAMPLE_COUNT: 1, Reason.FUTURE_ROUND: 2}
    seen = values(story.counters)
    assert seen["fedge_updates_admitted_total",] == 1
    assert seen["fedge_updates_refused_total", "future_round"] == 2
    assert seen["fedge_updates_refused_total", "malformed"] == 0


def test_a_decline_counts_once_however_often_it_is_said() -> None:
    story = Counted()
    story.announce("pi-1", "pi-2")
    for _ in range(3):
        story.sees("pi-1", status(declined=decline()))
    story.sees("pi-1", status(online=False, declined=decline()))
    assert story.counters.declined == {Reason.TOO_FEW_SAMPLES: 1}
    story.later(DEADLINE_S)
    story.sees("pi-1", status(declined=decline(attempt=1)))
    story.sees("pi-2", status(declined=Decline(generation=1, round=1, attempt=1, reason=Reason.BAD_DATA)))
    story.sees("pi-2", status())
    assert story.counters.declined == {Reason.TOO_FEW_SAMPLES: 2, Reason.BAD_DATA: 1}
    assert values(story.counters)["fedge_rounds_declined_total", "bad_data"] == 1


def test_a_retained_decline_is_not_counted_again_when_the_ledger_is_taken_up_anew() -> None:
    story = Counted()
    for _ in range(2):
        story.state = federation()
        story.announce("pi-1", "pi-2")
        story.sees("pi-1", status(declined=decline()))
        story.sees("pi-2", status(declined=decline(RoundId(1, 0))))  # of a round that is over
    assert story.counters.declined == {Reason.TOO_FEW_SAMPLES: 1}


def test_closed_rounds_fill_the_histogram_and_the_figures_of_the_model() -> None:
    counters = Counters()
    assert ("fedge_accuracy_ratio",) not in values(counters)
    counters.closed({"seconds": 0.1})
    counters.closed({"seconds": 2.0, "accuracy": 0.75, "held_loss": 0.5, "weight_change": 0.25})
    counters.closed({"seconds": 1e6, "accuracy": 0.875, "loss": 0.125, "weight_change": 0.5, "partial": 2})
    seen = values(counters)
    assert seen["fedge_round_seconds_count",] == 3
    assert seen["fedge_round_seconds_sum",] == 1e6 + 2.1
    buckets = [seen["fedge_round_seconds_bucket", str(bound)] for bound in BOUNDS_S]
    assert buckets == [1, 1, 1, *[2] * (len(BOUNDS_S) - 3)]
    assert seen["fedge_round_seconds_bucket", "+Inf"] == 3
    assert seen["fedge_accuracy_ratio",] == 0.875
    assert seen["fedge_training_loss",] == 0.125
    assert seen["fedge_devices_ended_early",] == 2
    assert ("fedge_held_out_loss",) not in seen  # of the last round only


def test_a_round_that_only_measured_tells_of_the_newest_model_and_leaves_the_rest() -> None:
    counters = Counters()
    figures = {"rmse": 22.5, "mae": 15.0, "rmse_mean": 60.0}
    counters.closed({"seconds": 2.0, "loss": 0.5, "weight_change": 0.25, **figures})
    counters.closed({"seconds": 1.0, "rmse": 21.5, "mae": 14.0, "rmse_mean": 60.0})
    seen = values(counters)
    assert (seen["fedge_rmse",], seen["fedge_mae",], seen["fedge_rmse_of_the_mean",]) == (21.5, 14.0, 60.0)
    assert (seen["fedge_weight_change_ratio",], seen["fedge_training_loss",]) == (0.25, 0.5)


def test_the_present_is_shown_without_naming_a_device() -> None:
    story = Counted()
    story.announce("pi-1", "pi-2", "pi-3")
    story.sees("pi-3", status(online=False))
    story.answers("pi-1")
    first = frames(update("pi-2"), 2)[0]
    story.frame("pi-2", first)
    seen = values(story.counters, Snapshot(story.state, received_bytes=10, sent_bytes=20))
    assert seen["fedge_info", "pumps", fedge.__version__] == 1
    assert (seen["fedge_generation",], seen["fedge_round",]) == (1, 1)
    assert (seen["fedge_devices_known",], seen["fedge_devices_online",]) == (3, 2)
    assert (seen["fedge_round_updates",], seen["fedge_round_quorum",], seen["fedge_round_awaited",]) == (
        1,
        2,
        1,
    )
    assert seen["fedge_phase", "collecting"] == 1
    assert seen["fedge_phase", "closing"] == 0
    assert seen["fedge_broker_connected",] == 1
    assert seen["fedge_spooled_bytes",] == cost(first.size, 2), "what was begun is charged whole"
    assert seen["fedge_mqtt_bytes_total", "received"] == 10
    assert not [key for key in seen if any("pi-" in part for part in key)]


def test_who_is_given_up_is_counted() -> None:
    missed = {f"pi-{times}": Missed(times, Attempt(RoundId(1, 0), 0)) for times in (1, 2)}
    seen = values(Counters(), Snapshot(federation(missed=missed), 0, 0))
    assert seen["fedge_devices_given_up",] == 1


def test_there_are_as_many_series_with_a_thousand_devices_as_with_one() -> None:
    few, many = Counted(), Counted()
    few.announce("pi-1")
    many.announce(*(f"pi-{number}" for number in range(1_000)))
    for number in range(1_000):
        many.answers(f"pi-{number}", samples=number % 2)
    large, small = (values(each.counters, Snapshot(each.state, 0, 0)) for each in (many, few))
    assert len(large) == len(small)


@pytest.mark.system
def test_it_is_served_until_the_context_is_left() -> None:
    address = ("127.0.0.1", free_port())
    url = f"http://127.0.0.1:{address[1]}/metrics"
    with Exposition(address, FederationCollector("pumps", Counters(), lambda: None)):
        with urllib.request.urlopen(url, timeout=90) as page:
            seen = samples(text_string_to_metric_families(page.read().decode()))
        assert seen["fedge_info", "pumps", fedge.__version__] == 1
        assert seen["process_resident_memory_bytes",] > 0
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=90)


@pytest.mark.system
def test_connections_that_say_nothing_are_few_and_keep_nobody_out() -> None:
    address = ("127.0.0.1", free_port())
    threads = threading.active_count()
    with Exposition(address, FederationCollector("pumps", Counters(), lambda: None)), ExitStack() as idle:
        for _ in range(5 * MOST_CONNECTIONS):
            connection = idle.enter_context(socket.create_connection(address))
            connection.sendall(b"GET /metrics HTT")
        with urllib.request.urlopen(f"http://127.0.0.1:{address[1]}/metrics", timeout=90) as page:
            assert b"fedge_info" in page.read()
        deadline_s = time.monotonic() + 90
        while threading.active_count() > threads + 1 + MOST_CONNECTIONS:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)


def test_an_address_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=telling("[metrics] listen: ", f"127.0.0.1:{port}: ")),
            Exposition(("127.0.0.1", port)),
        ):
            pass


@pytest.mark.system
def test_what_a_client_asks_fills_no_log(capfd: pytest.CaptureFixture[str]) -> None:
    address = ("127.0.0.1", free_port())
    asked = urllib.request.Request(
        f"http://127.0.0.1:{address[1]}/metrics", headers={"Accept": "application/openmetrics-text;version=x"}
    )
    with Exposition(address, FederationCollector("pumps", Counters(), lambda: None)):
        for _ in range(3):
            try:
                urllib.request.urlopen(asked, timeout=90).close()
            except urllib.error.HTTPError as error:
                error.close()
    assert capfd.readouterr() == ("", "")


def test_an_address_that_no_resolver_takes_for_a_name_is_told() -> None:
    with (
        pytest.raises(ConfigError, match=telling("[metrics] listen: ", " a..b:80: ")),
        Exposition(("a..b", 80)),
    ):
        pass
