"""A running aggregator's metrics, scraped as Prometheus does."""

import socket
import urllib.request
from contextlib import ExitStack

import pytest
from prometheus_client.parser import text_string_to_metric_families

import fedge
from fleet.demo.broker import free_port
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.wording import lines_telling

pytestmark = pytest.mark.system


def scrape(port: int) -> dict[tuple[str, ...], float]:
    """Name and label values of each sample → its value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=90) as page:
        families = list(text_string_to_metric_families(page.read().decode()))
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


@pytest.mark.slow
def test_a_scrape_tells_how_the_federation_is_doing(fleet: FleetOfProcesses) -> None:
    port = free_port()
    fleet.configure(
        federation={"seed": 7},
        model=CLASSIFIER,
        rounds={"quorum": 3, "target": 3, "deadline_s": 300.0},
        stopping={"rounds": 4},
        metrics={"listen": f"127.0.0.1:{port}"},
    )
    for number in range(3):
        fleet.device(f"device-{number}", *motions(number))
    fleet.device("poor", *motions(3, n=10))
    fleet.devices["device-2"].hold(5)  # in round 4, until the one that cannot take part has said so
    fleet.start_devices()
    fleet.until(lambda: all("connected to" in fleet.log(name) for name in fleet.devices), "all are there")
    fleet.start_aggregator()
    fleet.until(lambda: bool(fleet.rounds()), "it serves")
    declined = "fedge_rounds_declined_total", "too_few_samples"
    fleet.until(lambda: scrape(port).get(declined, 0) >= 1, "one declines")
    fleet.devices["device-2"].release()
    fleet.until(lambda: scrape(port).get(("fedge_phase", "done")) == 1, "learning is done")
    seen = scrape(port)
    assert seen["fedge_info", fleet.name, fedge.__version__] == 1
    # The survey, four rounds of training, and the one that measured the last model.
    assert seen["fedge_round",] == 5
    assert seen["fedge_updates_admitted_total",] == 3 * 6
    assert seen["fedge_round_seconds_count",] == 6
    assert seen[declined] >= 1
    assert seen["fedge_devices_known",] == 4
    assert 0 < seen["fedge_accuracy_ratio",] <= 1
    assert seen["fedge_weight_change_ratio",] > 0
    assert seen["fedge_mqtt_bytes_total", "received"] > 3 * 5 * 400
    assert seen["process_cpu_seconds_total",] > 0
    assert not [key for key in seen if any("device-" in part or "poor" in part for part in key)]

    fleet.terminate("aggregator")
    fleet.start_aggregator()
    fleet.until(lambda: fleet.log().count("learning is done") == 2, "it takes up where the ledger stands")
    fleet.until(lambda: len(lines_telling(fleet.log(), "[stopping]", "new-generation")) == 2, "how to go on")
    again = scrape(port)
    assert again["fedge_accuracy_ratio",] == seen["fedge_accuracy_ratio",]
    assert again["fedge_updates_admitted_total",] == 0


@pytest.mark.slow
def test_whoever_reaches_it_cannot_take_the_aggregator_off_the_broker(
    fleet: FleetOfProcesses,
) -> None:
    """More idle connections than it may open files; then the broker is away for a moment."""
    port, files = free_port(), 100
    fleet.configure(
        model=CLASSIFIER,
        rounds={"quorum": 2, "target": 2, "deadline_s": 300.0},
        stopping={"rounds": 2},
        metrics={"listen": f"127.0.0.1:{port}"},
    )
    for number in range(2):
        fleet.device(f"device-{number}", *motions(number))
    fleet.devices["device-1"].hold(3)  # in round 2
    fleet.prefixes["aggregator"] = ["sh", "-c", f'ulimit -n {files} && exec "$@"', "sh"]
    fleet.start_devices()
    fleet.start_aggregator("--exit-when-done")
    fleet.until(lambda: fleet.admitted(2) == {"device-0"}, "round 2 is open")
    with ExitStack() as idle:
        for _ in range(2 * files):
            idle.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert scrape(port)["process_open_fds",] < files
        fleet.broker.kill()
        fleet.broker.restart()
        fleet.devices["device-1"].release()
        assert fleet.ends() == 0, fleet.log()
    assert fleet.admitted(2) == {"device-0", "device-1"}
