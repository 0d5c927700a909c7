"""Containers as a user starts them: twenty devices learn, what comes out is used, and trouble is survived.

Run as root: `make deploy`. Podman and its images are installed if they are not there (containers.sh). Where
images cannot be pulled, Mosquitto and Prometheus are Debian's; Grafana is not run.
"""

import json
import os
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from fleet.datasets import load_watch
from fleet.demo.broker import free_port
from tests import milestones
from tests.deploy.project import BASE, ROOT, Project, expressions, inspect, over, podman, prepare
from tests.milestones import CONNECTED, ENROLLED, IDENTITY, LEARNING_DONE

pytestmark = [
    pytest.mark.deploy,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(os.geteuid() != 0, reason="containers need root here"),
]

DEVICES, ROUNDS = 20, 10
MODEL = "/var/lib/fedge/export/model.onnx"
MEGABYTE = 1_000_000
ROUND_CLOSED = r"round 1\.(\d+): " + milestones.closed(r"(\w+)") + r", (\d+) devices"
"""The aggregator's line on a closed round: its number, its kind, and how many devices counted."""
KILLING = "killing the agent"
"""The line of `deploy/docker/device.sh` before it kills its agent."""


@pytest.fixture(scope="module")
def images() -> None:
    prepare()


@pytest.fixture(scope="module")
def twenty(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A federation that has learnt, and whose containers are still running."""
    settings = over(
        "aggregator", FEDGE_AGGREGATOR_ROUNDS__QUORUM=DEVICES, FEDGE_AGGREGATOR_STOPPING__ROUNDS=ROUNDS
    )
    with Project(tmp_path_factory.mktemp("compose"), services=settings, prometheus=free_port()) as project:
        project.up("--scale", f"agent={DEVICES}")
        project.until(lambda: LEARNING_DONE in project.log("aggregator"), "learning is done")
        yield project


def closed(project: Project, *kinds: str) -> list[tuple[int, int]]:
    """Number and devices of each closed round of these kinds."""
    found = re.findall(ROUND_CLOSED, project.log("aggregator"))
    return [(int(number), int(devices)) for number, kind, devices in found if kind in kinds]


def load(project: Project, folder: Path) -> ort.InferenceSession:
    """The exported model, from the volume it was written to."""
    return ort.InferenceSession(project.copy("aggregator", MODEL, folder / "model.onnx").read_bytes())


# Images


@pytest.mark.parametrize(("target", "most"), [("agent", 120), ("aggregator", 350)])
def test_an_image_is_small_and_runs_as_nobody_in_particular(images: None, target: str, most: int) -> None:
    name = f"fedge-{target}"
    image = inspect("image", name)
    above = (image["Size"] - inspect("image", BASE)["Size"]) / MEGABYTE
    print(f"{name}: {above:.0f} MB over its base")
    assert above <= most
    assert image["Config"]["User"] == "10001:10001"
    assert image["Healthcheck"]["Test"] == ["CMD", "healthcheck"]
    run = ("run", "--rm", "--no-healthcheck", "--read-only", "--cap-drop=ALL", "--network=none")
    assert podman(*run, name, "--version").startswith(f"{name} 0.")
    inside = podman(
        *run, "--entrypoint=sh", name, "-c", "ls /opt/fedge/bin; id -u; touch /x /opt/fedge/x || true"
    )
    assert "pip" not in inside.split()
    assert "10001" in inside.split()
    assert inside.count("Read-only file system") == 2


# Twenty devices


def test_all_twenty_take_part_in_every_round(twenty: Project) -> None:
    assert closed(twenty, "survey", "train") == [(number, DEVICES) for number in range(ROUNDS + 1)]


def test_the_model_in_the_volume_knows_the_exercises(twenty: Project, tmp_path: Path) -> None:
    session = load(twenty, tmp_path)
    manifest = json.loads(
        twenty.copy("aggregator", str(Path(MODEL).with_name("manifest.json")), tmp_path / "m").read_text()
    )
    dataset = load_watch()
    X = np.concatenate([device.features for device in dataset.devices])
    labels = np.array([label for device in dataset.devices for label in device.labels])
    (probabilities,) = session.run(None, {session.get_inputs()[0].name: X})
    right = np.array(dataset.classes)[np.argmax(probabilities, axis=1)] == labels
    print(f"accuracy on all {len(X)} windows: {right.mean():.3f}; {manifest}")
    assert right.mean() > 0.8


def test_each_device_has_an_identity_of_its_own_from_the_registrar(twenty: Project) -> None:
    listed = json.loads(
        twenty.run("registrar", "fedge", "devices", "--json", "--folder", "/var/lib/fedge/federation")
    )
    names = {device.device for device in load_watch().devices}
    assert {entry["name"] for entry in listed} >= {f"exercises_{name}" for name in names}
    told = [re.findall(IDENTITY, twenty.log("agent", n + 1)) for n in range(DEVICES)]
    assert sorted(name for names in told for name in names) == sorted(names)


def test_the_authority_is_out_of_the_aggregators_reach(twenty: Project) -> None:
    authority = "/var/lib/fedge/federation/registrar"
    assert "ca.key" in twenty.run("registrar", "ls", authority)
    assert twenty.run("aggregator", "ls", authority) == ""
    assert "Read-only file system" in podman(
        "exec", twenty.container("aggregator"), "touch", "/var/lib/fedge/federation/x", check=False
    )


def test_a_health_check_hears_a_program_that_lives_and_not_one_that_stands_still(twenty: Project) -> None:
    agent = twenty.container("agent", 7)
    for container in (twenty.container("aggregator"), agent):
        twenty.until(partial(twenty.healthy, container), f"{container} is heard")
    podman("kill", "--signal=STOP", agent)
    try:
        assert not twenty.healthy(agent)
    finally:
        podman("kill", "--signal=CONT", agent)
    twenty.until(lambda: twenty.healthy(agent), "it is heard again")


def test_prometheus_answers_every_question_of_the_dashboard(twenty: Project) -> None:
    twenty.up("--no-deps", "prometheus", profile="dashboards")

    def ask(expression: str) -> list[Any]:
        query = urllib.parse.urlencode({"query": expression})
        url = f"http://127.0.0.1:{twenty.prometheus}/api/v1/query?{query}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            result: list[Any] = json.load(answer)["data"]["result"]
        return result

    def is_scraped() -> bool:
        try:
            return bool(ask("fedge_info")) and bool(ask("rate(process_cpu_seconds_total[20s])"))
        except OSError:
            return False

    twenty.until(is_scraped, "Prometheus scrapes the aggregator")
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "federation.json").read_text())
    answers: dict[tuple[str, str], list[Any]] = {}

    def all_answer() -> bool:
        """A rate needs two scrapes of the last 20 s."""
        answers.update({(title, text): ask(text) for title, text in expressions(dashboard)})
        silent = {title for (title, _), answer in answers.items() if not answer}
        return silent <= {"Refused, by reason", "Declined, by reason", "Seconds per round"}  # none lately

    twenty.until(all_answer, "every question is answered")
    ((accuracy,),) = [
        [float(sample["value"][1]) for sample in answer]
        for (title, _), answer in answers.items()
        if title == "Accuracy"
    ]
    assert accuracy > 0.8
    twenty.until(
        lambda: [float(sample["value"][1]) for sample in ask("fedge_devices_online")] == [DEVICES],
        "all devices are online",
    )
    # The last round only measures, and does not wait for a device whose connection broke that moment.
    counted = sum(devices for _, devices in closed(twenty, "survey", "train", "evaluate"))
    assert DEVICES * (ROUNDS + 1) < counted <= DEVICES * (ROUNDS + 2)
    assert float(ask("fedge_updates_admitted_total")[0]["value"][1]) == counted


def test_containers_that_start_again_go_on_as_who_they_were(twenty: Project) -> None:
    agent = twenty.container("agent", 3)
    name = re.compile(IDENTITY).findall
    starts = name(twenty.log("agent", 3))
    connections = twenty.log("agent", 3).count(CONNECTED)
    enrolled = twenty.log("registrar").count(ENROLLED)
    podman("stop", "--time=5", agent)
    podman("start", agent)
    twenty.until(lambda: twenty.log("agent", 3).count(CONNECTED) > connections, "it is back")
    assert name(twenty.log("agent", 3)) == [*starts, starts[0]]
    assert twenty.log("registrar").count(ENROLLED) == enrolled == DEVICES


# Trouble


def test_with_all_trouble_on_it_learns_nevertheless(images: None, tmp_path: Path) -> None:
    devices, rounds = 6, 6
    settings = over(
        "aggregator",
        FEDGE_AGGREGATOR_ROUNDS__QUORUM=devices - 1,
        FEDGE_AGGREGATOR_ROUNDS__DEADLINE_S=15,
        FEDGE_AGGREGATOR_STOPPING__ROUNDS=rounds,
    )
    with Project(tmp_path, trouble="all", services=settings) as project:
        project.up("--scale", f"agent={devices}")
        project.until(lambda: LEARNING_DONE in project.log("aggregator"), "learning is done")
        project.until(
            lambda: any(KILLING in project.log("agent", n + 1) for n in range(devices)), "one is killed"
        )
        print(project.log("aggregator"), project.log("relay"))
        assert "crash, delay, half-open, partition, slow" in project.log("relay")
        learnt = closed(project, "survey", "train")
        assert [number for number, _ in learnt] == list(range(rounds + 1))
        assert all(took_part >= devices - 1 for _, took_part in learnt)
        assert load(project, tmp_path).get_inputs()[0].shape[1] == 48
        project.until(lambda: len(project.containers("running")) == devices + 4, "all run")
