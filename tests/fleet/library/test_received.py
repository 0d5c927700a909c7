"""What devices receive of coded models: on the wire of the simulated fleet, and as the engines count it."""

import numpy as np
import pytest

from fedge import NetworkSpec, Plan, Task, simulate
from fleet.library.received import Form, Received

SIZE = 200 * 400 + 400 + 400 * 10 + 10


def received(codec: str) -> list[float]:
    """The bytes that each of two devices says it has received for each round of training."""
    task = Task(
        network=NetworkSpec.model_validate(
            {
                "inputs": 200,
                "layers": [{"type": "dense", "units": 400}, {"type": "relu"}, {"type": "dense", "units": 10}],
                "loss": "cross-entropy",
            }
        ),
        features=tuple(f"x{number}" for number in range(200)),
        classes=tuple("abcdefghij"),
    )
    draws = np.random.default_rng(0)
    devices = {name: (draws.normal(size=(40, 200)), np.array(list("abcdefghij") * 4)) for name in ("a", "b")}
    found = simulate(
        task,
        devices,
        rounds=6,
        plan=Plan(epochs=1, batch_size=0, learning_rate=0.01),
        settings={"plan": {"model_codec": codec, "key_every": 2}},
    )
    return [row.bytes_down / row.devices for row in found.history if row.kind == "train"]


@pytest.mark.parametrize(("codec", "fewer"), [("float16", 1.9), ("int8", 3.5), ("int4", 7.0)])
def test_a_device_that_stays_receives_fewer_bytes_also_when_the_key_frame_changes(
    codec: str, fewer: float
) -> None:
    """In all rounds but the first, whose model is sent as it is. The key frame changes in rounds 4 and 6."""
    plain, coded = received("float32"), received(codec)
    assert coded[0] > 4 * SIZE
    for one, other in zip(plain[1:], coded[1:], strict=True):
        assert one / other >= fewer


def test_a_device_fetches_a_key_frame_unless_it_was_the_model_of_its_last_round() -> None:
    """Ten weights: 40 bytes in float32; in int8 4 for the step and 10."""
    counted, sizes = Received(), {"weights": 10}
    assert counted.of_round(["a", "b"], 0, Form(), sizes) == 2 * 40
    assert counted.of_round(["a"], 1, Form("int8", 0), sizes) == 14
    assert counted.of_round(["a", "b", "c"], 2, Form("int8", 0), sizes) == 3 * 14 + 40, "c is new"
    assert counted.of_round(["a"], 3, Form("int8", 2), sizes) == 14
    assert counted.of_round(["b"], 4, Form("int8", 2), sizes) == 14, "b had the model of round 2"
    assert counted.of_round(["c", "d"], 5, Form("int8", 4), sizes) == 2 * (14 + 40)
    assert counted.of_round(["a"], 6, Form("float16"), sizes) == 20
