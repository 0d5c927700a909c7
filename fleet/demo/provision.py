"""Write the files of a federation: `federation.toml`, and for each device its data and `agent.toml`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from agent.config import AgentSettings
from aggregator.config import FederationSettings
from fedge.algorithms.plan import Plan
from fedge.service.settings import BrokerSettings
from fleet.datasets import LABEL, SERIES, FederatedDataset, write_csv

DATA_FILE = "windows.csv"
AGENT_FILE = "agent.toml"
FEDERATION_FILE = "federation.toml"
KEEP_BYTES = 500_000_000
"""The size limit of a ledger that keeps all rounds."""
BESIDE = 2
"""The number of other rounds: the survey, and the one that measures the last model."""


@dataclass(frozen=True)
class Federation:
    """The files of a federation whose programs all run on this machine."""

    settings: Path
    """`federation.toml`."""
    agents: Mapping[str, Path]
    """`agent.toml` of each device."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Settings that differ from the files while the programs run here, as environment variables."""


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
    keep_all: bool = False,
) -> Federation:
    """Write the files below `folder`, which exists.

    Every round waits for all devices, so that the same seed gives the same model, bit for bit. With a
    `quorum` it waits for the devices online, and that many are enough. `keep_all` is as in
    `write_federation`.
    """
    devices = [data.device for data in dataset.devices]
    settings = write_federation(
        folder,
        name=federation,
        seed=seed,
        devices=devices,
        broker_url=broker_url,
        model={
            "features": dataset.features,
            "classes": dataset.classes,
            "layers": [{"type": "dense", "units": dataset.hidden_units}, {"type": "relu"}],
        },
        plan=plan,
        rounds=rounds,
        deadline_s=deadline_s,
        quorum=quorum,
        keep_all=keep_all,
        choose="newest",  # because it is compared with the model that the devices hold
    )
    agents = {}
    for data in dataset.devices:
        home = folder / "devices" / data.device
        home.mkdir(parents=True)
        write_csv(data, dataset.features, home / DATA_FILE)
        agents[data.device] = write_agent(
            home,
            federation=federation,
            device=data.device,
            broker_url=broker_url,
            data={
                "source": "csv",
                "path": DATA_FILE,
                "label": LABEL,
                "series": SERIES,
                "holdout": dataset.holdout,
                "gap": dataset.gap,
            },
        )
    return Federation(settings, agents)


def write_federation(
    folder: Path,
    *,
    name: str,
    seed: int,
    devices: Sequence[str],
    broker_url: str,
    model: Mapping[str, "Value"],
    plan: Plan,
    rounds: int,
    deadline_s: float | None = None,
    quorum: int | None = None,
    best_by: str = "loss",
    choose: str = "best",
    keep_all: bool = False,
    missing: str = "refuse",
) -> Path:
    """Write `federation.toml` in `folder`; its state and its export will be beside it.

    Every round waits for all `devices`; with a `quorum` for the devices online, and that many are enough.
    Without a `deadline_s` it is the default. `choose` is that of `[export]`; `best_by` is `[stopping]
    patience_on`. With `keep_all` the ledger keeps every round, up to `KEEP_BYTES`, to be examined afterwards.
    `missing` is proposed to the devices unless it is their default, and the exported graph does the same.
    """
    enough = {"target": len(devices), "quorum": len(devices)} if quorum is None else {"quorum": quorum}
    kept = {"keep_rounds": rounds + BESIDE, "keep_bytes": KEEP_BYTES} if keep_all else {}
    settings = folder / FEDERATION_FILE
    write_toml(
        settings,
        {
            "federation": {"name": name, "seed": seed, "devices": devices},
            "broker": _broker(broker_url),
            "model": model,
            "plan": plan.model_dump(exclude_none=True, exclude={"personal", "personal_options", "compare"}),
            **_personal(plan),
            **({"data": {"missing": missing}} if missing != "refuse" else {}),
            "rounds": {
                "fraction": 1.0,
                **({} if deadline_s is None else {"deadline_s": deadline_s}),
                **enough,
            },
            "stopping": {"rounds": rounds, "patience_on": best_by},
            "state": {"folder": "state", **kept},
            "export": {"folder": "export", "choose": choose},
        },
    )
    return settings


def while_trying(broker_url: str, devices: int, rounds: int, deadline_s: float) -> dict[str, str]:
    """Settings that a trial needs but a fleet in production must not have, as environment variables.

    Every round waits for all devices, so that the same seed gives the same model. The ledger keeps every
    round for the evaluation afterwards. The broker may end with the trial.
    """
    aggregator = {
        "ROUNDS__TARGET": devices,
        "ROUNDS__QUORUM": devices,
        "ROUNDS__DEADLINE_S": deadline_s,
        "STATE__KEEP_ROUNDS": rounds + BESIDE,
        "STATE__KEEP_BYTES": KEEP_BYTES,
    }
    return {f"{FederationSettings.ENV_PREFIX}{key}": str(value) for key, value in aggregator.items()} | {
        f"{settings.ENV_PREFIX}BROKER__{key.upper()}": str(value)
        for settings in (FederationSettings, AgentSettings)
        for key, value in _broker(broker_url).items()
    }


def end_after(rounds: int) -> dict[str, str]:
    """The number of rounds, as an environment variable of the aggregator."""
    return {f"{FederationSettings.ENV_PREFIX}STOPPING__ROUNDS": str(rounds)}


def write_agent(
    home: Path, *, federation: str, device: str, broker_url: str, data: Mapping[str, "Value"]
) -> Path:
    """Write a device's `agent.toml` into its folder, beside its data; `data` is the section of that name."""
    path = home / AGENT_FILE
    write_toml(
        path,
        {
            "federation": federation,
            "device": device,
            "broker": _broker(broker_url),
            "data": data,
            "state": {"folder": "state"},
        },
    )
    return path


def _personal(plan: Plan) -> dict[str, Mapping[str, "Value"]]:
    """`[personal]`, if devices have models of their own."""
    if not plan.adapts:
        return {}
    options = plan.personal_options or {}
    return {"personal": {"name": plan.personal_name, "compare": bool(plan.compare), **options}}


def _broker(url: str) -> dict[str, "Value"]:
    try:
        BrokerSettings(url=url)
    except ValidationError:
        # Plaintext to another machine is allowed here: the caller named that broker, and this data is public.
        return {"url": url, "insecure": True}
    return {"url": url}


Value = str | int | float | bool | Sequence["Value"] | Mapping[str, "Value"]


def write_toml(path: Path, tables: Mapping[str, Value]) -> None:
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
