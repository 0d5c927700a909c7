"""Clients of the tests' own at the broker, and the readings of a device's data by round."""

import paho.mqtt.client as mqtt

from tests.chaos.strict_broker import StrictBroker

ROUND_1 = 2
"""The number of the reading of a device's data in round 1; the first reading is the survey's."""
ROUND_2 = 3
"""The same in round 2."""


def connected(strict: StrictBroker, member: str) -> mqtt.Client:
    client = strict.access.client(member)
    client.connect("127.0.0.1", strict.port)
    return client


def remember(strict: StrictBroker, *, retain: bool) -> None:
    """Let the broker have something to remember."""
    client = connected(strict, "aggregator")
    client.loop_start()
    client.publish("fedge/v1/strict/round", b"x" * 200, qos=1, retain=retain).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
