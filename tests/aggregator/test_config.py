"""Broken `federation.toml` files: each error names the file, the key, and what would be right."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aggregator.__main__ import main
from aggregator.config import FederationSettings
from aggregator.core.prospects import hopeless
from fedge.errors import ConfigError
from fedge.nn.spec import Dense, ReLU
from tests.called import call
from tests.wording import assert_tells, telling

ROOT = Path(__file__).parents[2]
GOOD = """\
[federation]
name = "greenhouse"
[model]
features = ["volts", "amps"]
classes = ["idle", "busy"]
layers = [{ type = "dense", units = 8 }, { type = "relu" }]
"""
REGRESSION = GOOD.replace('classes = ["idle", "busy"]', 'targets = ["celsius"]')


def write(folder: Path, text: str) -> Path:
    path = folder / "federation.toml"
    path.write_text(text)
    return path


def load(folder: Path, text: str, **environment: str) -> FederationSettings:
    return FederationSettings.load(write(folder, text), environment)


def without(line: str) -> str:
    assert line in GOOD
    return GOOD.replace(line + "\n", "")


def with_in_model(line: str) -> str:
    return GOOD + line + "\n"


BROKEN = [
    ("", ["[federation]: ", "[model]: "]),
    ("[federation", ["TOML"]),
    (GOOD + '[metrics]\nlisten = "9464"\n', ["[metrics] listen: ", "ADDRESS:PORT", "127.0.0.1:9464"]),
    (GOOD + '[metrics]\nlisten = "::1:0"\n', ["[metrics] listen: ", "ADDRESS:PORT", "'::1:0'"]),
    (without('name = "greenhouse"'), ["[federation] name: "]),
    (GOOD.replace("greenhouse", "Green House"), ["[federation] name: ", "'Green House'"]),
    (GOOD.replace("name =", "nmae ="), ["[federation] nmae: ", "'name'"]),
    (GOOD + "[rouds]\n", ["rouds", "'rounds'"]),
    (without('features = ["volts", "amps"]'), ["[model] features: "]),
    (GOOD.replace('["volts", "amps"]', "[]"), ["[model] features:", "1"]),
    (
        GOOD.replace('["volts", "amps"]', "0"),
        ["[model] features:", "65536", "0"],
    ),
    (GOOD.replace('["volts", "amps"]', "true"), ["[model] features:", "True"]),
    (GOOD.replace('"amps"', '"volts"'), ["[model] features:", "'volts'"]),
    (without('classes = ["idle", "busy"]'), ["[model] classes:", "targets"]),
    (with_in_model('targets = ["celsius"]'), ["[model] classes:", "targets"]),
    (GOOD.replace(', "busy"', ""), ["[model] classes:", "2", "1"]),
    (
        GOOD.replace('"relu"', '"rellu"'),
        ["layers[1]] type: ", "'rellu'", "dense, relu"],
    ),
    (GOOD.replace("units = 8", "units = 0"), ["[model.layers[0]] units:", "1", "0"]),
    (GOOD.replace("units = 8", 'width = 8, units = "8"'), ["layers[0]", "width: "]),
    (GOOD.replace("units = 8", "units = 40_000_000"), ["[model.layers[0]] units:", "65536", "40000000"]),
    (
        GOOD.replace("units = 8 }", 'units = 65536 }, { type = "dense", units = 65536 }'),
        ["[model] layers: ", "4295360514", "50000000"],
    ),
    (GOOD + "[plan]\nepochs = 0\n", ["[plan] epochs:", "1", "0"]),
    (GOOD + "[plan]\nlearning_rate = 'fast'\n", ["[plan] learning_rate:", "'fast'"]),
    (GOOD + "[plan]\nmomentum = 1.0\n", ["[plan] momentum:", "1", "1.0"]),
    (GOOD + "[plan]\nbatchsize = 1\n", ["[plan] batchsize: ", "'batch_size'"]),
    (GOOD + "[rounds]\nfraction = 1.5\n", ["[rounds] fraction:", "1", "1.5"]),
    (GOOD + "[rounds]\nfraction = nan\n", ["[rounds] fraction:", "nan"]),
    (GOOD + "[rounds]\ntarget = 2\nquorum = 3\n", ["[rounds] target:", "quorum", "3", "2"]),
    (GOOD + "[rounds]\nclip_norm = 0.5\n", ["[rounds] clip_norm:", "1", "0.5", "0"]),
    (GOOD + "[rounds]\nmax_weight = -1\n", ["[rounds] max_weight:", "-1"]),
    (GOOD + "[rounds]\ndeadline_s = 0\n", ["[rounds] deadline_s:", "0", "0"]),
    (GOOD.replace("[model]", 'devices = ["a"]\n[model]'), ["[rounds] quorum: ", "2", "1"]),
    (
        GOOD.replace("[model]", 'devices = ["a", "a"]\n[model]'),
        ["[federation] devices: ", "'a'"],
    ),
    (GOOD.replace("[model]", 'devices = ["-"]\n[model]'), ["[federation] devices[0]:", "'-'"]),
    (GOOD.replace("[model]", "max_samples = 5\n[model]"), ["[federation] max_samples:", "20", "5"]),
    (
        REGRESSION + "[stopping]\naccuracy = 0.9\n",
        ["[stopping] accuracy:", "rmse", "patience", "weight_change"],
    ),
    (GOOD + "[stopping]\nrounds = 0\n", ["[stopping] rounds:", "1", "0"]),
    (GOOD + "[state]\nkeep_rounds = 1\n", ["[state] keep_rounds:", "2", "1"]),
    (GOOD + '[broker]\nurl = "tcp://x"\n', ["[broker] url:", "mqtt://host[:port]"]),
    (GOOD + "broker = 1\n", ["[model] broker: "]),
    (GOOD + "[broker]\nmax_payload_bytes = 4095\n", ["[broker] max_payload_bytes:", "4096", "4095"]),
    (GOOD + "[broker]\nmax_payload_bytes = 131073\n", ["[broker] max_payload_bytes:", "131072", "131073"]),
    (  # 3 * 2,000 + 2,001 * 2,100 + 2,101 * 2 weights of 4 bytes in 4,096 frames, and 115 bytes in each
        GOOD.replace("units = 8 }", 'units = 2000 }, { type = "dense", units = 2100 }')
        + "[broker]\nmax_payload_bytes = 4200\n",
        ["[broker] max_payload_bytes:", "4212302", "4096", "4200", "4229"],
    ),
    ("federation = 1\n" + GOOD.partition("\n[model]")[2], ["federation", "table"]),
]


@pytest.mark.parametrize(("text", "facts"), BROKEN)
def test_broken(tmp_path: Path, text: str, facts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    said = str(caught.value)
    assert all(line.startswith(f"{tmp_path}/federation.toml: ") for line in said.splitlines()), said
    assert_tells(said, *facts)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=telling("nowhere.toml: ")):
        FederationSettings.load(tmp_path / "nowhere.toml", {})


def test_a_variable_is_named_instead_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=telling("environment variable FEDGE_AGGREGATOR_ROUNDS__QUORUM: ", "'two'")
    ):
        load(tmp_path, GOOD, FEDGE_AGGREGATOR_ROUNDS__QUORUM="two")


# ── what a good file means ─────────────────────────────────────────────────────────────────────────


def test_the_smallest_file_says_it_all(tmp_path: Path) -> None:
    settings = load(tmp_path, GOOD)
    task = settings.task()
    assert (task.features, task.classes, task.network.loss) == (
        ("volts", "amps"),
        ("idle", "busy"),
        "cross-entropy",
    )
    assert task.network.layers == (Dense(units=8), ReLU(), Dense(units=2))
    assert (settings.rounds.fraction, settings.rounds.quorum) == (1.0, 2)
    assert settings.state.folder == tmp_path / "state"


def test_features_may_be_counted_instead_of_named(tmp_path: Path) -> None:
    task = load(tmp_path, GOOD.replace('["volts", "amps"]', "3")).task()
    assert task.features == ("x0", "x1", "x2")


def test_a_source_may_be_named(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD).task().source is None
    named = GOOD.replace("[model]", '[model]\nsource = "heart"')
    assert load(tmp_path, named).task().source == "heart"


def test_a_regression_gives_its_targets(tmp_path: Path) -> None:
    task = load(tmp_path, REGRESSION).task()
    assert (task.targets, task.classes, task.network.loss) == (("celsius",), None, "mse")


@pytest.mark.parametrize(("line", "spread_s"), [("", 1.0), ("quorum = 280", 10.0), ("quorum = 5_000", 60.0)])
def test_larger_fleets_come_back_more_slowly(tmp_path: Path, line: str, spread_s: float) -> None:
    task = load(tmp_path, f"{GOOD}[rounds]\n{line}\n").task()
    assert task.reconnect_spread_s == spread_s  # clamp(devices / 28, 1, 60)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    settings = load(tmp_path, GOOD + "[rounds]\nquorum = 2\n", FEDGE_AGGREGATOR_ROUNDS__QUORUM="5")
    assert settings.rounds.quorum == 5


def test_the_environment_gives_numbers_truths_and_lists(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        GOOD + "[plan]\nepochs = 2\n",
        FEDGE_AGGREGATOR_PLAN__EPOCHS="10",
        FEDGE_AGGREGATOR_PLAN__LEARNING_RATE="0.5",
        FEDGE_AGGREGATOR_PLAN__MOMENTUM="0",
        FEDGE_AGGREGATOR_PLAN__CODEC="float32",
        FEDGE_AGGREGATOR_MODEL__FEATURES="3",
        FEDGE_AGGREGATOR_BROKER__INSECURE="true",
        FEDGE_AGGREGATOR_FEDERATION__NAME="2026",
        FEDGE_AGGREGATOR_FEDERATION__DEVICES='["pi-1", "pi-2"]',
        FEDGE_AGGREGATOR_STOPPING__ACCURACY="0.9",
    )
    plan = settings.plan
    assert (plan.epochs, plan.learning_rate, plan.momentum, plan.codec) == (10, 0.5, 0, "float32")
    assert settings.task().features == ("x0", "x1", "x2")
    assert settings.broker.insecure is True
    assert (settings.federation.name, settings.federation.devices) == ("2026", ("pi-1", "pi-2"))
    assert settings.stopping.accuracy == 0.9


@pytest.mark.parametrize(
    ("line", "variable", "said"),
    [
        ('epochs = "10"', "", ("federation.toml: [plan] epochs: ", "'10'")),
        ("epochs = 10.0", "", ("federation.toml: [plan] epochs: ", "10.0")),
        ('learning_rate = "0.5"', "", ("federation.toml: [plan] learning_rate: ", "'0.5'")),
        ("", "ten", ("variable FEDGE_AGGREGATOR_PLAN__EPOCHS: ", "'ten'")),
        ("", "1.5", ("variable FEDGE_AGGREGATOR_PLAN__EPOCHS: ", "1.5")),
        ("", "0", ("variable FEDGE_AGGREGATOR_PLAN__EPOCHS: ", "1", "0")),
    ],
)
def test_a_file_spells_numbers_as_numbers(
    tmp_path: Path, line: str, variable: str, said: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError, match=telling(*said)):
        load(tmp_path, f"{GOOD}[plan]\n{line}\n", FEDGE_AGGREGATOR_PLAN__EPOCHS=variable)


# ── the program ────────────────────────────────────────────────────────────────────────────────────


def program(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "aggregator", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_check_says_what_was_understood(tmp_path: Path) -> None:
    ended = program("--config", str(write(tmp_path, GOOD)), "--check")
    assert (ended.returncode, ended.stderr) == (0, "")
    shown = {line.split()[0]: line.split(maxsplit=1)[1] for line in ended.stdout.splitlines()[:-1]}
    assert shown["federation"] == "greenhouse"
    assert shown["learns"] == "classification"
    assert shown["layers"] == "dense 8, relu, dense 2"
    assert shown["weights"] == "42"  # 2·8 + 8 + 8·2 + 2
    assert "valid" in ended.stdout.splitlines()[-1]
    assert not (tmp_path / "state").exists()


def check(path: Path, *more: str) -> int:
    return main(["--config", str(path), "--check", *more])


def test_check_prints_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(write(tmp_path, GOOD), "--json") == 0
    understood: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (understood["federation"], understood["outputs"]) == ("greenhouse", ["idle", "busy"])
    assert understood["rounds"] == {
        "fraction": 1.0,
        "target": None,
        "quorum": 2,
        "deadline_s": 300.0,
        "max_norm": 100.0,
        "clip_norm": 2.5,
        "max_weight": 10.0,
        "schedule": "rounds",
        "max_staleness": None,
        "max_per_device": None,
    }
    assert (understood["weights"], understood["devices"]) == (42, "any")
    assert understood["state"] == str(tmp_path / "state")


def test_a_broken_file_ends_with_78_and_one_line_a_mistake(tmp_path: Path) -> None:
    text = GOOD.replace("greenhouse", "G") + "[rounds]\nquorum = 0\n"
    ended = call(main, "--config", str(write(tmp_path, text)), "--check", "--json")
    assert (ended.returncode, ended.stdout) == (os.EX_CONFIG, "")
    lines = ended.stderr.splitlines()
    assert len(lines) == 2
    assert "[federation] name:" in lines[0]
    assert "[rounds] quorum:" in lines[1]


def test_a_usage_error_ends_with_64(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--chek"])
    assert caught.value.code == os.EX_USAGE
    assert "--chek" in capsys.readouterr().err


def test_a_state_folder_that_cannot_be_used_ends_with_74(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    ended = call(main, "--config", str(write(tmp_path, GOOD)))
    assert ended.returncode == os.EX_IOERR
    assert f"{tmp_path / 'state'}: " in ended.stderr


# ── rules that cannot come true ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD + "[stopping]\nrmse = 2.0\n", "[stopping] rmse: "),
        (
            GOOD + '[stopping]\npatience_on = "mae"\n',
            "[stopping] patience_on: ",
        ),
        (
            REGRESSION + '[stopping]\npatience_on = "accuracy"\n',
            "[stopping] patience_on: ",
        ),
        (GOOD + '[stopping]\npatience_on = "weights"\n', "[stopping] patience_on"),
        (GOOD + '[export]\nchoose = "last"\n', "[export] choose"),
    ],
)
def test_a_rule_of_another_kind_of_task_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert expected in str(caught.value)


def test_with_buffers_the_newest_model_is_exported_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    buffered = '[rounds]\nschedule = "buffered"\ntarget = 2\n'
    assert load(tmp_path, GOOD).choose == "best"
    assert load(tmp_path, GOOD + buffered).choose == "newest"
    assert load(tmp_path, GOOD + buffered + '[export]\nchoose = "best"\n').choose == "best"
    assert load(tmp_path, GOOD + '[export]\nchoose = "newest"\n').choose == "newest"


def test_the_figure_that_patience_is_on(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD).stopping.patience_on == "loss"
    assert load(tmp_path, GOOD).export.choose == "best"
    accuracy = load(tmp_path, GOOD + '[stopping]\npatience = 5\npatience_on = "accuracy"\n').stopping
    assert (accuracy.patience, accuracy.patience_on) == (5, "accuracy")
    assert load(tmp_path, REGRESSION + '[stopping]\nrmse = 2.5\npatience_on = "rmse"\n').stopping.rmse == 2.5


HOPELESS = [
    ("[stopping]\nrounds = 5\npatience = 4\n", None),
    ("[stopping]\nrounds = 5\npatience = 5\n", "[stopping] patience = 5 cannot end learning: 5 rounds are"),
    ("[stopping]\nrounds = 1\naccuracy = 0.9\n", "[stopping] accuracy cannot end learning: one round"),
    ("[stopping]\nrounds = 2\naccuracy = 0.9\n", None),
    ("[rounds]\ntarget = 3\nquorum = 1\n", None),
]


@pytest.mark.parametrize(("more", "expected"), HOPELESS)
def test_a_rule_that_cannot_come_true_is_said(tmp_path: Path, more: str, expected: str | None) -> None:
    found = hopeless(load(tmp_path, GOOD + more))
    assert len(found) == (expected is not None)
    assert expected is None or found[0].startswith(expected)


def test_a_quorum_that_the_quarantine_makes_impossible_is_said(tmp_path: Path) -> None:
    listed = load(tmp_path, GOOD.replace("[model]", 'devices = ["a", "b", "c"]\n[model]', 1))
    assert hopeless(listed, {"a"}) == []
    (said,) = hopeless(listed, {"a", "c", "else"})
    assert_tells(said, "[rounds] quorum = 2", "3 devices", "[federation] devices", "1 ", "quarantine")


def test_check_says_which_rules_cannot_come_true(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + "[stopping]\nrounds = 3\npatience = 9\n")
    ended = call(main, "--config", str(path), "--check")
    assert ended.returncode == 0, "it may be meant so"
    assert "WARNING" in ended.stderr
    assert "[stopping] patience = 9" in ended.stderr
    assert "valid" in ended.stdout.splitlines()[-1]
