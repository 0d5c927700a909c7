"""Write what a federation's owner would: `federation.toml`, and for each device its data and `agent.toml`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from fedge.plan import Plan
from fedge.settings import BrokerSettings
from fleet.datasets import LABEL, SERIES, FederatedDataset, write_csv

DATA_FILE = "windows.csv"
AGENT_FILE = "agent.toml"
FEDERATION_FILE = "federation.toml"


@dataclass(frozen=True)
class Federation:
    """The files of a federation whose programs all run on this machine."""

    settings: Path
    """`federation.toml`."""
    agents: Mapping[str, Path]
    """`agent.toml` of each device."""


def provision(
    folder: Path,
    dataset: FederatedDataset,
    *,
    federation: str,
    broker_url: str,
    plan: Plan,
    rounds: int,
    seed: int,
    deadline_s: float,
    quorum: int | None = None,
) -> Federation:
    """Write the files below `folder`, which exists.

    Every round waits for all devices: so the same seed gives the same model, bit for bit. With a `quorum` it
    waits for those who are online, and so many are enough.
    """
    broker = _broker(broker_url)
    devices = [data.device for data in dataset.devices]
    enough = {"target": len(devices), "quorum": len(devices)} if quorum is None else {"quorum": quorum}
    settings = folder / FEDERATION_FILE
    _write(
        settings,
        {
            "federation": {"name": federation, "seed": seed, "devices": devices},
            "broker": broker,
            "model": {
                "features": dataset.features,
                "classes": dataset.classes,
                "layers": [{"type": "dense", "units": dataset.hidden_units}, {"type": "relu"}],
            },
            "plan": plan.model_dump(),
            "rounds": {"fraction": 1.0, "deadline_s": deadline_s, **enough},
            "stopping": {"rounds": rounds},
            "state": {"folder": "state"},
            # The newest: what the devices hold is compared with it.
            "export": {"folder": "export", "choose": "newest"},
        },
    )
    agents = {}
    for data in dataset.devices:
        home = folder / "devices" / data.device
        home.mkdir(parents=True)
        write_csv(data, dataset.features, home / DATA_FILE)
        agents[data.device] = home / AGENT_FILE
        _write(
            agents[data.device],
            {
                "federation": federation,
                "device": data.device,
                "broker": broker,
                "data": {
                    "source": "csv",
                    "path": DATA_FILE,
                    "label": LABEL,
                    "series": SERIES,
                    "holdout": dataset.holdout,
                    "gap": dataset.gap,
                },
                "state": {"folder": "state"},
            },
        )
    return Federation(settings, agents)


def _broker(url: str) -> dict[str, "Value"]:
    try:
        BrokerSettings(url=url)
    except ValidationError:
        # Plaintext to another machine: whoever names such a broker wants it, and this data is public.
        return {"url": url, "insecure": True}
    return {"url": url}


Value = str | int | float | bool | Sequence["Value"] | Mapping[str, "Value"]


def _write(path: Path, tables: Mapping[str, Value]) -> None:
    """Write TOML: plain keys first, then one table after the other."""
    plain = [f"{key} = {_toml(value)}" for key, value in tables.items() if not isinstance(value, Mapping)]
    sections = [
        "\n".join((f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())))
        for name, table in tables.items()
        if isinstance(table, Mapping)
    ]
    path.write_text(
        "\n\n".join(["\n".join(plain), *sections] if plain else sections) + "\n", encoding="utf-8"
    )


def _toml(value: Value) -> str:
    """A value on one line; JSON's strings, numbers and booleans are TOML's too."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=False)
