"""The composition of containers at work: built, started, watched through its logs, and always ended.

Whatever runs compose files on podman is used: no Docker engine is needed.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import yaml

import fleet

ROOT = Path(fleet.__file__).parents[1]
DOCKER = ROOT / "deploy" / "docker"
COMPOSE = DOCKER / "compose.yaml"
BASE = "docker.io/library/python:3.11.14-slim-bookworm"
TARGETS = ("agent", "aggregator", "simulation")
PROJECT_LABEL = "io.podman.compose.project"
PATIENCE_S = 600.0


def podman(*arguments: str, check: bool = True, timeout_s: float = 300.0) -> str:
    """Run podman; returns what it says, the errors last."""
    done = subprocess.run(
        ["podman", *arguments], capture_output=True, text=True, check=False, timeout=timeout_s
    )
    if check and done.returncode != 0:
        raise AssertionError(f"podman {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def inspect(kind: str, name: str) -> dict[str, Any]:
    done = subprocess.run(
        ["podman", kind, "inspect", name], capture_output=True, text=True, check=True, timeout=300
    )
    (found,) = json.loads(done.stdout)
    content: dict[str, Any] = found
    return content


def prepare() -> None:
    """Podman, the base images, and our own images, named as compose.yaml names them."""
    subprocess.run([str(Path(__file__).with_name("containers.sh"))], check=True, timeout=1200)
    # A machine may have authorities and settings of pip of its own: a build needs them too.
    machines = [path for path in ("/etc/ssl/certs", "/etc/pip.conf") if Path(path).exists()]
    mounts = [f"--volume={path}:{path}:ro" for path in machines]
    for target in TARGETS:
        podman(
            "build",
            "--quiet",
            "--format=docker",  # the other format has no health checks
            "--network=host",
            *mounts,
            f"--file={DOCKER / 'Dockerfile'}",
            f"--target={target}",
            f"--tag=fedge-{target}",
            str(ROOT),
            timeout_s=1200,
        )


class Project:
    """One run of compose.yaml under a name of its own; leaving the context removes all of it.

    Args:
        folder: for the file that is laid over compose.yaml.
        trouble: what FEDGE_TROUBLE says.
        services: keys of services that are laid over those of compose.yaml.
        prometheus: its port on this machine.
    """

    def __init__(
        self,
        folder: Path,
        trouble: str = "",
        services: Mapping[str, Any] | None = None,
        prometheus: int = 9090,
    ) -> None:
        self.name = f"fedge-test-{uuid4().hex[:8]}"
        self.prometheus = prometheus
        self._environment = {
            **os.environ,
            "FEDGE_TROUBLE": trouble,
            "FEDGE_PROMETHEUS_PORT": str(prometheus),
        }
        self._files = [COMPOSE]
        if services:
            self._files.append(folder / "over.yaml")
            self._files[-1].write_text(yaml.safe_dump({"services": dict(services)}))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:  # pytest shows this where the test has failed
            for container in self.containers():
                print(f"── {container}\n{podman('logs', '--tail=40', container, check=False)}")
        for container in self.containers():
            podman("rm", "--force", "--time=0", "--depend", container, check=False)
        podman("pod", "rm", "--force", f"pod_{self.name}", check=False)
        for what in ("volume", "network"):
            names = podman(what, "ls", "--quiet", f"--filter=name={self.name}_").split()
            podman(what, "rm", "--force", *names, check=False)

    def up(self, *arguments: str, profile: str | None = None) -> None:
        """`compose up` in the background."""
        self._compose(*(["--profile", profile] if profile else []), "up", "--detach", *arguments)

    def _compose(self, *arguments: str) -> None:
        files = [part for file in self._files for part in ("--file", str(file))]
        command = [sys.executable, "-m", "podman_compose", "--project-name", self.name, *files, *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=900, env=self._environment
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def container(self, service: str, number: int = 1) -> str:
        return f"{self.name}_{service}_{number}"

    def containers(self, state: str | None = None) -> list[str]:
        """The names of all containers, or of those in a state."""
        narrowed = [f"--filter=status={state}"] if state else []
        return podman(
            "ps", "--all", f"--filter=label={PROJECT_LABEL}={self.name}", "--format={{.Names}}", *narrowed
        ).split()

    def log(self, service: str, number: int = 1) -> str:
        return podman("logs", self.container(service, number))

    def run(self, service: str, *command: str) -> str:
        """Run a command in a service's container."""
        return podman("exec", self.container(service), *command)

    def healthy(self, container: str) -> bool:
        """What the container's health check says when it is asked now."""
        done = subprocess.run(
            ["podman", "healthcheck", "run", container], capture_output=True, check=False, timeout=300
        )
        return done.returncode == 0

    def copy(self, service: str, path: str, to: Path) -> Path:
        podman("cp", f"{self.container(service)}:{path}", str(to))
        return to

    def until(self, condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
        deadline_s = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < deadline_s, f"this did not happen: {what}"
            time.sleep(0.5)


def over(service: str, **environment: object) -> dict[str, Any]:
    """Settings of a service that a test lays over compose.yaml's, by the variables of its program."""
    return {service: {"environment": {name: str(value) for name, value in environment.items()}}}


def expressions(dashboard: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """Title and PromQL of each query of a dashboard, its variables filled in as Grafana does."""
    return [
        (panel["title"], target["expr"].replace("$__rate_interval", "20s").replace("$job", "fedge"))
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]
