"""`fedge.Agent`: the real agent in somebody's own program, with a function as the source of samples."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from agent.config import AgentSettings
from examples.extend import source
from fedge import Agent, Plan, load_model, read_rounds
from fleet.demo.broker import Broker
from fleet.demo.provision import write_agent, write_federation

pytestmark = pytest.mark.system

ROUNDS = 2


def test_a_function_is_the_source_of_an_agent(tmp_path: Path, broker: Broker) -> None:
    names = ("press-1", "press-2")
    federation = write_federation(
        tmp_path,
        name="own-programs",
        seed=1,
        devices=names,
        broker_url=broker.url,
        model={"features": ("mean", "spread", "range"), "classes": ("healthy", "worn")},
        plan=Plan(epochs=2, batch_size=16),
        rounds=ROUNDS,
    )
    called: list[str] = []
    agents = []
    for name in names:
        (tmp_path / name).mkdir()
        data = {"source": "python", "callable": "nobody:reads"}
        file = write_agent(
            tmp_path / name, federation="own-programs", device=name, broker_url=broker.url, data=data
        )

        def read(name: str = name) -> tuple[np.ndarray, np.ndarray]:
            called.append(name)
            return source.read()

        # by its file, and by what it says
        agents.append(Agent(file if name == "press-1" else AgentSettings.load(file), source=read))
    threads = [threading.Thread(target=agent.run) for agent in agents]
    for thread in threads:
        thread.start()
    try:
        command = [sys.executable, "-m", "aggregator", "--config", str(federation), "--exit-when-done"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
    finally:
        for agent in agents:
            agent.stop()
        for thread in threads:
            thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert set(called) == set(names)
    kinds = [row.kind for row in read_rounds(tmp_path / "state") if row.closed]
    assert kinds == ["survey", *["train"] * ROUNDS, "evaluate"]
    X, y = source.read()
    model = load_model(tmp_path / "export")
    assert (model.predict(X) == np.array(model.task.classes)[y]).mean() > 0.8
    assert load_model(tmp_path / "press-1" / "state").task == load_model(tmp_path / "press-2" / "state").task
