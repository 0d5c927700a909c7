"""Parts from outside in real programs: named in both configurations, never in what comes over the network."""

from pathlib import Path

import numpy as np
import pytest

from examples.extend import fedadam, huber, proximal, sparse
from fedge import Algorithm, Plan, load_model, simulate
from fleet.demo.broker import Broker
from fleet.demo.learning import learn
from fleet.demo.progress import Silent
from fleet.demo.provision import Federation, write_agent, write_federation
from tests.fleet.library.fleets import CLASSIFIER, fleet

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.system, pytest.mark.slow]

PLAN = Plan(epochs=2, batch_size=8, learning_rate=0.1)
ROUNDS, SEED = 4, 5
EXTENSIONS = 'extensions = ["examples.extend.sparse:ENTRY", "examples.extend.proximal:ENTRY"]\n'
AGGREGATOR = (
    'extensions = ["examples.extend.sparse:ENTRY", "examples.extend.proximal:ENTRY",'
    ' "examples.extend.huber:ENTRY", "examples.extend.fedadam:ENTRY"]\n'
)
SERVER = '[server]\nname = "fedadam"\nrate = 0.1\n'
TABLES = {
    "a codec": SERVER,
    "a rule": '[rule]\nname = "huber"\npasses = 3\n' + SERVER,
}
"""Per case: what `federation.toml` says. The codec keeps a residual, so it works only with the mean."""
OPTIONS = {"local": {"mu": 0.1}, "server": {"rate": 0.1}}


@pytest.mark.parametrize("case", ["a codec", "a rule"])
def test_parts_from_outside_give_what_a_simulation_gives(case: str, tmp_path: Path, broker: Broker) -> None:
    """Each of them has a state or changes what is sent; the simulation is given the parts as they are."""
    coded = case == "a codec"
    devices = fleet()
    told = {"local": "proximal", "local_options": OPTIONS["local"]}
    if coded:
        told |= {"codec": "sparse", "codec_options": {"share": 0.3}}
    settings = write_federation(
        tmp_path,
        name="from-outside",
        seed=SEED,
        devices=tuple(devices),
        broker_url=broker.url,
        model={
            "features": CLASSIFIER.features,
            "classes": CLASSIFIER.classes or (),
            "layers": [{"type": "dense", "units": 6}, {"type": "relu"}],
        },
        plan=PLAN.model_copy(update=told),
        rounds=ROUNDS,
        choose="newest",
    )
    settings.write_text(AGGREGATOR + settings.read_text() + TABLES[case])
    agents = {}
    for name, (X, y) in devices.items():
        home = tmp_path / "devices" / name
        home.mkdir(parents=True)
        np.savez(home / "data.npz", X=X, y=y)
        data = {"source": "npz", "path": "data.npz"}
        agents[name] = write_agent(
            home, federation="from-outside", device=name, broker_url=broker.url, data=data
        )
        agents[name].write_text(EXTENSIONS + agents[name].read_text())
    files = Federation(settings, agents, {"PYTHONPATH": str(ROOT)})
    learn(files, tmp_path / "logs", broker, Silent())
    simulated = simulate(
        CLASSIFIER,
        devices,
        Algorithm(
            local=proximal.ENTRY,
            server=fedadam.ENTRY,
            options={**OPTIONS, **({"codec": {"share": 0.3}} if coded else {"rule": {"passes": 3}})},
            **({"codec": sparse.ENTRY} if coded else {"rule": huber.ENTRY}),
        ),
        plan=PLAN,
        rounds=ROUNDS,
        seed=SEED,
    )
    real = load_model(tmp_path / "export")
    assert real.weights.tobytes() == simulated.model.weights.tobytes()
    plain = simulate(CLASSIFIER, devices, plan=PLAN, rounds=ROUNDS, seed=SEED)
    assert real.weights.tobytes() != plain.model.weights.tobytes()
