"""What a round requires and what a program can, by the same names."""

import pytest
from pydantic import TypeAdapter, create_model

from fedge.algorithms.plan import Plan
from fedge.nn.spec import Dense, NetworkSpec, ReLU
from fedge.wire import capabilities
from fedge.wire.capabilities import (  # fmt: skip
    BASE,
    can,
    lacking,
    of_manifest,
    required,
    told,
    unknown_in_model,
    unknown_in_task,
)
from fedge.wire.messages.message import unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.task import Task
from fedge.wire.names import Capabilities, tidy
from tests.fedge.message_examples import EXAMPLES, changed, payloads

NETWORK = NetworkSpec(inputs=2, layers=(Dense(units=3), ReLU(), Dense(units=2)), loss="cross-entropy")


def test_what_this_program_can_fits_into_a_status() -> None:
    names = TypeAdapter(Capabilities).validate_python(tuple(sorted(can())))
    assert told(names) == can()


def test_a_device_of_0_2_0_says_nothing_and_can_what_it_could() -> None:
    assert told(None) == BASE
    assert can() >= BASE, "what was once there stays, or old federations end"
    assert told(()) == frozenset(), "a device that says that it can nothing is believed"


def test_plain_federated_averaging_requires_no_more_than_0_2_0_can() -> None:
    assert required("survey", None, NETWORK) <= BASE
    assert required("train", Plan(momentum=0.9, weight_decay=0.1), NETWORK) == {
        "phase:train", "local:sgd", "codec:float32", "layer:dense", "layer:relu",
    }  # fmt: skip


def test_a_plan_field_added_later_is_required_where_it_asks_for_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later, able = create_model("Later", __base__=Plan, proximal=(float | None, None)), can()
    monkeypatch.setattr(capabilities, "Plan", later)
    assert lacking(required("train", later(proximal=0.1), NETWORK), able) == ("plan:proximal",)
    assert lacking(required("train", later(), NETWORK), able) == ()


def test_a_bound_on_gradients_and_the_local_algorithms_are_required_by_their_names() -> None:
    plan = Plan(max_gradient=1.0, local="prox", local_options={"mu": 0.1})
    later = {"plan:max_gradient", "plan:local", "plan:local_options", "local:prox", "local:prox.mu"}
    assert required("train", plan, NETWORK) - required("train", Plan(), NETWORK) == later
    assert can() >= {*later, "local:scaffold", "local:nova", "local:dyn", "local:dyn.alpha"}


def test_a_manifest_requires_what_it_lists_and_what_it_says() -> None:
    manifest = EXAMPLES["round"].model_copy(
        update={"kind": "prune", "state": "frozen", "requires": ("rule:median",), "plan": Plan(codec="x")}
    )
    found = lacking(of_manifest(manifest), can())  # type: ignore[arg-type]
    assert found == ("codec:x", "phase:prune", "rule:median", "state:frozen")


def test_a_model_in_an_unknown_codec_is_told_by_its_name() -> None:
    assert unknown_in_model(unpack(changed("model", codec="unheard-of"), Model)) == ("codec:unheard-of",)
    assert unknown_in_model(unpack(payloads["model"], Model)) == ()


def test_a_key_of_somebody_else_is_no_more_than_a_name() -> None:
    assert tidy(["Sam's weights\n", "", "x" * 100]) == ("-", "sam-s-weights", "x" * 40)
    assert len(tidy(str(i) for i in range(1_000))) == 256


def test_a_field_that_is_none_asks_for_nothing_in_a_layer_too() -> None:
    network = {"inputs": 1, "layers": [{"type": "dense", "units": 2, "bias": None}], "loss": "cross-entropy"}
    task = Task.model_validate({"network": network, "features": ("x",), "classes": ("a", "b")})
    assert task.network.layers == (Dense(units=2),)
    assert unknown_in_task(task) == ()
    with pytest.raises(ValueError, match="2 "):
        Task.model_validate({"network": network, "features": ("x", "y"), "classes": ("a", "b")})


def test_options_of_a_plan_are_required_by_their_names() -> None:
    plan = Plan(codec="topk", codec_options={"share": 0.1}, local="prox", local_options={"mu": 1})
    network = NetworkSpec(inputs=2, layers=(Dense(units=2),), loss="cross-entropy")
    found = required("train", plan, network)
    assert {"codec:topk", "codec:topk.share", "local:prox", "local:prox.mu"} <= found
    assert hash(plan) == hash(plan.model_copy())
